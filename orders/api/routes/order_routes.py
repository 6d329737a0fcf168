"""What became of an order: asked for by id, by reference, or in pages; and taken back while it is still ours.

A client sees the orders of the pharmacies that it may order for, and of others not even that they exist.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response
from pydantic_core import to_json

from orders.access.clients import Scope
from orders.access.key_cache import Caller
from orders.api.request import RequestHead, read_headers
from orders.api.state import ApiState
from orders.errors import Fault, Forbidden, Malformed, NotFound
from orders.identifiers import CUSTOMER_CODE
from orders.intake.cancel import cancel
from orders.model import Instant
from orders.queries import orders as order_queries
from orders.states import State

MOST_ORDERS = 500

Pharmacy = Annotated[str | None, Query(pattern=CUSTOMER_CODE, description="Only this pharmacy's.")]
InState = Annotated[State | None, Query(description="Only orders that are in this state now.")]
Since = Annotated[Instant | None, Query(description="Only orders taken since, RFC 3339.")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST_ORDERS, description="At most so many.")]


async def get_orders(
    request: Request,
    pharmacy: Pharmacy = None,
    state: InState = None,
    since: Since = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Response:
    """Orders in the order in which they were taken; `next` leads to the page after, also for those yet to come."""
    api, caller = await _reader(request)
    if pharmacy is not None and caller.readable is not None and pharmacy not in caller.readable:
        raise Forbidden("this client may not order for this pharmacy")
    pharmacies = caller.readable if pharmacy is None else {pharmacy}
    after = None if cursor is None else _after(cursor)
    found = await order_queries.page(
        api.reads, pharmacies=pharmacies, state=state, since=since, after=after, limit=limit + 1
    )
    names = [str(name) for name in found[0]] if found else []  # SQLAlchemy's own kind of str costs a page 40 ms
    shown = [dict(zip(names, row.values(), strict=True)) for row in found[:limit]]
    following = _cursor(shown[-1]["id"]) if len(found) > limit else None
    return _json({"orders": shown, "next": following})


async def get_order(request: Request, order_id: UUID) -> Response:
    """An order's whole life: what it is, its state, every attempt, the ERP's receipt with what it accepted."""
    api, caller = await _reader(request)
    return _json(await readable(api, caller, order_id))


async def get_order_by_reference(request: Request, pharmacy: str, reference: str) -> Response:
    """An order's whole life, by the pharmacy's own order number."""
    api, caller = await _reader(request)
    life = await order_queries.order_by_reference(api.reads, pharmacy, reference)
    return _json(_allowed(caller, life))


async def delete_order(request: Request, order_id: UUID) -> Response:
    """Take an order back that is not yet with the ERP; 409 with its state when it is too late."""
    asked = read_headers(request.scope)
    api: ApiState = request.app.state.api
    caller = await api.caller(asked)
    caller.need(Scope.WRITE)
    life = await readable(api, caller, order_id)
    await cancel(api.engine, life["id"], caller.name, asked.request_id)
    return _json({"id": life["id"], "state": State.CANCELLED})


async def readable(api: ApiState, caller: Caller, order_id: UUID) -> dict[str, Any]:
    """An order's life, if the caller may see it. Raises NotFound."""
    return _allowed(caller, await order_queries.order(api.reads, order_id))


def _allowed(caller: Caller, life: dict[str, Any]) -> dict[str, Any]:
    if caller.readable is not None and life["pharmacy"] not in caller.readable:
        raise NotFound("no such order")
    return life


async def _reader(request: Request) -> tuple[ApiState, Caller]:
    api: ApiState = request.app.state.api
    return api, await reader(api, read_headers(request.scope))


async def reader(api: ApiState, asked: RequestHead) -> Caller:
    """Who is asking, if they may read. Raises Unauthorised and Forbidden."""
    caller = await api.caller(asked)
    if Scope.OPS not in caller.scopes:
        caller.need(Scope.READ)
    return caller


def _cursor(last: UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def _after(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        raise Malformed([Fault("cursor", None, "is none of ours")]) from None


def _json(content: dict[str, Any]) -> Response:
    return Response(to_json(content), media_type="application/json")
