"""The figures of a span of time, for the report: what came in, what went out, what waited, what failed, who did what.

Nothing here holds an order's content: only counts, states, and the words of operators.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.journal import snapshot
from orders.schema.sentence_column import SentenceColumn
from orders.states import FINAL, CircuitState, State, listed
from workers.erp.outcomes import HAS_FAILED

MOST_SLICES: Final = 120
MOST_ACTS: Final = 500
WIDTHS: Final = (1, 5, 15, 60, 300, 900, 1800, 3600, 10_800, 21_600, 86_400, 604_800, 2_592_000, 31_536_000)  # s

FIRST: Final = text("SELECT min(received_at) FROM orders")
BEFORE: Final = text(f"""
SELECT (SELECT count(*) FROM orders WHERE received_at < :since) - (
  SELECT count(*) FROM deliveries WHERE state IN ({listed(FINAL)}) AND settled_at < :since)
""")


def _per_slice(what: str, at: str, condition: str = "true") -> Any:
    return text(
        f"SELECT CAST(floor(extract(epoch FROM {at} - :since) / :width) AS int) AS slice, count(*) FROM {what} "
        f"WHERE {at} >= :since AND {at} < :until AND {condition} GROUP BY 1"
    )


SERIES: Final = {
    "accepted": _per_slice("orders", "received_at"),
    "delivered": _per_slice("deliveries", "settled_at", f"state = '{State.DELIVERED}'"),
    "final": _per_slice("deliveries", "settled_at", f"state IN ({listed(FINAL)})"),
    "failed": _per_slice("attempts", "ended_at", HAS_FAILED),
}
# The backlog at the end of each second in which it changed, from that at the beginning on.
PEAKS: Final = text(f"""
WITH changes AS (
  SELECT floor(extract(epoch FROM received_at - :since)) AS second, count(*) AS orders FROM orders
  WHERE received_at >= :since AND received_at < :until GROUP BY 1
  UNION ALL SELECT floor(extract(epoch FROM settled_at - :since)), -count(*) FROM deliveries
  WHERE state IN ({listed(FINAL)}) AND settled_at >= :since AND settled_at < :until GROUP BY 1
), seconds AS (
  SELECT second, sum(sum(orders)) OVER (ORDER BY second) AS backlog FROM changes GROUP BY second
)
SELECT CAST(floor(second / :width) AS int) AS slice, max(backlog) AS most FROM seconds GROUP BY 1
""")
OUTCOMES: Final = text("""
SELECT outcome, count(*) AS attempts, count(DISTINCT order_id) AS orders, min(ended_at) AS first,
  max(ended_at) AS last
FROM attempts WHERE ended_at >= :since AND ended_at < :until GROUP BY outcome ORDER BY attempts DESC
""")
DEAD: Final = text(f"""
SELECT backend, reason, count(*) AS orders, min(settled_at) AS first, max(settled_at) AS last
FROM deliveries WHERE state = '{State.DEAD}' GROUP BY backend, reason ORDER BY orders DESC
""")
OUTAGES: Final = text("""
SELECT backend, began_at AS began, ended_at AS ended, failures, why FROM outages
WHERE began_at < :until AND coalesce(ended_at, 'infinity') > :since ORDER BY began_at, backend
""").columns(why=SentenceColumn())
ACTS: Final = text("""
SELECT at, operator, act, reason, detail FROM operations WHERE at >= :since AND at < :until ORDER BY id LIMIT :most
""")
EVIDENCE: Final = text("""
SELECT backend, kind, conclusive AS proof, count(*) AS pieces, count(DISTINCT order_id) AS orders, min(at) AS first,
  max(at) AS last
FROM evidence WHERE at >= :since AND at < :until GROUP BY backend, kind, conclusive ORDER BY first, kind
""")
RECONCILED: Final = text("""
SELECT started_at AS at, started_by AS operator, backend, since, until, state, present, missing, resent, altered,
  "unknown", "foreign" FROM reconciliations WHERE started_at >= :since AND started_at < :until ORDER BY id
""")
BACKENDS: Final = text(f"""
SELECT name AS backend, circuit, paused, quarantined AS "in quarantine", quarantined_at AS since, quarantined_by AS by,
  held_why AS why, CASE WHEN circuit = '{CircuitState.CLOSED}' THEN changed_at
    ELSE coalesce(failing_since, changed_at) END AS "circuit so since"
FROM backends ORDER BY name
""").columns(why=SentenceColumn())

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Incident:
    """What happened between `since` and `until`, in slices of `width` seconds: one figure a slice in each series."""

    since: datetime
    until: datetime
    width: int
    series: dict[str, list[int]]
    waiting: list[int]  # the largest backlog of each slice, to the second
    left: int  # the backlog at the end
    outcomes: Rows
    dead: Rows
    acts: Rows
    evidence: Rows
    reconciled: Rows
    backends: Rows
    outages: Rows

    def total(self, name: str) -> int:
        """Of a series."""
        return sum(self.series[name])

    def told_in(self, zone: str) -> Incident:
        """The same, its times in that zone. LookupError when there is none."""
        place = ZoneInfo(zone)
        return replace(self, since=self.since.astimezone(place), until=self.until.astimezone(place))


async def read_incident(engine: AsyncEngine, since: datetime | None, until: datetime | None, now: datetime) -> Incident:
    """Read it in one snapshot; from the first order where `since` is None, up to `now` where `until` is."""
    until = until or now
    async with snapshot(engine) as connection:
        since = since or (await connection.execute(FIRST)).scalar_one() or until - timedelta(hours=1)
        since = min(since, until - timedelta(seconds=1))
        width = slice_width(since, until)
        span = {"since": since, "until": until}
        count = int((until - since).total_seconds() // width) + 1
        series = {}
        for name, query in SERIES.items():
            found = dict(tuple(row) for row in await connection.execute(query, {**span, "width": width}))
            series[name] = [int(found.get(number, 0)) for number in range(count)]
        before = int((await connection.execute(BEFORE, {"since": since})).scalar_one())
        tables: list[Rows] = []
        for query in (OUTCOMES, DEAD, ACTS, EVIDENCE, RECONCILED, BACKENDS, OUTAGES):
            wanted = {"most": MOST_ACTS} if query is ACTS else {}
            rows = await connection.execute(query, {**({} if query in (DEAD, BACKENDS) else span), **wanted})
            tables.append([dict(row) for row in rows.mappings()])
        peaks = {row.slice: int(row.most) for row in await connection.execute(PEAKS, {**span, "width": width})}
    return Incident(since, until, width, series, *_waiting(before, series, peaks), *tables)


def slice_width(since: datetime, until: datetime) -> int:
    """Seconds of a slice: a round number, and at most MOST_SLICES of them."""
    seconds = (until - since).total_seconds()
    return next((width for width in WIDTHS if seconds / width <= MOST_SLICES), WIDTHS[-1])


def _waiting(before: int, series: dict[str, list[int]], peaks: dict[int, int]) -> tuple[list[int], int]:
    """The largest backlog of each slice, and the last one; `peaks` are by slice, on top of what waited `before`."""
    waiting, left = [], before
    for number, (accepted, final) in enumerate(zip(series["accepted"], series["final"], strict=True)):
        waiting.append(max(left, before + peaks[number]) if number in peaks else left)
        left += accepted - final
    return waiting, left
