"""The statement that takes what is due, within the window, and marks it `dispatched`.

Orders wait in two lines, each behind a partial index of its own: the orders of a replay, which have a turn, and all
others, the live ones, which have none. Either line is read from its head, so that a backlog of any size costs no more
than the window holds. What is taken of them is merged: urgent first, then the nearest cut-off, then the turn (among
equals live orders go first, and a replay's take turns by pharmacy), then the oldest.

While a replay is not over, live orders keep a share of the window: until they hold it, they go before all else.
Where none wait, the replay has it all. A stage bounds how many of its orders a replay tries; those it takes are
written down with it, in the same statement.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from orders.states import LIVE, OUT, REPLAYED, CircuitState, ReplayState, State

UNBOUNDED: Final = 1_000_000  # orders, more than any window

DISPATCH = text(f"""
WITH backend AS (
  SELECT CASE WHEN b.paused OR b.quarantined OR b.circuit = '{CircuitState.OPEN}' THEN 0
      WHEN b.circuit = '{CircuitState.HALF_OPEN}' THEN 1 ELSE b."window" END AS size,
    r.id AS replay, r.state, r.stage, coalesce(cardinality(r.staged), 0) AS staged
  FROM backends b LEFT JOIN replays r ON r.backend = b.name AND r.ended_at IS NULL WHERE b.name = :backend
), held AS (
  SELECT count(*) AS orders, count(*) FILTER (WHERE turn = 0) AS live
  FROM deliveries WHERE backend = :backend AND {OUT}
), room AS (
  SELECT greatest(0, least(size - held.orders, :allowance)) AS orders,
    CASE WHEN replay IS NULL OR (state = '{ReplayState.RUNNING}' AND stage = 0) THEN {UNBOUNDED}
      WHEN state = '{ReplayState.RUNNING}' THEN greatest(0, stage - staged) ELSE 0 END AS replayed,
    CASE WHEN replay IS NULL THEN 0
      ELSE least(ceil(CAST(:share AS float8) * size) - held.live, CASE WHEN :allowance < size - held.orders
        THEN ceil(CAST(:share AS float8) * :allowance) ELSE size END) END AS reserved
  FROM backend, held
), live AS (
  SELECT order_id, priority, cut_off, turn FROM deliveries
  WHERE {LIVE} AND backend = :backend AND due_at <= clock_timestamp()
  ORDER BY backend, priority, cut_off, order_id
  LIMIT (SELECT orders FROM room) FOR UPDATE SKIP LOCKED
), replayed AS (
  SELECT order_id, priority, cut_off, turn FROM deliveries
  WHERE {REPLAYED} AND backend = :backend AND due_at <= clock_timestamp()
  ORDER BY backend, priority, cut_off, turn, order_id
  LIMIT (SELECT least(orders, replayed) FROM room) FOR UPDATE SKIP LOCKED
), line AS (
  SELECT *, row_number() OVER (ORDER BY priority, cut_off, order_id) <= (SELECT reserved FROM room) AS ahead FROM live
  UNION ALL SELECT *, false FROM replayed
), due AS (
  SELECT order_id, turn FROM line ORDER BY ahead DESC, priority, cut_off, turn, order_id
  LIMIT (SELECT orders FROM room)
), noted AS (
  UPDATE replays r SET staged = r.staged || ARRAY(
    SELECT order_id FROM due WHERE turn > 0 AND order_id <> ALL(r.staged))
  WHERE r.id = (SELECT replay FROM backend) AND r.state = '{ReplayState.RUNNING}' AND r.stage > 0
    AND EXISTS (SELECT FROM due WHERE turn > 0)
)
UPDATE deliveries d
SET state = '{State.DISPATCHED}', lease_until = clock_timestamp() + make_interval(secs => :patience)
FROM due JOIN orders o ON o.id = due.order_id WHERE d.order_id = due.order_id
RETURNING d.order_id, d.priority, CAST(extract(epoch FROM d.cut_off) AS float8) AS cut_off, d.attempts, d.accepted_at,
  o.request_id, o.traceparent
""")
