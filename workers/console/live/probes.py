"""One look at each store, for the poller: cheap however large the journal is and however many letters are dead.

The glance is taken every other second: totals by the tallies, who works, the few rows of backends and replays. All
that is counted along the backlog, and the forecast, is the survey's, with a glance of its own in the same snapshot, so
that no two figures of a page differ; where counting takes long it is taken more seldom.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from orders.journal import snapshot
from orders.journal.durability import weaknesses
from orders.queries import backends as backend_rows
from orders.queries import orders as order_queries
from orders.queries import replays as replay_queries
from orders.queries import troubled
from orders.queries.samples import stands
from orders.sentences import Sentence
from orders.states import State
from workers.console.live.cached import Known
from workers.console.live.series import Point, latest
from workers.dispatch.leadership import leader
from workers.forecast.forecast import draining
from workers.forecast.foretold import Forecast
from workers.monitoring import status
from workers.monitoring.intake import ask_intake
from workers.monitoring.snapshot import audited
from workers.proof.seal_status import sealing
from workers.queue.registry import workers_of

Row = dict[str, Any]

COUNTED: Final = 1000  # dead letters of a reason that are counted; beyond, there are "more than"

# Along the index, from reason to reason; of each no more than is told.
DEAD: Final = text(f"""
WITH RECURSIVE reasons AS (
  (SELECT reason FROM deliveries WHERE state = '{State.DEAD}' ORDER BY reason LIMIT 1)
  UNION ALL SELECT (SELECT d.reason FROM deliveries d WHERE d.state = '{State.DEAD}' AND d.reason > r.reason
    ORDER BY d.reason LIMIT 1) FROM reasons r WHERE r.reason IS NOT NULL
)
SELECT reason, (SELECT count(*) FROM (
  SELECT FROM deliveries d WHERE d.state = '{State.DEAD}' AND d.reason = r.reason LIMIT :most) few) AS orders
FROM reasons r WHERE reason IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class Glance:
    """The journal as of `at`. `totals` are those of `orders.queries.samples.stands`, rows those of
    `orders.queries.orders`.
    """

    at: datetime
    totals: dict[str, int]
    leading: bool
    backends: list[Row]
    replays: list[Row]
    workers: list[Row]
    sample: Point | None
    weak: list[Sentence]


@dataclass(frozen=True, slots=True)
class Survey:
    """What is counted and worked out: `backlog` by backend, priority and state, `dead` by reason up to COUNTED, what of
    `orders.queries.troubled` there is; and how all else stood at that moment.
    """

    glance: Glance
    backlog: list[Row]
    dead: list[Row]
    overdue: list[Row]
    unmapped: list[Row]
    asides: dict[str, int]
    seals: Row
    audit: Row | None
    forecasts: list[Forecast]

    @property
    def at(self) -> datetime:
        """The moment of all of it, by the journal's clock."""
        return self.glance.at

    @property
    def totals(self) -> dict[str, int]:
        """Those of the glance."""
        return self.glance.totals

    @property
    def oldest(self) -> datetime | None:
        """When the oldest order that is not final was accepted."""
        return min((row["oldest"] for row in self.backlog), default=None)

    @property
    def rounds(self) -> list[Row]:
        """The cut-offs to come, the nearest first, as the forecasts tell them."""
        found = [{"backend": each.backend, **row} for each in self.forecasts for row in each.cut_offs]
        return sorted(found, key=lambda row: row["cut_off"])

    def waiting(self, backend: str) -> int:
        """Orders of a backend that are not final."""
        return sum(row["orders"] for row in self.backlog if row["backend"] == backend)

    def left(self, replay: int) -> int | None:
        """Orders of a replay under way that are not final; None of one that began since."""
        return next((row["left"] for row in self.glance.replays if row["id"] == replay), None)


@dataclass(frozen=True, slots=True)
class PollerSnapshot:
    """What is known as of a beat; `beat` counts them, 0 is before the first."""

    beat: int
    at: datetime
    journal: Known[Glance]
    survey: Known[Survey]
    queue: Known[status.Queue]
    intake: Known[str]


async def glance(engine: AsyncEngine) -> Glance:
    """Look at the journal, in one snapshot. Raises what the journal raises."""
    async with snapshot(engine) as connection:
        return await _glance(connection)


async def _glance(connection: AsyncConnection) -> Glance:
    return Glance(
        at=(await connection.execute(text("SELECT now()"))).scalar_one(),
        totals=await stands(connection),
        leading=await leader(connection),
        backends=await backend_rows.standing(connection),
        replays=[row for row in await replay_queries.standing(connection) if row["ended_at"] is None],
        workers=await workers_of(connection),
        sample=await latest(connection),
        weak=await weaknesses(connection),
    )


async def survey(engine: AsyncEngine, settings: Settings) -> Survey:
    """Count and work out, in one snapshot. Raises what the journal raises."""
    async with snapshot(engine) as connection:
        now, backlog = await _glance(connection), await order_queries.backlog(connection)
        dead = [dict(row) for row in (await connection.execute(DEAD, {"most": COUNTED + 1})).mappings()]
        overdue, unmapped = await troubled.overdue(connection), await troubled.unmapped(connection)
        asides = await order_queries.asides_by_kind(connection)
        seals, audit = await sealing(connection, settings), await audited(connection)
        forecasts = await draining(connection, settings)
    return Survey(now, backlog, dead, overdue, unmapped, asides, seals, audit, forecasts)


async def queue(settings: Settings) -> status.Queue:
    """Look at Redis. Raises OSError when it cannot be asked."""
    found = await status.queue(settings)
    if not found.reachable:
        raise OSError(found.error)
    return found


async def intake(url: str) -> str:
    """Where the intake keeps what comes now: journal, spill or refusing. Raises TimeoutError when it does not answer
    in time, and OSError when nobody does.
    """
    found = await ask_intake(url)
    if found.mode is None:
        raise (TimeoutError if found.silent else OSError)(found.error)
    return found.mode
