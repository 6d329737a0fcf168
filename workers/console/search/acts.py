"""The acts of the room `search`: taking one order back for its pharmacy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from orders.errors import NotSo
from orders.intake.cancel import WHY, cancel_by_operator
from orders.refusals import NotDone
from orders.schema.acts import CANCELLED
from orders.sentences import Sentence
from orders.states import CANCELLABLE, State
from workers.console import fields as read
from workers.console.access.people import Role
from workers.console.acts.act import Act, Chosen, Preview, Running, digest_of
from workers.console.i18n import N_, Words
from workers.console.labels import STATES
from workers.console.search.order_life import ORDER
from workers.console.state import ConsoleState
from workers.operations import operator, record

TOO_LATE: Final[dict[str, str]] = {
    State.DELIVERING: N_("It is being forwarded to the ERP."),
    State.SUBMITTED: N_("The ERP has taken it."),
    State.DELIVERED: N_("The ERP has accepted it."),
    State.DISCARDED: N_("An operator has given it up."),
    State.CANCELLED: N_("It is cancelled already."),
}


def choose(fields: Mapping[str, str]) -> Chosen:
    """One order by its id."""
    return read.gather(fields, {"order": read.order})


async def preview(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    """The order as it stands."""
    async with state.engine.connect() as connection:
        row = (await connection.execute(ORDER, {"order": UUID(chosen["order"])})).one_or_none()
    _ = words.gettext
    if row is None:
        return Preview(0, hindered=_("There is no such order."))
    facts = [
        (_("Pharmacy"), row.pharmacy),
        (_("Reference"), row.reference),
        (_("Received"), words.moment(row.received_at)),
        (_("State"), _(STATES[row.state][0])),
        (_("Backend"), row.backend),
    ]
    return Preview(
        1,
        facts=facts,
        sees=digest_of(row.state, row.unsure, row.backend),
        hindered=_hindered(row, words),
        confirm=row.reference,
        warning=_("The pharmacy gets nothing of this order. It cannot be taken back."),
    )


async def run(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    """Cancel it. Raises NotFound and TooLate; NotSo when somebody has done so in the meantime."""

    async def write_down(connection: AsyncConnection) -> None:
        await record(connection, CANCELLED, reason, {"order": chosen["order"]})

    if not await cancel_by_operator(state.engine, UUID(chosen["order"]), operator(), write_down):
        raise NotSo(Sentence(NotDone.CANCELLED_ALREADY))
    await running.at(1, 1)
    return {"cancelled": 1, "order": chosen["order"]}


def _hindered(row: Any, words: Words) -> str | None:
    if row.state not in CANCELLABLE:
        return words.gettext(TOO_LATE.get(row.state, WHY.get(row.state, row.state)))
    if row.unsure:
        return words.gettext("It may be with the ERP: an attempt ended in the unknown.")
    return None


ACTS: Final[tuple[Act, ...]] = (
    Act(
        kind="order-cancel",
        title=N_("Cancel an order for its pharmacy"),
        button=N_("Cancel this order"),
        role=Role.OPERATOR,
        choose=choose,
        preview=preview,
        run=run,
        danger=True,
        told={"cancelled": N_("Orders cancelled"), "order": N_("Order")},
    ),
)
