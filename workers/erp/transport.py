"""One request and its answer: a keep-alive pool, a deadline, a bounded body, and every way to fail as a `Tried`.

Nothing is believed that is not asked for: no redirect is followed, no cookie kept, no proxy taken from the
environment and nothing decompressed, so that an answer is as large as what came over the wire. Where a certificate
is pinned no other is spoken to. What shows who we are goes along with each request, is renewed once where it is
refused, and is blanked wherever the ERP echoes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from config.settings import Settings
from workers.erp.attempts import Tried
from workers.erp.credentials import ANONYMOUS, ClientTls, Credentials, Fixed, Pins, Shown, TlsOptions, blanked
from workers.erp.failures import TABLE, Met, Unfit, of_error

log = logging.getLogger("relais.erp")

MOST_BYTES: Final = 1024 * 1024  # of an answer
HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "relais"}
IDLE: Final = 4.0  # seconds that an idle connection is kept: servers commonly drop theirs after 5

Reader = Callable[[aiohttp.ClientResponse], Awaitable[Tried]]
Told = TypeVar("Told")


class ErpTransport:
    """The connections to one ERP. Belongs to the event loop on which it is first used."""

    def __init__(
        self,
        settings: Settings,
        may_send: Callable[[], bool],
        credentials: Credentials | None = None,
        tls: TlsOptions | None = None,
    ) -> None:
        """To the ERP's URL, as who we are; `may_send` is asked at the moment at which a request is handed to the
        network. Nothing connects yet, and no secret is read.

        Raises MissingSetting when `erp_url` is not set.
        """
        self._base = settings.need("erp_url").rstrip("/")
        self.host, self.port = URL(self._base).host, URL(self._base).port
        self._may_send = may_send
        self._pinned = Pins.of(settings.erp.pin) if settings.erp.pin else None
        self._credentials = credentials or Fixed(ANONYMOUS)
        self._tls = ClientTls(tls, pinned=self._pinned is not None) if tls else None
        self._last = ANONYMOUS
        self._session: aiohttp.ClientSession | None = None
        self._elsewhere: aiohttp.ClientSession | None = None

    async def post(
        self, path: str, body: bytes, until: float, read: Reader, headers: Mapping[str, str] | None = None
    ) -> Tried:
        """POST JSON and `read` the answer, all of it before the loop's time `until`."""
        return await self.call("POST", path, body, until, read, headers)

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None,
        until: float,
        read: Reader,
        headers: Mapping[str, str] | None = None,
    ) -> Tried:
        """As `post`, by any method; one without a body is a question. What is refused with a 401, and so was not taken,
        goes again at once where there are other credentials to show.
        """
        try:
            shown = await self._credentials.shown(self._ask, until)
            tried = await self._once(method, path, body, until, read, headers or {}, shown)
            if tried.status == 401:
                other = await self._credentials.shown(self._ask, until, shown)
                if other != shown:
                    tried = await self._once(method, path, body, until, read, headers or {}, other)
        except Unfit as error:  # no credentials
            return _broken(error, False, None)
        return tried

    async def _once(
        self,
        method: str,
        path: str,
        body: bytes | None,
        until: float,
        read: Reader,
        headers: Mapping[str, str],
        shown: Shown,
    ) -> Tried:
        payload, status = None if body is None else Body(body, self._may_send), None
        if payload is None and not self._may_send():
            return _held()
        try:
            async with self.session().request(
                method,
                self._url(path),
                data=payload,
                headers={**headers, **shown.headers},
                timeout=_timeout(until),
                allow_redirects=False,
                ssl=self._tls.context() if self._tls else True,
            ) as response:
                status = response.status
                tried = await read(response)
        except Exception as error:
            if payload is not None and payload.held:
                return _held()
            tried = _broken(error, payload is None or payload.sent, status)
        self._last = shown
        return blanked(tried, shown)

    def blanked(self, words: str) -> str:
        """Words of the ERP's, read out of an answer's JSON, without a secret that was shown to it."""
        return self._last.blanked(words)

    async def _ask(
        self,
        url: str,
        body: bytes,
        content_type: str,
        headers: Mapping[str, str],
        until: float,
        read: Callable[[aiohttp.ClientResponse], Awaitable[Told]],
    ) -> Told:
        """What `read` makes of the answer to a request for credentials, to the ERP (a path) or to another.

        Raises Unfit. What an ERP's own certificate must be, and ours for it, is no matter of another's.
        """
        payload = Body(body, self._may_send, content_type)
        try:
            own = url.startswith("/")
            session = self.session() if own else self._other_session()
            async with session.post(
                self._url(url) if own else URL(url),
                data=payload,
                headers=headers,
                timeout=_timeout(until),
                allow_redirects=False,
                ssl=self._tls.context(ours=own) if self._tls else True,
            ) as response:
                return await read(response)
        except Unfit:
            raise
        except Exception as error:
            if payload.held:
                raise Unfit(Met.HELD, url) from None
            raise Unfit(Met.NO_CREDENTIALS, f"{url}: {of_error(error, False)[1]}") from None

    def _url(self, path: str) -> URL:
        """Raises Unfit where a certificate is pinned that nobody would show."""
        url = URL(self._base + path, encoded=True)
        if self._pinned is not None and url.scheme != "https":
            raise Unfit(Met.BAD_URL, "a certificate is pinned, and RELAIS_ERP_URL is not https")
        return url

    def session(self) -> aiohttp.ClientSession:
        """The pool, opened at its first use."""
        if self._session is None:
            self._session = _pool(aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE, ssl=self._pinned or True))
        return self._session

    def _other_session(self) -> aiohttp.ClientSession:
        if self._elsewhere is None:
            self._elsewhere = _pool(aiohttp.TCPConnector(keepalive_timeout=IDLE))
        return self._elsewhere

    async def close(self) -> None:
        """Let go of the connections; a later call opens new ones."""
        opened, self._session, self._elsewhere = (self._session, self._elsewhere), None, None
        for session in opened:
            if session is not None:
                await session.close()


