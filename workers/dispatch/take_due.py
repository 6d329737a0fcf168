"""The statement that takes what is due, within the window, and marks it `dispatched`.

Orders wait in two parts, each behind a partial index of its own: the orders of a replay, which have a turn, and all
others, the live ones, which have none. The live ones wait in lines: of each client sixteen, over which its orders are
spread by pharmacy. Clients take turns: whoever has the fewest orders out goes first; and of one client its lines do, in
the same way. So a client waits for no other's backlog, and a pharmacy for another's only where both are in one line.
Being urgent, or having a near cut-off, comes first in a line, and among several only in the same turn. A cut-off that
has passed is none. In Redis, too, urgent orders overtake only those of their own client: where there are several, the
urgent queue is for whoever has little out, so that none waits for what others have there. Every line is read from its
head, so that a backlog of any size costs no more than the window holds, and some for each line.

While orders of a replay wait, live orders keep a share of the window: until they hold it, they go before all else.
What is taken beyond is merged: urgent first, then the nearest cut-off, then the turn (among equals live orders go
first, and a replay's take turns by pharmacy), then the oldest. A stage bounds how many of its orders a replay tries;
those it takes are written down with it, in the same statement.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from orders.intake.entries import LINES
from orders.states import LIVE, OUT, REPLAYED, CircuitState, ReplayState, State

UNBOUNDED: Final = 1_000_000  # orders, more than any window
SPARE: Final = 16  # orders that are read of a line beyond its part, for lines that have less than theirs

SLIGHT: Final = 4  # a client that has less than this part of an equal share of the window out

CLIENT: Final = f"{{}} >> {LINES}"  # of a line

# Each line that has a live order, `client` by name in the table, by priority, with its nearest cut-off: each is found
# by one step into the index, and what no line has is not looked for.
CLIENTS: Final = f"""
waiting (client, priority, cut_off) AS (
  (SELECT client, priority, cut_off FROM deliveries WHERE {LIVE} AND backend = :backend
    ORDER BY backend, client, priority, cut_off LIMIT 1)
  UNION ALL
  SELECT next.* FROM waiting w CROSS JOIN LATERAL (SELECT client, priority, cut_off FROM deliveries
    WHERE {LIVE} AND backend = :backend AND (client, priority) > (w.client, w.priority)
    ORDER BY backend, client, priority, cut_off LIMIT 1) next
)"""
_LINE = f"""
  SELECT order_id, {{round}} AS round FROM deliveries
  WHERE {LIVE} AND backend = :backend AND client = w.client AND priority = w.priority
    AND cut_off {{when}} now() AND due_at <= clock_timestamp()
  ORDER BY backend, client, priority, cut_off, order_id LIMIT {{{{most}}}}"""
# The first orders of each of `{lines}`, `{most}` of either priority, and as many whose cut-off has passed, if any has.
HEADS: Final = f"""
heads AS (
  SELECT w.*, h.* FROM {{lines}} w CROSS JOIN LATERAL (
    ({_LINE.format(round="cut_off", when=">")})
    UNION ALL
    (SELECT * FROM ({_LINE.format(round="CAST('infinity' AS timestamptz)", when="<=")}) missed WHERE w.cut_off <= now())
  ) h
)"""

DISPATCH = text(f"""
WITH RECURSIVE backend AS (
  SELECT CASE WHEN b.paused OR b.quarantined OR b.circuit = '{CircuitState.OPEN}' THEN 0
      WHEN b.circuit = '{CircuitState.HALF_OPEN}' THEN 1 ELSE b."window" END AS size,
    r.id AS replay, r.state, r.stage, coalesce(cardinality(r.staged), 0) AS staged
  FROM backends b LEFT JOIN replays r ON r.backend = b.name AND r.ended_at IS NULL WHERE b.name = :backend
), held AS (
  SELECT client AS line, {CLIENT.format("client")} AS client, count(*) AS orders,
    count(*) FILTER (WHERE turn = 0) AS live
  FROM deliveries WHERE backend = :backend AND {OUT} GROUP BY client
), outside AS (
  SELECT CAST(coalesce(sum(orders), 0) AS bigint) AS orders, CAST(coalesce(sum(live), 0) AS bigint) AS live FROM held
), room AS (
  SELECT greatest(0, least(size - outside.orders, :allowance)) AS orders,
    CASE WHEN replay IS NULL OR (state = '{ReplayState.RUNNING}' AND stage = 0) THEN {UNBOUNDED}
      WHEN state = '{ReplayState.RUNNING}' THEN greatest(0, stage - staged) ELSE 0 END AS replayed,
    least(ceil(CAST(:share AS float8) * size) - outside.live, CASE WHEN :allowance < size - outside.orders
      THEN ceil(CAST(:share AS float8) * :allowance) ELSE size END) AS reserved
  FROM backend, outside
), {CLIENTS}, part AS (
  SELECT least(orders, orders / greatest(1, (SELECT count(DISTINCT client) FROM waiting)) + {SPARE}) AS orders FROM room
), lines AS MATERIALIZED (
  SELECT w.*, coalesce(held.live, 0) AS live,
    coalesce((SELECT sum(live) FROM held WHERE client = {CLIENT.format("w.client")}), 0) AS of_client
  FROM waiting w LEFT JOIN held ON held.line = w.client
), {HEADS.format(lines="lines", most="(SELECT orders FROM part)")}, lined AS (
  SELECT order_id, {CLIENT.format("client")} AS client, priority, round, of_client,
    live + row_number() OVER (PARTITION BY client ORDER BY priority, round, order_id) AS turn FROM heads
), live AS (
  SELECT order_id, priority, round,
    of_client + row_number() OVER (PARTITION BY client ORDER BY turn, priority, round, order_id) AS turn FROM lined
), replayed AS (
  SELECT order_id, priority, cut_off, turn FROM deliveries
  WHERE {REPLAYED} AND backend = :backend AND due_at <= clock_timestamp()
  ORDER BY backend, priority, cut_off, turn, order_id
  LIMIT (SELECT least(orders, replayed) FROM room)
), line AS (
  (SELECT order_id, priority, round, 0 AS turn, turn AS mine,
    row_number() OVER (ORDER BY turn, priority, round, order_id) AS place FROM live
  ORDER BY live.turn, priority, round, order_id
  LIMIT CASE WHEN NOT EXISTS (SELECT FROM replayed) THEN (SELECT orders FROM room) END)
  UNION ALL SELECT order_id, priority, cut_off, turn, NULL, NULL FROM replayed
), due AS (
  SELECT order_id, turn, mine, row_number() OVER (ORDER BY CASE WHEN place <= (SELECT reserved FROM room)
    OR NOT EXISTS (SELECT FROM replayed) THEN place END, priority, round, turn, order_id) AS place FROM line
  ORDER BY place LIMIT (SELECT orders FROM room)
), taken AS (
  SELECT d.order_id, due.turn, due.mine, due.place FROM due JOIN deliveries d ON d.order_id = due.order_id
  WHERE d.state = '{State.ACCEPTED}' AND d.backend = :backend FOR UPDATE OF d SKIP LOCKED
), clients AS (
  SELECT count(*) AS clients
  FROM (SELECT client FROM held UNION SELECT {CLIENT.format("client")} FROM waiting WHERE client IS NOT NULL) each
), noted AS (
  UPDATE replays r SET staged = r.staged || ARRAY(
    SELECT order_id FROM taken WHERE turn > 0 AND order_id <> ALL(r.staged))
  WHERE r.id = (SELECT replay FROM backend) AND r.state = '{ReplayState.RUNNING}' AND r.stage > 0
    AND EXISTS (SELECT FROM taken WHERE turn > 0)
)
UPDATE deliveries d
SET state = '{State.DISPATCHED}', lease_until = clock_timestamp() + make_interval(secs => :patience)
FROM taken JOIN orders o ON o.id = taken.order_id CROSS JOIN clients CROSS JOIN backend
WHERE d.order_id = taken.order_id
RETURNING d.order_id, d.attempts, d.accepted_at, o.request_id, o.traceparent, taken.place,
  CASE WHEN clients < 2 OR taken.mine IS NULL THEN d.priority = 0
    ELSE taken.mine <= greatest(1, size / (clients * {SLIGHT})) END AS urgent
""")
