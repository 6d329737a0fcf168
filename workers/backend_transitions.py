"""A backend's row: every change of it is one of these named transitions, in the transaction of whoever asks.

Which one is due is decided elsewhere: `workers.delivery.circuit_breaker` and its neighbours judge what a batch met,
operators pause, quarantine and release, a replay narrows the window. A circuit that opens of itself, or is opened by a
release, stays open until `probe_at`; nothing is sent to a backend that is paused or quarantined.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import bindparam, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.schema.sentence_column import SentenceColumn
from orders.schema.tables.core import backends
from orders.sentences import Code, Sentence
from orders.states import LIVE, REPLAYED

FIRST_WINDOW: Final = 50  # orders
WHY: Final = bindparam("why", type_=SentenceColumn())

REGISTER = text('INSERT INTO backends (name, "window") VALUES (:backend, :window) ON CONFLICT DO NOTHING')

PAUSE = text("""
UPDATE backends SET paused = :paused, held_why = CASE WHEN quarantined THEN held_why ELSE :why END
WHERE name = :backend AND (paused <> :paused OR NOT CAST(:first AS boolean)) RETURNING name
""").bindparams(WHY)

QUARANTINE = text("""
UPDATE backends SET quarantined = true, quarantined_at = clock_timestamp(), quarantined_by = :by, held_why = :why
WHERE name = :backend
""").bindparams(WHY)

RELEASE = text("""
UPDATE backends SET quarantined = false, quarantined_at = NULL, quarantined_by = NULL, held_why = NULL,
  circuit = 'open', "window" = 1, failures = 0, trips = 0, changed_at = clock_timestamp(),
  probe_at = clock_timestamp(), why = :why
WHERE name = :backend
""").bindparams(WHY)

HALF_OPEN = text(f"""
UPDATE backends SET circuit = 'half_open', changed_at = clock_timestamp()
WHERE name = :backend AND circuit = 'open' AND probe_at <= clock_timestamp() AND NOT paused AND NOT quarantined
  AND (EXISTS (SELECT FROM deliveries WHERE {LIVE} AND backend = :backend AND due_at <= now())
    OR EXISTS (SELECT FROM deliveries WHERE {REPLAYED} AND backend = :backend AND due_at <= now()
      AND NOT EXISTS (SELECT FROM replays WHERE backend = :backend AND state IN ('holding', 'paused'))))
""")

PROBE_NOW = text("""
UPDATE backends SET probe_at = now() WHERE circuit = 'open' AND NOT paused AND NOT quarantined
  AND name = coalesce(:backend, name)
""")

NARROW = text('UPDATE backends SET "window" = least("window", :window), credit = 0 WHERE name = :backend')

RATE = text("UPDATE backends SET rate = CAST(:rate AS float8) WHERE name = :backend")


async def register(connection: AsyncConnection, backend: str) -> None:
    """Make a backend's row, with a closed circuit and a small window, unless it has one."""
    await connection.execute(REGISTER, {"backend": backend, "window": FIRST_WINDOW})


async def learn_from_batch(connection: AsyncConnection, backend: str, columns: Mapping[str, Any]) -> None:
    """Circuit, window and baseline, as they were judged after a batch while the row was locked."""
    await connection.execute(update(backends).where(backends.c.name == backend).values(columns))


async def let_canary_go(connection: AsyncConnection, backend: str) -> None:
    """Half-open a circuit whose pause is over, where an order is due that may be the canary."""
    await connection.execute(HALF_OPEN, {"backend": backend})


async def probe_now(connection: AsyncConnection, backend: str | None = None) -> None:
    """End the pause of an open circuit: of this backend, or of all."""
    await connection.execute(PROBE_NOW, {"backend": backend})


async def narrow(connection: AsyncConnection, backend: str, window: int) -> None:
    """At most so many orders out; what the window had grown to beyond is to be earned again."""
    await connection.execute(NARROW, {"backend": backend, "window": window})


async def limit_rate(connection: AsyncConnection, backend: str, rate: float | None) -> None:
    """At most so many orders a second; None is no limit."""
    await connection.execute(RATE, {"backend": backend, "rate": rate})


async def set_paused(
    connection: AsyncConnection, backend: str, *, paused: bool, why: Sentence | None, first: bool = False
) -> bool:
    """Pause or resume, saying why unless a quarantine does; False for no such backend, or where it has to be the
    `first` to do so and is not.
    """
    values = {"backend": backend, "paused": paused, "why": why, "first": first}
    return (await connection.execute(PAUSE, values)).first() is not None


async def quarantine(connection: AsyncConnection, backend: str, by: str, why: Sentence | None) -> None:
    """Latch it: nothing but `release` undoes this."""
    await connection.execute(QUARANTINE, {"backend": backend, "by": by, "why": why})


async def release(connection: AsyncConnection, backend: str) -> None:
    """Trust it again: its circuit is open, with the canary due."""
    await connection.execute(RELEASE, {"backend": backend, "why": Sentence(Code.RELEASED)})
