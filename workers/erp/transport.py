"""One request and its answer: a keep-alive pool, a deadline, a bounded body, and every way to fail as a `Tried`.

Nothing is believed that is not asked for: no redirect is followed, no cookie kept, no proxy taken from the
environment and nothing decompressed, so that an answer is as large as what came over the wire. Where a certificate
is pinned no other is spoken to.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from config.settings import Settings
from workers.erp.attempts import Tried
from workers.erp.failures import TABLE, Met, Unfit, of_error

log = logging.getLogger("relais.erp")

MOST_BYTES: Final = 1024 * 1024  # of an answer
IDLE: Final = 4.0  # seconds that an idle connection is kept: servers commonly drop theirs after 5

Reader = Callable[[aiohttp.ClientResponse], Awaitable[Tried]]


class ErpTransport:
    """The connections to one ERP. Belongs to the event loop on which it is first used."""

    def __init__(
        self, settings: Settings, may_send: Callable[[], bool], paths: Iterable[str], headers: Mapping[str, str]
    ) -> None:
        """To these paths under the ERP's URL, with these headers besides its own; `may_send` is asked at the moment at
        which a request is handed to the network. Nothing connects yet.

        Raises MissingSetting when `erp_url` is not set.
        """
        base = settings.need("erp_url").rstrip("/")
        self._urls = {path: URL(base + path) for path in paths}
        self.host, self.port = URL(base).host, URL(base).port
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "relais", **headers}
        self._may_send = may_send
        self._pinned = Pins.of(settings.erp.pin) if settings.erp.pin else None
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, path: str, body: bytes, until: float, read: Reader, headers: dict[str, str] | None = None
    ) -> Tried:
        """POST JSON and `read` the answer, all of it before the loop's time `until`."""
        payload, status = Body(body, self._may_send), None
        try:
            async with self.session().post(
                self._url(path), data=payload, headers=headers, timeout=_timeout(until), allow_redirects=False
            ) as response:
                status = response.status
                return await read(response)
        except Exception as error:
            if payload.held:
                return _held()
            return _broken(error, payload.sent, status)

    async def get(self, path: str, seconds: float, most: int) -> tuple[int, bytes]:
        """The status and body of a GET, of so many bytes at most. Raises what aiohttp raises, and Unfit."""
        if not self._may_send():
            raise Unfit(Met.HELD, path)
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self.session().get(self._url(path), timeout=timeout, allow_redirects=False) as response:
            return response.status, await json_body(response, most)

    def _url(self, path: str) -> URL:
        """Raises Unfit where a certificate is pinned that nobody would show."""
        url = self._urls[path]
        if self._pinned is not None and url.scheme != "https":
            raise Unfit(Met.BAD_URL, "a certificate is pinned, and RELAIS_ERP_URL is not https")
        return url

    def session(self) -> aiohttp.ClientSession:
        """The pool, opened at its first use."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE, ssl=self._pinned or True),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                auto_decompress=False,
            )
        return self._session

    async def close(self) -> None:
        """Let go of the connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class Pins(aiohttp.Fingerprint):
    """The certificates that the ERP may show, by the SHA-256 of their DER; they stand in for any authority."""

    def __init__(self, pins: frozenset[bytes]) -> None:
        super().__init__(min(pins))
        self._pins = pins

    @classmethod
    def of(cls, said: str) -> Self:
        """From the setting: hexadecimal, colons allowed, several separated by commas."""
        return cls(frozenset(bytes.fromhex(pin.replace(":", "").strip()) for pin in said.split(",")))

    def check(self, transport: asyncio.Transport) -> None:
        """Before anything is sent on a new connection with TLS. Raises ServerFingerprintMismatch."""
        shown = transport.get_extra_info("ssl_object")
        found = hashlib.sha256(shown.getpeercert(binary_form=True)).digest()
        if found not in self._pins:
            host, port, *_ = transport.get_extra_info("peername")
            raise aiohttp.ServerFingerprintMismatch(self.fingerprint, found, host, port)


class Body(aiohttp.BytesPayload):
    """A request's body that knows whether any of the request was handed to the network, or it was held back."""

    sent = held = False

    def __init__(self, body: bytes, may_send: Callable[[], bool]) -> None:
        super().__init__(body, content_type="application/json")
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
