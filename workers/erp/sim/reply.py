"""A reply as bytes to be written, and the ways to spoil one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, Self

OVERSIZE: Final = 1024 * 1024 + 1  # bytes
PAGE: Final = b"<!doctype html><title>Maintenance</title><h1>We will be back soon</h1>"


@dataclass(frozen=True, slots=True)
class Reply:
    """What is written after `delay` seconds; `close`: then the connection is broken."""

    label: str
    payload: bytes
    delay: float = 0.0
    close: bool = False

    def after(self, seconds: float) -> Self:
        """The same, later."""
        return replace(self, delay=seconds) if seconds else self

    def broken(self) -> Self:
        """No answer at all: the connection breaks."""
        return replace(self, label="died", payload=b"", close=True)


def as_json(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON answer."""
    return _reply(status, "application/json", json.dumps(content, separators=(",", ":")).encode(), headers or {})


def spoilt(reply: Reply, garbage: str) -> Reply:
    """The reply with its body as `Dial.garbage` says."""
    _, _, body = reply.payload.partition(b"\r\n\r\n")
    match garbage:
        case "truncated":
            half = reply.payload[: len(reply.payload) - len(body) + len(body) // 2]
            return replace(reply, label="truncated", payload=half, close=True)
        case "oversized":
            return replace(_reply(200, "application/json", body.ljust(OVERSIZE), {}), label="oversized")
        case "wrong_type":
            payload = reply.payload.replace(b"application/json", b"text/plain", 1)
            return replace(reply, label="wrong_type", payload=payload)
    return reply


def _reply(status: int, media_type: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\nContent-Type: {media_type}\r\n{more}"
    return Reply(str(status), b"%bContent-Length: %d\r\n\r\n%b" % (head.encode(), len(body), body))


_PHRASES: Final = {int(status): status.phrase for status in HTTPStatus}
HTML: Final = replace(_reply(200, "text/html; charset=utf-8", PAGE, {}), label="html")
