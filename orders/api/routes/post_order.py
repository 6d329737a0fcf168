"""POST /orders, the hot route: read, parse, accept, answer. Nothing here waits for anything but the disk."""

from __future__ import annotations

import time

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from config.telemetry.spans import CURRENT
from orders.access.clients import Scope as Opens
from orders.access.key_cache import Caller
from orders.api.request import Between, RequestHead, address_of, idempotency_key, read_body, read_headers
from orders.api.responses import JSON, answer, answer_problem
from orders.api.rounds import LARGE
from orders.api.state import ApiState
from orders.faults import Extent
from orders.intake.entries import Accepted
from orders.model import MOST_LINES, Order, parse


async def post_order(api: ApiState, scope: Scope, receive: Receive, send: Send) -> None:
    """Take the order in the body: 202 once it is on disk, 200 when this very order was accepted before."""
    began = time.perf_counter()
    asked, client = read_headers(scope), address_of(scope)
    try:
        caller = await api.caller(asked)
        client = caller.name
        accepted = await _place(api, caller, asked, receive)
    except ClientDisconnect:  # in the middle of its body: nobody is there to be answered
        return
    except Exception as error:
        await api.rounds.refuse(error, client)
        api.metrics.placed(error)
        api.metrics.answered("/orders", await answer_problem(send, error, asked.request_id))
        return
    status = 200 if accepted.repeated else 202
    CURRENT.get().note({"relais.order.id": str(accepted.id), "relais.outcome": accepted.kept})
    repeated = "true" if accepted.repeated else "false"
    body = f'{{"id":"{accepted.id}","repeated":{repeated},"kept":"{accepted.kept}"}}'.encode()
    await answer(send, status, body, JSON, {"Location": f"/orders/{accepted.id}", "X-Request-ID": asked.request_id})
    api.metrics.placed(accepted)
    api.metrics.answered("/orders", status)
    api.metrics.seconds.observe(time.perf_counter() - began)


async def _place(api: ApiState, caller: Caller, asked: RequestHead, receive: Receive) -> Accepted:
    caller.need(Opens.WRITE)
    with api.shedder.enter(caller.name) as hand:
        api.spend(caller)
        key = idempotency_key(asked)
        raw = await read_body(receive, hand, _between(api, caller.name), asked.length)
        turns = api.rounds.orders
        if not turns.begin_now(caller.name):
            await turns.begin(caller.name)
        try:
            order = parse(raw) if len(raw) <= LARGE else await _parse(api, caller.name, raw)
            caller.need_pharmacy(order.pharmacy)
            return await api.intake.accept(order, caller.name, request_id=asked.request_id, key=key)
        finally:
            turns.end(caller.name)


def _between(api: ApiState, client: str) -> Between:
    """What no order has as much of is refused before the rest is read."""
    extent = Extent(MOST_LINES)

    async def between(piece: bytes, size: int) -> None:
        extent.add(piece)
        await api.rounds.between(client, size)

    return between


async def _parse(api: ApiState, client: str, raw: bytes) -> Order:
    async with api.rounds.piece(client):
        return parse(raw)
