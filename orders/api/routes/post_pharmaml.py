"""POST /pharmaml: the pharmacies' own ordering protocol, through the same intake as everything else.

Their software shows its API key as the password of HTTP Basic where it cannot send a bearer token.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from orders.access.clients import Scope as Opens
from orders.access.key_cache import Caller
from orders.api.request import RequestHead, address_of, read_body, read_headers
from orders.api.responses import NONE, answer, answer_problem
from orders.api.state import ApiState
from orders.errors import Unauthorised
from orders.intake.entries import Accepted
from orders.model import Order
from orders.pharmaml import reply_deposit
from orders.pharmaml.replies import Deposited
from orders.pharmaml.service import Counter
from orders.pharmaml.service import answer as reply

ROUTE: Final = "/pharmaml"
CHALLENGES: Final = {"WWW-Authenticate": 'Basic realm="Relais", charset="UTF-8", Bearer'}


async def post_pharmaml(api: ApiState, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one question of a pharmacy's software: 200 in the protocol's words, ERREUR among them."""
    asked, client = read_headers(scope), address_of(scope)
    try:
        caller = await api.caller(asked, basic=True)
        client = caller.name
        caller.need(Opens.WRITE)
        with api.shedder.enter(caller.name) as hand:
            api.spend(caller)
            raw = await read_body(receive, hand, partial(_between, api, caller.name), asked.length)
            headers = _headers(scope)
            async with api.rounds.orders.of(caller.name):
                found = await reply(
                    raw,
                    _counter(api, caller, asked),
                    content_type=headers.get(b"content-type"),
                    control=headers.get(b"content-pharmaml"),
                )
    except ClientDisconnect:
        return
    except Exception as error:
        await api.rounds.refuse(error, client)
        more = CHALLENGES if isinstance(error, Unauthorised) else NONE
        api.metrics.answered(ROUTE, await answer_problem(send, error, asked.request_id, more))
        return
    if found.refused:
        await api.rounds.refusal(client)
    await answer(send, 200, found.body, found.media_type.encode(), {"X-Request-ID": asked.request_id})
    api.metrics.answered(ROUTE, 200)


async def _between(api: ApiState, client: str, piece: bytes, size: int) -> None:
    await api.rounds.between(client, size)


def _counter(api: ApiState, caller: Caller, asked: RequestHead) -> Counter:
    async def accept(order: Order, origin: Mapping[str, Any]) -> Accepted:
        try:
            accepted = await api.intake.accept(order, caller.name, request_id=asked.request_id, origin=origin)
        except Exception as error:
            api.metrics.placed(error)
            raise
        api.metrics.placed(accepted)
        return accepted

    async def oldest(pharmacy: str) -> Deposited | None:
        async with api.reading(caller.name):
            return await reply_deposit.oldest(api.reads, pharmacy)

    return Counter(
        allow=caller.need_pharmacy,
        accept=accept,
        oldest=oldest,
        acknowledge=partial(reply_deposit.acknowledge, api.engine),
        keys=api.pharmaml_keys,
        turn=partial(api.rounds.piece, caller.name),
    )


def _headers(scope: Scope) -> dict[bytes, str]:
    return {name: value.decode("latin-1") for name, value in scope["headers"]}
