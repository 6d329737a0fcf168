"""What a request's head may be: its bounds, its Host (RFC 9112, 3.2), and how one that asks for an upgrade is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

import httptools
from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

MOST_URL: Final = 8 * 1024  # bytes
MOST_HEAD: Final = 32 * 1024  # bytes of all headers
MOST_HEADERS: Final = 100
VERSIONS: Final = ("1.0", "1.1")

Headers = Iterable[tuple[bytes, bytes]]

_HOST: Final = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
_READ: Final = {b"host", b"content-length", b"expect"}
_OFFER: Final = {b"upgrade", b"http2-settings"}


class BadRequest(Exception):
    """The request is answered with this status before any application sees it, and the connection ends."""

    def __init__(self, status: int, detail: str) -> None:
        """`detail` is for people."""
        super().__init__(detail)
        self.status = status

    def answer(self) -> bytes:
        """The whole answer, a problem document (RFC 9457)."""
        title = HTTPStatus(self.status).phrase.lower()
        body = to_json({"type": "about:blank", "status": self.status, "title": title, "detail": str(self)})
        head = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        return STATUS_LINE[self.status] + head + body


class Head:
    """One request's head as it comes, bound before anything is kept. Whatever it finds too much raises BadRequest."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        """The headers, with names in small letters, are added to these."""
        self.headers = headers
        self.url = b""
        self.whole = False
        self.length: int | None = None  # of the body, as the head has it
        self.expects_continue = False
        self._size = self._hosts = 0

    def add_url(self, piece: bytes) -> None:
        """A piece of what is asked for."""
        self.url += piece
        if len(self.url) > MOST_URL:
            raise BadRequest(414, f"at most {MOST_URL} bytes of a URL are taken")

    def add(self, name: bytes, value: bytes) -> None:
        """One header; those after a body are left out."""
        if self.whole:
            return
        self._size += len(name) + len(value)
        if self._size > MOST_HEAD or len(self.headers) >= MOST_HEADERS:
            raise BadRequest(431, f"at most {MOST_HEADERS} headers of {MOST_HEAD} bytes together are taken")
        name = name.lower()
        if name in _READ:
            self._read(name, value)
        self.headers.append((name, value))

    def _read(self, name: bytes, value: bytes) -> None:
        """What a header says to the connection itself."""
        if name == b"host":
            self._hosts += 1
            check_host(value)
        elif name == b"content-length":
            self.length = int(value)
        elif value.lower() == b"100-continue":
            self.expects_continue = True

    def describe(self, scope: MutableMapping[str, Any], method: str, version: str) -> str:
        """Write what is asked for into an ASGI scope, and say its path."""
        check_version(version, self._hosts)
        path, raw, query = target(self.url)
        scope["method"], scope["http_version"] = method, version
        scope["path"], scope["raw_path"], scope["query_string"] = path, raw, query
        return path


def target(url: bytes) -> tuple[str, bytes, bytes]:
    """The path, decoded and raw, and the query of a URL, relative or absolute. Raises BadRequest."""
    try:
        parsed = httptools.parse_url(url)
        raw = parsed.path or b"/"
        path = raw.decode("ascii")
    except (httptools.HttpParserError, UnicodeDecodeError):
        raise BadRequest(400, "the URL is none") from None
    return unquote(path) if "%" in path else path, raw, parsed.query or b""


def check_version(version: str, hosts: int) -> None:
    """Raise BadRequest for a version that is not spoken here, and for a request without Host or with several."""
    if version not in VERSIONS:
        raise BadRequest(505, "HTTP/1.1 is spoken here")
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise BadRequest(400, "a request has one Host")


def check_host(value: bytes) -> None:
    """Raise BadRequest unless the value can be a Host."""
    if not _HOST.fullmatch(value):
        raise BadRequest(400, "Host is none")


def without_upgrade(method: str, url: bytes, version: str, headers: Headers) -> bytes:
    """The head as it came, without the wish for another protocol. Raises BadRequest for CONNECT: it is nothing else."""
    if method == "CONNECT":
        raise BadRequest(501, "this is no proxy")
    lines = [b"%b %b HTTP/%b" % (method.encode(), url, version.encode())]
    for name, value in headers:
        kept = _without_offer(value) if name == b"connection" else value
        if name not in _OFFER and kept:
            lines.append(b"%b: %b" % (name, kept))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _without_offer(value: bytes) -> bytes:
    return b", ".join(each for each in map(bytes.strip, value.split(b",")) if each.lower() not in _OFFER)
