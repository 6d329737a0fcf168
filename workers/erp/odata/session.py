"""A session with SAP: the token against forged requests, and the cookies that it holds for.

Every `$batch` needs the token, queries alone too. One that SAP believes no longer is answered with 403 and
`x-csrf-token: Required`, before anything is done: a new one is fetched, and the request goes again, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import uuid4

from aiohttp import ClientResponse

from config.settings import Settings
from workers.erp.attempts import Tried
from workers.erp.credentials import open_credentials
from workers.erp.odata.batching import Change, Part, Query, decoded, encoded
from workers.erp.odata.errors import NO_TOKEN, failed
from workers.erp.odata.options import OdataOptions
from workers.erp.port import Barrier, Kind
from workers.erp.transport import ErpTransport, Reader, any_body

MOST_BYTES: Final = 16 * 1024 * 1024  # of an answer: an item has a hundred fields
MOST_WORDS: Final = 64 * 1024  # bytes of an answer that is no success
MOST_COOKIES: Final = 4096  # characters


class _Session(NamedTuple):
    """The token and the cookies that every request of a session bears, as headers."""

    headers: dict[str, str]


class OdataSession:
    """One session of one process. Belongs to the event loop on which it is first used."""

    def __init__(self, settings: Settings, own: OdataOptions, barrier: Barrier) -> None:
        """Nothing connects yet. Raises MissingSetting when `erp_url` is not set."""
        client = "" if own.client is None else f"sap-client={own.client}"
        self._batch = f"{own.service}/$batch" + (client and f"?{client}")
        self._metadata = f"{own.service}/$metadata" + (client and f"?{client}")
        self._first = f"{own.service}/A_SalesOrder?$top=1&$select=SalesOrder&$format=json" + (client and f"&{client}")
        self._headers = {"Accept-Language": own.language.lower(), "DataServiceVersion": "2.0"}
        self._transport = ErpTransport(settings, barrier.is_open, open_credentials(own.auth), own.tls)
        self._session: _Session | None = None
        self._one_at_a_time = asyncio.Lock()

    async def batch(self, operations: Sequence[Change | Query], until: float) -> list[Part] | Tried:
        """The answers of one `$batch` by the loop's time `until`, or how all of it failed."""
        stale: _Session | None = None
        while True:
            session = await self._begun(stale, until)
            if isinstance(session, Tried):
                return session
            told = await self._post(operations, session, until)
            if stale is not None or not isinstance(told, Tried) or told.failure is not NO_TOKEN:
                return told
            stale = session

    async def probe(self, until: float) -> Tried | None:
        """Read something, in a session that is begun anew where it has ended; how that failed."""
        held = self._session
        if held is not None:
            tried = await self._get(_glance, held.headers, until)
            if tried.kind is Kind.ACCEPTED:
                return None
        begun = await self._begun(held, until)
        return begun if isinstance(begun, Tried) else None

    @property
    def has_token(self) -> bool:
        """Whether the session that has begun has a token."""
        return self._session is not None and "x-csrf-token" in self._session.headers

    async def described(self, until: float) -> bytes | Tried:
        """How the service describes itself, in XML; or how that could not be had."""
        found = bytearray()

        async def read(response: ClientResponse) -> Tried:
            if response.status != 200:
                return await _refused(response)
            found.extend(await any_body(response, MOST_BYTES))
            return Tried(Kind.ACCEPTED)

        headers = {**self._headers, "Accept": "application/xml"}
        tried = await self._transport.call("GET", self._metadata, None, until, read, headers)
        return bytes(found) if tried.kind is Kind.ACCEPTED else tried

    async def close(self) -> None:
        """Let go of the connections; the session ends by itself."""
        await self._transport.close()

    async def _begun(self, stale: _Session | None, until: float) -> _Session | Tried:
        """The session, another one than the one that is `stale`; one begins at a time."""
        async with self._one_at_a_time:
            if self._session is not None and self._session is not stale:
                return self._session
            self._session = None
            headers: dict[str, str] = {}

            async def read(response: ClientResponse) -> Tried:
                headers.update(_kept(response))
                return await _glance(response)

            tried = await self._get(read, {"x-csrf-token": "Fetch"}, until)
            if tried.kind is not Kind.ACCEPTED:
                return tried._replace(kind=_unsent(tried.kind))
            self._session = _Session(headers)
            return self._session

    async def _get(self, read: Reader, headers: Mapping[str, str], until: float) -> Tried:
        return await self._transport.call("GET", self._first, None, until, read, {**self._headers, **headers})

    async def _post(self, operations: Sequence[Change | Query], session: _Session, until: float) -> list[Part] | Tried:
        parts: list[Part] = []

        async def read(response: ClientResponse) -> Tried:
            if response.status not in (200, 202):
                return await _refused(response)
            raw = await any_body(response, MOST_BYTES)
            parts.extend(decoded(raw, response.headers.get("Content-Type", ""), len(operations)))
            return Tried(Kind.ACCEPTED)

        boundary = f"batch_{uuid4().hex}"
        headers = {
            **self._headers,
            **session.headers,
            "Content-Type": f"multipart/mixed; boundary={boundary}",
            "Accept": "multipart/mixed",
            "Prefer": "odata.continue-on-error",
        }
        tried = await self._transport.post(self._batch, encoded(operations, boundary), until, read, headers)
        return parts if tried.kind is Kind.ACCEPTED else tried


async def _glance(response: ClientResponse) -> Tried:
    """Raises Unfit."""
    if response.status != 200:
        return await _refused(response)
    await any_body(response)
    return Tried(Kind.ACCEPTED)


async def _refused(response: ClientResponse) -> Tried:
    """What a status that is no success says. Raises Unfit."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return failed(response.status, headers, await any_body(response, MOST_WORDS))


def _kept(response: ClientResponse) -> dict[str, str]:
    """The token and the cookies of an answer, as later requests bear them."""
    token = response.headers.get("x-csrf-token", "")
    cookies = "; ".join(f"{each.key}={each.coded_value}" for each in response.cookies.values())
    return {
        **({"x-csrf-token": token} if token and token.lower() != "required" else {}),
        **({"Cookie": cookies} if cookies and len(cookies) <= MOST_COOKIES else {}),
    }


def _unsent(kind: Kind) -> Kind:
    """Nothing but a session was asked for: no order is taken, whatever happened."""
    return Kind.TRANSIENT if kind in (Kind.UNKNOWN, Kind.REFUSED) else kind
