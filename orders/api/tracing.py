"""The first span of an order's trace: the request that brings it, begun here or continued from its `traceparent`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Scope, Send

from config.telemetry import spans, traces
from orders.api.state import ApiState

Serve = Callable[[ApiState, Scope, Receive, Send], Awaitable[None]]


async def serve_traced(serve: Serve, api: ApiState, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the request in a span of its own; the orders that it brings keep its context."""
    method, path = scope["method"], scope["path"]
    headers = [value for name, value in scope["headers"] if name == b"traceparent"]
    header = headers[0] if len(headers) == 1 else b""  # two are none
    span = traces.start(
        f"{method} {path}",
        "server",
        traces.read(header.decode("latin-1")),
        {"http.request.method": method, "http.route": path, "url.path": path, "url.scheme": scope["scheme"]},
    )
    status = 0

    async def tell(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        await send(message)

    token = spans.CURRENT.set(span)
    try:
        await serve(api, scope, receive, tell)
    finally:
        spans.CURRENT.reset(token)
        span.note({"http.response.status_code": status or None})
        span.end(str(status) if status >= 500 else None)
