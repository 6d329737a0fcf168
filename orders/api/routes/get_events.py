"""GET /orders/{id}/events: an order's life as it happens, as server-sent events."""

from __future__ import annotations

from uuid import UUID

from starlette.types import Message, Receive, Scope, Send

from orders.access.key_cache import Caller
from orders.api.request import read_headers
from orders.api.responses import answer_problem
from orders.api.routes.order_routes import readable, reader
from orders.api.state import ApiState
from orders.errors import Fault, Malformed

BEFORE, AFTER = "/orders/", "/events"
ROUTE = "/orders/{order_id}/events"


def is_events(path: str) -> bool:
    """True for the path of some order's events."""
    return path.startswith(BEFORE) and path.endswith(AFTER)


async def get_events(api: ApiState, scope: Scope, receive: Receive, send: Send) -> None:
    """Stream the events of an order, from the one after Last-Event-ID on, until the final one."""
    asked = read_headers(scope)

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            api.metrics.answered(ROUTE, message["status"])
            message["headers"] = [*message["headers"], (b"x-request-id", asked.request_id.encode())]
        await send(message)

    try:
        caller = await reader(api, asked)
        with api.streams.hold(caller.name):
            async with api.reading_in_place(caller.name):
                order_id = await _found(api, caller, scope["path"])
            await api.listeners.stream(order_id, scope, receive, tell)
    except Exception as error:  # before anything was sent
        api.metrics.answered(ROUTE, await answer_problem(send, error, asked.request_id))


async def _found(api: ApiState, caller: Caller, path: str) -> UUID:
    """The id of an order that the caller may see; the order itself is not kept while its stream lasts."""
    return UUID(str((await readable(api, caller, _order_id(path)))["id"]))


def _order_id(path: str) -> UUID:
    try:
        return UUID(path[len(BEFORE) : -len(AFTER)])
    except ValueError:
        raise Malformed([Fault("order_id", None, "must be an order's id, a UUID")]) from None
