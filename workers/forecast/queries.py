"""What a forecast is made from, read from the journal by statements that cost little however large it is.

Counting what came in eight weeks would take the longer the more came. But `orders` is append-only, so its rows lie on
disk in the order in which they came: where the first order of an hour lies tells how many came before it, and that is
one step down an index. Receipts are read from the newest, and the backlog once, along the index that dispatches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.queries.orders import first_id
from orders.states import LIVE, OUT, POLLED, REPLAYED
from workers.erp.outcomes import IS_DELIVERED
from workers.forecast.arrivals import LAST_HOURS, Arrivals, Stretch, learn, steady, steps, stretch
from workers.forecast.pace import BIN, PaceSample
from workers.forecast.simulation import Round
from workers.replay.gates import RAMP

NEWEST_ORDERS: Final = 2000  # orders that tell the share of a backend, of urgent ones, and how many lie on a page
RECEIPTS: Final = 30_000  # newest receipts that tell the pace
COUNTED_BELOW: Final = 100_000  # orders that are counted one by one
BINS: Final = 5000  # and at most so many bins of them
ROUNDS: Final = 50  # cut-offs that are looked at, the nearest first
WAITED: Final = 5.0  # s, or three times its latency, beyond which an order waited for its turn

# Ids are UUIDv7: their first 48 bits are milliseconds since 1970.
# In a replay's stages before the ramp few orders may go at once: what the ERP takes then is not its pace.
TAKEN = text(f"""
SELECT bin, count(*) AS orders, count(*) FILTER (WHERE waited > :patience AND NOT staged) AS waited FROM (
  SELECT CAST(floor(extract(epoch FROM received_at) / :width) AS bigint) AS bin,
    extract(epoch FROM received_at) - CAST(
      CAST('x' || translate(left(CAST(order_id AS text), 13), '-', '') AS bit(48)) AS bigint) / 1000.0 AS waited,
    EXISTS (SELECT FROM replays p WHERE p.backend = :backend AND r.received_at >= p.started_at AND r.received_at <
      CASE p.stage WHEN {RAMP} THEN p.stage_since ELSE coalesce(p.ended_at, 'infinity') END) AS staged
  FROM receipts r WHERE backend = :backend ORDER BY received_at DESC, order_id DESC LIMIT :most) r
GROUP BY bin ORDER BY bin DESC LIMIT :bins
""")

LATENCY = text(f"""
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM a.ended_at - a.started_at)) FROM (
  SELECT order_id, lease FROM receipts WHERE backend = :backend
  ORDER BY received_at DESC, order_id DESC LIMIT 200) r
JOIN attempts a ON a.order_id = r.order_id AND a.lease = r.lease AND a.{IS_DELIVERED}
""")

BACKLOG = text(f"""
WITH waiting AS MATERIALIZED (
  SELECT priority, cut_off, count(*) AS orders, max(due_at) AS due FROM (
    SELECT * FROM deliveries WHERE backend = :backend AND {LIVE}
    UNION ALL SELECT * FROM deliveries WHERE backend = :backend AND {REPLAYED}
  ) d GROUP BY priority, cut_off
), queue AS (
  SELECT priority, cut_off, orders, sum(orders) OVER (ORDER BY priority, cut_off) AS place FROM waiting
), rounds AS (
  SELECT * FROM queue WHERE cut_off < 'infinity' AND cut_off > now() ORDER BY cut_off, priority LIMIT :rounds
)
SELECT now() AS now, (SELECT coalesce(sum(orders), 0) FROM waiting) AS waiting, (SELECT max(due) FROM waiting) AS due,
  (SELECT coalesce(sum(orders), 0) FROM waiting WHERE cut_off <= now()) AS missed,
  (SELECT count(*) FROM deliveries WHERE backend = :backend AND {OUT}) AS out,
  (SELECT count(*) FROM deliveries WHERE backend = :backend AND {POLLED}) AS submitted,
  (SELECT coalesce(json_agg(json_build_array(extract(epoch FROM cut_off), priority, orders, place)), '[]')
   FROM rounds) AS rounds
""")

MIX = text("""
SELECT coalesce(avg(CAST(backend = :backend AS int)), 1) AS share,
  coalesce(avg(CAST(priority = 0 AS int)) FILTER (WHERE backend = :backend), 0) AS urgent
FROM (SELECT backend, priority FROM deliveries ORDER BY order_id DESC LIMIT :newest) d
""")

FIRST = text("SELECT id FROM orders ORDER BY id LIMIT 1")

# A small row may fill a gap on a page further up: so the outer tenths are left aside here, and below, the last of a
# few rows is taken.
PAGES = text("""
SELECT coalesce(0.8 * count(*) / nullif(percentile_cont(0.9) WITHIN GROUP (ORDER BY page)
    - percentile_cont(0.1) WITHIN GROUP (ORDER BY page), 0), max(line)) AS density,
  max(page) AS page, max(line) FILTER (WHERE number = 1) AS line FROM (
  SELECT (CAST(CAST(ctid AS text) AS point))[0] AS page, (CAST(CAST(ctid AS text) AS point))[1] AS line,
    row_number() OVER (ORDER BY id DESC) AS number
  FROM orders ORDER BY id DESC LIMIT :newest) o