class Body(aiohttp.BytesPayload):
    """A request's body that knows whether any of the request was handed to the network, or it was held back."""

    sent = held = False

    def __init__(self, body: bytes, may_send: Callable[[], bool], content_type: str = "application/json") -> None:
        super().__init__(body, content_type=content_type)
        self._may_send = may_send

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """As aiohttp, which sends headers and body together, and neither to a transport that is closing.

        Raises ConnectionAbortedError, which aiohttp tells whoever waits for the answer.
        """
        transport = writer.transport
        if not self._may_send():
            self.held = True
            if transport is not None:
                transport.abort()  # or aiohttp would still send the headers
            raise ConnectionAbortedError("held back")  # or it would end a body that it cannot send, and nobody hears
        self.sent = transport is not None and not transport.is_closing()
        await super().write_with_length(writer, content_length)


async def json_body(response: aiohttp.ClientResponse, most: int = MOST_BYTES) -> bytes:
    """The body of an answer that says it is JSON. Raises Unfit."""
    if response.content_type != "application/json":
        raise Unfit(Met.WRONG_TYPE, response.content_type[:100])
    return await any_body(response, most)


async def any_body(response: aiohttp.ClientResponse, most: int = MOST_BYTES) -> bytes:
    """The body, never much more than `most` bytes of it in memory. Raises Unfit."""
    if response.content_length is not None and response.content_length <= most:
        return await response.read()
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > most:
            raise Unfit(Met.OVERSIZED, f"over {most} bytes")
    return bytes(raw)


def _pool(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=HEADERS, auto_decompress=False
    )


def _held() -> Tried:
    failure = TABLE[Met.HELD]
    return Tried(failure.kind, failure.says, failure=failure)


def _broken(error: Exception, sent: bool, status: int | None) -> Tried:
    failure, says = of_error(error, sent)
    if failure is TABLE[Met.UNFORESEEN]:
        log.error("unforeseen failure of a call", exc_info=error)
    answer = error.answer if isinstance(error, Unfit) else b""
    return Tried(failure.kind, says, status, failure=failure, answer=answer)


def _timeout(until: float) -> aiohttp.ClientTimeout:
    """What is left of the loop's time until `until`; aiohttp would take zero for ever, and round up what is long."""
    left = until - asyncio.get_running_loop().time()
    return aiohttp.ClientTimeout(total=max(left, 0.001), ceil_threshold=float("inf"))
