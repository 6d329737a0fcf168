"""What every answer carries for the browser's own guards, and what no request gets past.

Content Security Policy without any inline script or style (W3C CSP3), no framing, no sniffing, no referrer, nothing
cached but static files. A request that changes something and comes from another site is refused by what the browser
itself says of it (Fetch Metadata, `Origin`), before its token is looked at; so is one that is larger than any form.
A connection whose request was answered before its body had come is closed, however much was still to come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "font-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser says of our own forms that they come from `null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Strict-Transport-Security": "max-age=63072000",  # heard only over TLS
}
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
LARGEST: Final = 1024 * 1024  # bytes of a body
FOR_EVER: Final = "public, max-age=31536000, immutable"  # a static file's address changes with its content


class Shield:
    """An ASGI middleware around the whole console."""

    def __init__(self, app: ASGIApp) -> None:
        """Around `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        static, asked = scope["path"].startswith("/static/"), Headers(scope=scope)
        length = asked.get("content-length", "0")
        none = length == "0" and "transfer-encoding" not in asked
        body = FormBody(receive, int(length) if length.isdecimal() else 0, none)

        async def shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if not body.ended:
                    headers["Connection"] = "close"
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                kept = static and message["status"] == 200
                headers.setdefault("Cache-Control", FOR_EVER if kept else "no-store")
            await send(message)

        if scope["method"] not in SAFE and foreign(asked):
            await PlainTextResponse("This request comes from another site.\n", 403)(scope, receive, shielded)
        elif scope["method"] == "HEAD" and not scope["path"].startswith("/live/"):  # a stream would never end
            await self._app({**scope, "method": "GET"}, body.some, shielded)  # the server leaves out what GET has
        else:
            await self._app(scope, body.some, shielded)


@dataclass(slots=True)
class FormBody:
    """A request's body, of which no more is taken in than a form can have."""

    receive: Receive
    announced: int  # bytes; 0 where its length is not known
    ended: bool
    taken: int = 0

    async def some(self) -> Message:
        """The next part; HTTPException 413 beyond LARGEST, for what is announced to be larger before any of it."""
        message: Message = {} if self.announced > LARGEST else await self.receive()
        self.taken += len(message.get("body", b""))
        if max(self.taken, self.announced) > LARGEST:
            raise HTTPException(413)
        self.ended = self.ended or not message.get("more_body", False)
        return message


def foreign(headers: Headers) -> bool:
    """Whether the browser says that a request was made by another site's page."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")