""")

PLACES = text("""
SELECT (CAST(CAST(o.place AS text) AS point))[0], (CAST(CAST(o.place AS text) AS point))[1]
FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS b (id, number)
CROSS JOIN LATERAL (
  SELECT max(ctid) AS place FROM (SELECT ctid FROM orders WHERE id >= b.id ORDER BY id LIMIT 8) f) o ORDER BY number
""")

COUNTED = text("""
SELECT width_bucket(id, CAST(:ids AS uuid[])) AS step, count(*) AS orders FROM orders
WHERE id >= :first AND id < :last GROUP BY step
""")


class Backlog(NamedTuple):
    """What is not final, as of `now`: all of it, seconds until its last order is due, its rounds, and orders whose
    cut-off has passed already.
    """

    now: datetime
    orders: int
    rest: float
    rounds: tuple[Round, ...]
    missed: int


async def backlog(connection: AsyncConnection, backend: str) -> Backlog:
    """The backlog of a backend in the order in which it will go."""
    row = (await connection.execute(BACKLOG, {"backend": backend, "rounds": ROUNDS})).one()
    began = row.now.timestamp()
    rounds = tuple(
        Round(cut_off - began, priority == 0, orders, place + row.out)
        for cut_off, priority, orders, place in row.rounds
    )
    rest = max(0.0, (row.due - row.now).total_seconds()) if row.due else 0.0
    return Backlog(row.now, int(row.waiting + row.out + row.submitted), rest, rounds, int(row.missed))


async def taken(connection: AsyncConnection, backend: str, latency: float) -> dict[int, PaceSample]:
    """What the backend took, by bins of BIN seconds, from the newest receipts."""
    patience = max(WAITED, 3 * latency)
    values = {"backend": backend, "patience": patience, "width": BIN, "most": RECEIPTS, "bins": BINS}
    return {row.bin: PaceSample(row.orders, row.waited) for row in await connection.execute(TAKEN, values)}


async def latency(connection: AsyncConnection, backend: str) -> float | None:
    """Seconds that a call to the backend took lately, the median; None when it never answered."""
    found = (await connection.execute(LATENCY, {"backend": backend})).scalar_one()
    return None if found is None else float(found)


async def arrivals(connection: AsyncConnection, backend: str, now: datetime) -> tuple[Arrivals, float]:
    """Orders to come for the backend, and the share of them that is urgent."""
    mix = (await connection.execute(MIX, {"backend": backend, "newest": NEWEST_ORDERS})).one()
    share, urgent = float(mix.share), float(mix.urgent)
    first = (await connection.execute(FIRST)).scalar_one_or_none()
    age = 0.0 if first is None else max(60.0, now.timestamp() - (first.int >> 80) / 1000)
    of = stretch(age)
    if of is LAST_HOURS:
        span = min(of.period, age) if age else of.period
        lately = await _came(connection, [now - timedelta(seconds=span), now])
        return steady(share * lately[0] / span, span), urgent
    ends = steps(of.period)
    bounds = [_back(now, of, past, end) for past in range(of.most, 0, -1) for end in (0.0, *ends[:-1])]
    came = [share * orders for orders in await _came(connection, [*bounds, now])]
    periods = [came[at : at + len(ends)] for at in range(0, len(came), len(ends))]
    return learn(periods[::-1], ends, of), urgent


def _back(now: datetime, of: Stretch, past: int, ahead: float) -> datetime:
    """The moment `past` periods before the one `ahead` seconds from now, at the same hour of the clock here."""
    clock = now.astimezone().replace(tzinfo=None)
    return (clock - timedelta(seconds=past * of.period - ahead)).astimezone(UTC)


async def _came(connection: AsyncConnection, bounds: Sequence[datetime]) -> list[float]:
    """How many orders came between each two of these moments: about, or exactly where that costs little too."""
    ids: list[UUID] = [first_id(bound) for bound in bounds]
    places = await _places(connection, ids)
    if places[-1] - places[0] > COUNTED_BELOW:
        return [after - before for before, after in pairwise(accumulate(places, max))]
    rows = await connection.execute(COUNTED, {"ids": ids, "first": ids[0], "last": ids[-1]})
    counted = {row.step: float(row.orders) for row in rows}
    return [counted.get(step, 0.0) for step in range(1, len(ids))]


async def _places(connection: AsyncConnection, ids: Sequence[UUID]) -> list[float]:
    """About how many orders lie before the first with each of these ids or a higher one."""
    tail = (await connection.execute(PAGES, {"newest": NEWEST_ORDERS})).one()
    if tail.page is None:
        return [0.0] * len(ids)
    rows: Sequence[Any] = (await connection.execute(PLACES, {"ids": list(ids)})).all()
    last = tail.page * tail.density + tail.line
    return [last if page is None else page * tail.density + line - 1 for page, line in rows]
