"""Every figure of the journal, read in one snapshot: what `relais status` shows and the exporter exports.

They fit together, whatever goes on meanwhile, and cost little however large the journal is: what is not final is
counted along partial indexes, what is final by the tallies that the journal keeps itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.settings import Settings
from orders.journal.durability import weaknesses
from orders.queries import backends as backend_rows
from orders.queries import orders as order_queries
from orders.queries import replays as replay_queries
from orders.queries import troubled
from orders.queries import webhooks as webhook_queries
from orders.queries.orders import Row
from orders.sentences import Sentence
from orders.states import BACKLOG, FINAL, Reason, State
from workers.dispatch.leadership import leader
from workers.monitoring.headline import JournalFacts
from workers.monitoring.throughput import Flow, flow
from workers.proof.seal_status import sealing
from workers.queue.registry import liveness, workers_of

TALLIES: Final = text("""
SELECT name, backend, label, bound, CAST(sum(n) AS bigint) AS n, CAST(sum(total) AS bigint) AS total
FROM tallies GROUP BY name, backend, label, bound ORDER BY name, backend, label, bound
""")

DEAD: Final = text(f"""
SELECT backend, reason, count(*) AS orders FROM deliveries WHERE state = '{State.DEAD}'
GROUP BY backend, reason ORDER BY backend, reason
""")

AUDITED: Final = text("SELECT at, detail FROM operations WHERE act = 'audit' ORDER BY id DESC LIMIT 1")


class TallyRow(NamedTuple):
    """How many there were; `bound` and `total` are microseconds, as in the table."""

    name: str
    backend: str
    label: str
    bound: int | None
    n: int
    total: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The journal's figures as of `at`. Rows are those of `orders.queries.orders` and its like."""

    at: datetime
    orders: dict[str, int]
    backlog: list[Row]
    dead: list[Row]
    overdue: list[Row]
    unmapped: list[Row]
    backends: list[Row]
    replays: list[Row]
    asides: dict[str, int]
    webhooks: Row
    seals: Row
    audit: Row | None
    leading: bool
    recent: Flow
    tallies: Sequence[TallyRow]
    hosts: Sequence[Row]
    workers: Sequence[Row]
    weak: Sequence[Sentence]

    def counted(self, name: str) -> Iterator[TallyRow]:
        """The tallies of one name."""
        return (tally for tally in self.tallies if tally.name == name)

    @property
    def dispositions(self) -> dict[str, int]:
        """How many orders met each disposition; one that died, was replayed and delivered met both."""
        met = {tally.label: tally.n for tally in self.counted("fate")}
        return {each: met.get(each, 0) for each in map(str, (State.ACCEPTED, *FINAL))}

    @property
    def waiting(self) -> int:
        """Orders that are not final."""
        return sum(self.orders[state] for state in BACKLOG)

    @property
    def oldest(self) -> datetime | None:
        """When the oldest order that is not final was accepted."""
        return min((row["oldest"] for row in self.backlog), default=None)

    @property
    def oldest_by_priority(self) -> dict[str, datetime | None]:
        """The same for urgent orders and for normal ones."""
        return {
            priority: min((row["oldest"] for row in self.backlog if row["priority"] == priority), default=None)
            for priority in order_queries.PRIORITIES
        }

    def facts(self) -> JournalFacts:
        """What the headline is made of."""
        return JournalFacts(
            at=self.at,
            leading=self.leading,
            backends=self.backends,
            replays=self.replays,
            backlog=self.backlog,
            dead=self.orders[State.DEAD],
            conflicts=sum(row["orders"] for row in self.dead if row["reason"] == Reason.CONFLICT),
            workers=self.workers,
            weak=self.weak,
            faults=self.audit["faults"] if self.audit else 0,
            doubt=self.seals["doubt"],
            overdue=self.overdue,
            unmapped=self.unmapped,
        )

    def out(self, backend: str) -> int:
        """Orders of a backend that are with the workers or the ERP."""
        states = ("dispatched", "delivering")
        return sum(row["orders"] for row in self.backlog if row["backend"] == backend and row["state"] in states)


async def read_figures(connection: AsyncConnection, settings: Settings) -> Snapshot:
    """All of them; `connection` is in a snapshot (`orders.journal.connection.snapshot`). Raises what the journal
    raises.
    """
    at = (await connection.execute(text("SELECT now()"))).scalar_one()
    return Snapshot(
        at=at,
        orders=await order_queries.counts(connection),
        backlog=await order_queries.backlog(connection),
        dead=[dict(row) for row in (await connection.execute(DEAD)).mappings()],
        overdue=await troubled.overdue(connection),
        unmapped=await troubled.unmapped(connection),
        backends=await backend_rows.standing(connection),
        replays=[row for row in await replay_queries.standing(connection) if row["ended_at"] is None],
        asides=await order_queries.asides_by_kind(connection),
        webhooks=await webhook_queries.figures(connection),
        seals=await sealing(connection, settings),
        audit=await audited(connection),
        leading=await leader(connection),
        recent=await flow(connection),
        tallies=[TallyRow(*row) for row in await connection.execute(TALLIES)],
        hosts=await liveness(connection),
        workers=await workers_of(connection),
        weak=await weaknesses(connection),
    )


async def audited(connection: AsyncConnection) -> dict[str, Any] | None:
    """When the last audit was made, and what it found; None before the first."""
    row = (await connection.execute(AUDITED)).one_or_none()
    return None if row is None else {"at": row.at, "sound": row.detail["sound"], "faults": row.detail["faults"]}
