"""What became of an order: asked for by id, by reference, or in pages; and taken back while it is still ours.

A client sees the orders of the pharmacies that it may order for, and of others not even that they exist.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response
from pydantic_core import to_json

from orders.access.clients import Scope
from orders.access.key_cache import Caller
from orders.api.request import RequestHead, read_headers
from orders.api.spilled_orders import cancelled_in_spill, whole_life
from orders.api.state import ApiState
from orders.errors import Fault, Forbidden, Malformed, NotFound
from orders.identifiers import CUSTOMER_CODE
from orders.identifiers import product as product_code
from orders.intake.cancel import cancel
from orders.intake.spilled import find, find_by_reference
from orders.model import Instant, Priority
from orders.queries import orders as order_queries
from orders.queries.order_filter import OrderFilter
from orders.queries.order_pages import Place, cut, page
from orders.states import Reason, State

MOST_ORDERS = 500
BACKEND = r"^[a-z][a-z0-9_-]{0,31}$"
CLIENT = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
PRODUCT = r"^([0-9]{7}|[0-9]{13})$"
NO_ORDER = "no such order, or none that this client may see"

Pharmacy = Annotated[str | None, Query(pattern=CUSTOMER_CODE, description="Only this pharmacy's.")]
InState = Annotated[State | None, Query(description="Only orders that are in this state now.")]
Backend = Annotated[str | None, Query(pattern=BACKEND, description="Only orders for this backend.")]
Client = Annotated[str | None, Query(pattern=CLIENT, description="Only what this client handed over.")]
OfPriority = Annotated[Priority | None, Query(description="Only these.")]
OfReason = Annotated[Reason | None, Query(description="Only dead letters of this reason.")]
Holding = Annotated[
    str | None,
    Query(pattern=PRODUCT, description="Only orders with this product: 13 digits (CIP13, ACL13, UCD13), or a CIP7."),
]
Since = Annotated[Instant | None, Query(description="Only orders taken since, RFC 3339.")]
Until = Annotated[Instant | None, Query(description="Only orders taken before, RFC 3339.")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST_ORDERS, description="At most so many.")]


async def get_orders(
    request: Request,
    pharmacy: Pharmacy = None,
    state: InState = None,
    backend: Backend = None,
    client: Client = None,
    priority: OfPriority = None,
    reason: OfReason = None,
    product: Holding = None,
    since: Since = None,
    until: Until = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Response:
    """Orders in the order in which they were journalled; `next` leads to the page after, also for those yet to come."""
    api, caller = await _reader(request)
    if pharmacy is not None and caller.readable is not None and pharmacy not in caller.readable:
        raise Forbidden("this client may not order for this pharmacy")
    wanted = OrderFilter(
        state, pharmacy, backend, client, priority, reason, product and _product(product), since, until
    )
    after = None if cursor is None else _after(cursor)
    pharmacies = caller.readable if pharmacy is None else None
    found = await page(api.reads, wanted, pharmacies=pharmacies, after=after, limit=limit + 1)
    shown, place = cut(found, limit)
    written = ",".join([row.summary for row in shown]).encode()
    body = b'{"orders":[%b],"next":%b}' % (written, to_json(place and _cursor(place)))
    return Response(body, media_type="application/json")


def _product(given: str) -> str:
    try:
        return product_code(given)
    except ValueError as error:
        raise Malformed([Fault("product", None, str(error))]) from None


async def get_order(request: Request, order_id: UUID) -> Response:
    """An order's whole life: what it is, its state, every attempt, the ERP's receipt with what it accepted."""
    api, caller = await _reader(request)
    return _json(await readable(api, caller, order_id))


async def get_order_by_reference(request: Request, pharmacy: str, reference: str) -> Response:
    """An order's whole life, by the pharmacy's own order number."""
    api, caller = await _reader(request)
    life = whole_life(
        api,
        partial(order_queries.order_by_reference, api.reads, pharmacy, reference),
        partial(find_by_reference, pharmacy=pharmacy, reference=reference),
    )
    return _json(await _allowed(caller, life))


async def delete_order(request: Request, order_id: UUID) -> Response:
    """Take an order back that is not yet with the ERP, wherever it is kept; 409 with its state when it is too late."""
    asked = read_headers(request.scope)
    api: ApiState = request.app.state.api
    caller = await api.caller(asked)
    caller.need(Scope.WRITE)
    life = await readable(api, caller, order_id)
    if life["kept"] == "journal" or not await cancelled_in_spill(api, life["id"], caller.name, asked.request_id):
        await cancel(api.engine, life["id"], caller.name, asked.request_id)
    return _json({"id": life["id"], "state": State.CANCELLED})


async def readable(api: ApiState, caller: Caller, order_id: UUID) -> dict[str, Any]:
    """An order's life, if the caller may see it. Raises NotFound."""
    life = whole_life(api, partial(order_queries.order, api.reads, order_id), partial(find, order_id=order_id))
    return await _allowed(caller, life)


async def _allowed(caller: Caller, asked: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """The life that was asked for; what there is not and what is another's get the very same NotFound."""
    with suppress(NotFound):
        life = await asked
        if caller.readable is None or life["pharmacy"] in caller.readable:
            return life
    raise NotFound(NO_ORDER)


async def _reader(request: Request) -> tuple[ApiState, Caller]:
    api: ApiState = request.app.state.api
    return api, await reader(api, read_headers(request.scope))


async def reader(api: ApiState, asked: RequestHead) -> Caller:
    """Who is asking, if they may read. Raises Unauthorised and Forbidden."""
    caller = await api.caller(asked)
    if Scope.OPS not in caller.scopes:
        caller.need(Scope.READ)
    return caller


def _cursor(place: Place) -> str:
    tx, last = place
    return base64.urlsafe_b64encode(tx.to_bytes(8) + last.bytes).decode()


def _after(cursor: str) -> Place:
    try:
        told = base64.b64decode(cursor, altchars=b"-_", validate=True)
        return int.from_bytes(told[:8], signed=True), UUID(bytes=told[8:])
    except (ValueError, binascii.Error):
        raise Malformed([Fault("cursor", None, "is none of ours")]) from None


def _json(content: dict[str, Any]) -> Response:
    return Response(to_json(content), media_type="application/json")
