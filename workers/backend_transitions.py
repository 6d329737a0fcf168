"""A backend's row: every change of it is one of these named transitions, in the transaction of whoever asks.

Which one is due is decided elsewhere: `workers.delivery.circuit_breaker` and its neighbours judge what a batch met,
operators pause, quarantine and release, a replay narrows the window. A circuit that opens of itself, or is opened by a
release, stays open until `probe_at`; nothing is sent to a backend that is paused or quarantined. An outage is
written with the circuit, in the same statement: it is one thing from the first failure to the first answer.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import case, func, literal, or_, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.schema.tables.core import backends
from orders.schema.tables.erps import UNENDED, outages
from orders.sentences import Sentence
from orders.states import LIVE, REPLAYED, STOPPED, CircuitState, listed

FIRST_WINDOW: Final = 50  # orders

REGISTER = text('INSERT INTO backends (name, "window") VALUES (:backend, :window) ON CONFLICT DO NOTHING')

HALF_OPEN = text(f"""
UPDATE backends SET circuit = '{CircuitState.HALF_OPEN}', changed_at = clock_timestamp()
WHERE name = :backend AND circuit = '{CircuitState.OPEN}' AND probe_at <= clock_timestamp()
  AND NOT paused AND NOT quarantined
  AND (EXISTS (SELECT FROM deliveries WHERE {LIVE} AND backend = :backend AND due_at <= now())
    OR EXISTS (SELECT FROM deliveries WHERE {REPLAYED} AND backend = :backend AND due_at <= now()
      AND NOT EXISTS (SELECT FROM replays WHERE backend = :backend AND state IN ({listed(STOPPED)}))))
""")

PROBE_NOW = text(f"""
UPDATE backends SET probe_at = now() WHERE circuit = '{CircuitState.OPEN}' AND NOT paused AND NOT quarantined
  AND name = coalesce(:backend, name)
""")


QUARANTINE = text("SELECT relais_quarantine(:backend, :by, CAST(:why AS jsonb))")
RELEASE = text("SELECT relais_release(:backend, :operator, :reason, CAST(:detail AS jsonb))")


async def register(connection: AsyncConnection, backend: str) -> None:
    """Make a backend's row, with a closed circuit and a small window, unless it has one."""
    await connection.execute(REGISTER, {"backend": backend, "window": FIRST_WINDOW})


async def describe(
    connection: AsyncConnection, backend: str, unique_reference: bool, absent_after: float, ack_within: float | None
) -> None:
    """Keep what its connector says that its ERP does, for those who have no connector: figures, console, alerts."""
    told = {"unique_reference": unique_reference, "absent_after": absent_after, "ack_within": ack_within}
    differs = or_(*(backends.c[name].is_distinct_from(each) for name, each in told.items()))
    await connection.execute(update(backends).where(backends.c.name == backend, differs).values(told))


async def saw_set_aside(connection: AsyncConnection, backend: str, answers: int) -> None:
    """Keep how many answers its connector has set aside, as seen now."""
    await _change(connection, backend, set_aside=answers, set_aside_at=func.clock_timestamp())


async def forget_set_aside(connection: AsyncConnection, names: Collection[str]) -> None:
    """Of these backends nothing is set aside: their connectors have no such place, whatever connectors they had."""
    seen = update(backends).where(backends.c.name.in_(names), backends.c.set_aside.is_not(None))
    await connection.execute(seen.values(set_aside=None, set_aside_at=None))


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage as it stands after a batch that failed: since when, and what opened the circuit when."""

    began_at: datetime
    opened_at: datetime
    failed_at: datetime
    failures: int
    why: Sentence | None


async def learn_from_batch(
    connection: AsyncConnection, backend: str, columns: Mapping[str, Any], outage: Outage | datetime | None = None
) -> None:
    """Circuit, window and baseline, as they were judged after a batch while the row was locked; and the outage that it
    is part of, or the moment of the answer that ended it.
    """
    changed = update(backends).where(backends.c.name == backend).values(columns)
    if outage is None:
        await connection.execute(changed)
    elif isinstance(outage, datetime):
        ends = update(outages).where(outages.c.backend == backend, UNENDED).values(ended_at=outage)
        await connection.execute(ends.add_cte(changed.cte("changed")))
    else:
        met = insert(outages).values(backend=backend, **asdict(outage))
        kept = {name: met.excluded[name] for name in ("began_at", "failures")}
        last = func.greatest(outages.c.failed_at, met.excluded.failed_at)
        goes_on = met.on_conflict_do_update(
            index_elements=["backend"], index_where=UNENDED, set_={**kept, "failed_at": last}
        )
        await connection.execute(goes_on.add_cte(changed.cte("changed")))


async def let_canary_go(connection: AsyncConnection, backend: str) -> None:
    """Half-open a circuit whose pause is over, where an order is due that may be the canary."""
    await connection.execute(HALF_OPEN, {"backend": backend})


async def probe_now(connection: AsyncConnection, backend: str | None = None) -> None:
    """End the pause of an open circuit: of this backend, or of all."""
    await connection.execute(PROBE_NOW, {"backend": backend})


async def narrow(connection: AsyncConnection, backend: str, window: int) -> None:
    """At most so many orders out; what the window had grown to beyond is to be earned again."""
    await _change(connection, backend, window=func.least(backends.c.window, window), credit=0)


async def limit_rate(connection: AsyncConnection, backend: str, rate: float | None) -> None:
    """At most so many orders a second; None is no limit."""
    await _change(connection, backend, rate=rate)


async def set_paused(
    connection: AsyncConnection, backend: str, *, paused: bool, why: Sentence | None, first: bool = False
) -> bool:
    """Pause or resume, saying why unless a quarantine does; False for no such backend, or where it has to be the
    `first` to do so and is not.
    """
    change = update(backends).where(backends.c.name == backend)
    if first:
        change = change.where(backends.c.paused != paused)
    kept = case((backends.c.quarantined, backends.c.held_why), else_=literal(why, backends.c.held_why.type))
    return (await connection.execute(change.values(paused=paused, held_why=kept))).rowcount > 0


async def quarantine(connection: AsyncConnection, backend: str, by: str, why: Sentence | None) -> None:
    """Latch it: nothing but `release` undoes this."""
    said = None if why is None else json.dumps(why.stored())
    await connection.execute(QUARANTINE, {"backend": backend, "by": by, "why": said})


async def release(
    connection: AsyncConnection, backend: str, operator: str, reason: str, detail: Mapping[str, Any]
) -> int:
    """Trust it again: its circuit is open, with the canary due. The journal records it; the id of that act."""
    values = {"backend": backend, "operator": operator, "reason": reason, "detail": json.dumps(detail)}
    return int((await connection.execute(RELEASE, values)).scalar_one())


async def _change(connection: AsyncConnection, backend: str, **columns: Any) -> None:
    await connection.execute(update(backends).where(backends.c.name == backend).values(columns))
