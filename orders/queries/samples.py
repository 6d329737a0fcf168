"""Samples of how Relais stands, for charts: written by the leader, thinned out, read a bounded number at a time.

What is final is counted by the tallies, what is not along the partial indexes and for a bounded time: a sample never
costs a dispatch more than that. Rows are kept for six hours, the first of each minute, with the minute's largest
backlog, for a fortnight.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.journal import Source, reading_from
from orders.queries.orders import WAITING
from orders.states import FINAL, State, listed

COUNTING_TIME: Final = 2000  # ms that the backlog may be counted for
FLEETING: Final = 6 * 3600.0  # seconds that every row is kept
LASTING: Final = 14 * 86400.0  # seconds that the first of a minute is kept
THINNED: Final = 2000  # rows that one go deletes at most

FINALS: Final = listed(FINAL)

# Totals of the tallies: `met` how often orders met that disposition, `now` how many stand there.
TOTALS: Final = f"""
  SELECT coalesce(sum(n) FILTER (WHERE name = 'fate' AND label = '{State.ACCEPTED}'), 0) AS accepted,
    coalesce(sum(n) FILTER (WHERE name = 'fate' AND label = '{State.DELIVERED}'), 0) AS delivered,
    coalesce(sum(n) FILTER (WHERE name = 'fate' AND label = '{State.DEAD}'), 0) AS dead,
    coalesce(sum(n) FILTER (WHERE name = 'fate' AND label = '{State.CANCELLED}'), 0) AS cancelled,
    coalesce(sum(n) FILTER (WHERE name = 'fate' AND label = '{State.DISCARDED}'), 0) AS discarded,
    coalesce(sum(CASE WHEN label = '{State.ACCEPTED}' THEN n WHEN name = 'fate' THEN -n ELSE n END), 0) AS backlog,
    coalesce(sum(CASE name WHEN 'fate' THEN n ELSE -n END) FILTER (WHERE label = '{State.DEAD}'), 0) AS dead_now,
    coalesce(sum(CASE name WHEN 'fate' THEN n ELSE -n END) FILTER (WHERE label = '{State.DELIVERED}'), 0)
      AS delivered_now
  FROM tallies WHERE name IN ('fate', 'left') AND label IN ('{State.ACCEPTED}', {FINALS})"""

STANDS: Final = text(TOTALS)

COUNTED: Final = f"""
  SELECT coalesce(jsonb_object_agg(backend, orders), CAST('{{}}' AS jsonb)) AS by_backend, min(oldest) AS oldest
  FROM (SELECT backend, count(*) AS orders, min(accepted_at) AS oldest FROM {WAITING} GROUP BY backend) b"""

UNCOUNTED: Final = "SELECT CAST(NULL AS jsonb) AS by_backend, CAST(NULL AS timestamptz) AS oldest"


def _sample(counted: str) -> str:
    return f"""
INSERT INTO samples (accepted, delivered, dead, cancelled, discarded, backlog, by_backend, oldest, lasting, peak)
SELECT accepted, delivered, dead, cancelled, discarded, backlog, by_backend, oldest,
  NOT EXISTS (SELECT FROM samples WHERE at >= date_trunc('minute', now())), greatest(backlog, :peak)
FROM ({TOTALS}) totals CROSS JOIN ({counted}) counted
ON CONFLICT DO NOTHING"""


WHOLE: Final = text(_sample(COUNTED))
CHEAP: Final = text(_sample(UNCOUNTED))
SET_LIMIT: Final = text(f"SET statement_timeout = {COUNTING_TIME}")
RESET_LIMIT: Final = text("RESET statement_timeout")

# The first of a minute takes over the peaks of those of the same minute that go.
THIN: Final = text("""
WITH gone AS (
  DELETE FROM samples WHERE at = ANY(ARRAY(
    (SELECT at FROM samples WHERE NOT lasting AND at < now() - make_interval(secs => :fleeting) ORDER BY at LIMIT :most)
    UNION ALL (SELECT at FROM samples WHERE at < now() - make_interval(secs => :lasting) ORDER BY at LIMIT :most)))
  RETURNING date_trunc('minute', at) AS minute, greatest(backlog, peak) AS peak
)
UPDATE samples s SET peak = g.peak FROM (SELECT minute, max(peak) AS peak FROM gone GROUP BY minute) g
WHERE s.lasting AND s.at >= g.minute AND s.at < g.minute + interval '1 minute'
  AND s.at >= now() - make_interval(secs => :lasting) AND s.peak < g.peak
""")

# A fortnight has some 22,000 rows. Cumulative counts grow, so the largest of a step is its last.
SERIES: Final = text("""
SELECT max(at) AS at, max(accepted) AS accepted, max(delivered) AS delivered, max(dead) AS dead,
  max(greatest(backlog, peak)) AS most, CAST(max(extract(epoch FROM at - oldest)) AS float8) AS age
FROM samples WHERE at <= CAST(:until AS timestamptz)
  AND at > CAST(:until AS timestamptz) - (:points + 1) * make_interval(secs => :step)
GROUP BY floor(extract(epoch FROM CAST(:until AS timestamptz) - at) / CAST(:step AS float8)) ORDER BY at
""")

NEWEST: Final = text("""
SELECT *, greatest(backlog, peak) AS most, CAST(extract(epoch FROM at - oldest) AS float8) AS age
FROM (SELECT * FROM samples ORDER BY at DESC LIMIT :most) s ORDER BY at
""")


async def stands(source: Source) -> dict[str, int]:
    """Totals, by the tallies alone: how often each disposition was met; `backlog`, `dead_now` and `delivered_now`."""
    async with reading_from(source) as connection:
        return {name: int(n) for name, n in (await connection.execute(STANDS)).mappings().one().items()}


async def thin(connection: AsyncConnection) -> None:
    """Delete what need not be kept any longer, THINNED rows of each kind at most."""
    await connection.execute(THIN, {"fleeting": FLEETING, "lasting": LASTING, "most": THINNED})


async def series(source: Source, until: datetime, step: float, points: int) -> list[dict[str, Any]]:
    """What each `step` seconds before `until` came to, one more than `points` at most, the oldest first.

    Counts and `at` are of the step's last sample, `most` is its largest backlog and `age` (s) the largest of the
    oldest's, None where nothing waited.
    """
    values = {"until": until, "step": step, "points": points}
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(SERIES, values)).mappings()]


async def newest(source: Source, most: int) -> list[dict[str, Any]]:
    """The last samples, the oldest of them first, each with `most` and `age` as of `series`."""
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(NEWEST, {"most": most})).mappings()]
