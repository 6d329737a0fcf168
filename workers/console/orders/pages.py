"""The list of orders: filtered by what the API filters by, the newest first, saved as a file, acted on as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from config.settings.routes_file import PRIORITIES, load_backends
from orders.errors import Malformed
from orders.queries import order_list
from orders.queries.order_files import FORMATS
from orders.queries.order_list import OrderPage
from orders.queries.products import complete_at
from orders.states import Reason, State
from workers.console import fields as read
from workers.console.access.guard import Viewer
from workers.console.labels import STATES
from workers.console.order_fields import FILTER, filter_of
from workers.console.orders.whole import uncancelled, whole_acts
from workers.console.rendering import page
from workers.console.state import AppState, ConsoleState

router = APIRouter()

PAGE: Final = 50  # orders of a page
TYPES: Final = {"csv": "text/csv", "ndjson": "application/x-ndjson"}
RESERVED: Final = frozenset({"after"})


@router.get("/orders")
async def get_orders(request: Request, who: Viewer, state: AppState, after: str = "") -> Response:
    """A page of the orders that the address asks for."""
    given = read.sent(request.query_params.multi_items(), RESERVED)
    try:
        chosen = read.gather(given, {}, FILTER)
    except Malformed as error:
        faults = {fault.field: fault.message for fault in error.faults}
        return _page(request, state, given, {}, OrderPage([], None), status=422, faults=faults)
    name = f"orders {urlencode(sorted((each, given[each]) for each in chosen))}"
    [place] = state.cursors.read(name, after, UUID) or [None]
    async with state.engine.connect() as connection:
        found = await order_list.listed(connection, filter_of(chosen), after=place, limit=PAGE)
        upto = await complete_at(connection) if "product" in chosen else None
    more = found.after and _address({**_asked(given, chosen), "after": state.cursors.sign(name, [str(found.after)])})
    return _page(request, state, given, chosen, found, more=more, first=place is None, upto=upto)


@router.get("/orders.{kind}")
async def get_file(request: Request, who: Viewer, state: AppState, kind: Literal["csv", "ndjson"]) -> Response:
    """All orders that the address asks for, as a file."""
    chosen = read.gather(read.sent(request.query_params.multi_items(), RESERVED), {}, FILTER)
    name = f"orders-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_lines(state, chosen, kind), media_type=TYPES[kind], headers=headers)


async def _lines(state: ConsoleState, chosen: dict[str, Any], kind: str) -> AsyncIterator[str]:
    head, lines = FORMATS[kind]
    yield head()
    async for rows in order_list.every(state.engine, filter_of(chosen)):
        yield lines(rows)


def _asked(given: dict[str, str], chosen: dict[str, Any]) -> dict[str, str]:
    """What chose them, as it was typed."""
    return {name: given[name] for name in FILTER if name in chosen}


def _address(fields: dict[str, str]) -> str:
    return f"/orders?{urlencode(fields)}"


def _page(
    request: Request,
    state: ConsoleState,
    given: dict[str, str],
    chosen: dict[str, Any],
    found: OrderPage,
    *,
    status: int = 200,
    **more: Any,
) -> Response:
    asked = _asked(given, chosen)
    acts = whole_acts(chosen, list(load_backends(state.settings)))
    told = {"more": None, "first": True, "upto": None, "faults": {}, **more}
    return page(
        request,
        "orders/orders.html",
        status=status,
        given=given,
        chosen=chosen,
        found=found,
        looked=order_list.LOOKED,
        states=STATES,
        stands=[(each.value, STATES[each][0]) for each in State],
        reasons=[(each.value, each.value) for each in Reason],
        priorities=[(each, each) for each in PRIORITIES],
        backends=[(each, each) for each in load_backends(state.settings)],
        whole=_address(asked),
        acts=acts,
        uncancelled=uncancelled(chosen, acts),
        saved={kind: f"/orders.{kind}?{urlencode(asked)}" for kind in FORMATS},
        **told,
    )
