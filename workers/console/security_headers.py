"""What every answer carries for the browser's own guards, and what no request gets past.

Content Security Policy without any inline script or style (W3C CSP3), no framing, no sniffing, no referrer, nothing
cached but static files. A request that changes something and comes from another site is refused by what the browser
itself says of it (Fetch Metadata, `Origin`), before its token is looked at; so is one that is larger than any form.
"""

from __future__ import annotations

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
        static = scope["path"].startswith("/static/")

        async def shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                kept = static and message["status"] == 200
                headers.setdefault("Cache-Control", FOR_EVER if kept else "no-store")
            await send(message)

        if scope["method"] not in SAFE and foreign(Headers(scope=scope)):
            await PlainTextResponse("This request comes from another site.\n", 403)(scope, receive, shielded)
            return
        await self._app(scope, bounded(receive), shielded)


def bounded(receive: Receive) -> Receive:
    """The same request, of which no more is taken in than a form can have; HTTPException 413 beyond."""
    taken = 0

    async def receive_some() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > LARGEST:
            raise HTTPException(413)
        return message

    return receive_some


def foreign(headers: Headers) -> bool:
    """Whether the browser says that a request was made by another site's page."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")
