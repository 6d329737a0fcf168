"""How the leading dispatcher takes a replay from stage to stage: a look, a judgement, at most one change of its row.

It runs on the leader's connection and remembers nothing: all of a replay is in its row, in the attempts and in the
receipts, so that whoever leads next goes on where this one was. Every change is bound to the stage that was judged;
an operator's word that came in between stands. Attempts bear the workers' times: a clock that is seconds behind the
journal's delays the judgement by as much.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Row, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.settings import Settings
from orders.schema.sentence_column import SentenceColumn
from orders.sentences import Code, Sentence
from orders.states import OUT, PARTS_OF_REPLAY, UNFIT, ReplayState, State, listed
from workers.backend_transitions import narrow
from workers.erp.outcomes import HAS_FAILED, IS_ANSWERED, IS_DELIVERED, LEASE_EXPIRED
from workers.erp.port import Kind
from workers.replay.gates import PART, PARTS, RAMP, AttemptCounts, Gates, after, before, failing, named, passed

log = logging.getLogger("relais.replay")

STAGING, RAMPING = 0.05, 0.5  # seconds at least between two looks at a replay that runs
TAIL = 60  # pages of `attempts`, some 3,000 rows: it is append-only, so the newest are its last pages

ANY_LEFT = " OR ".join(
    f"EXISTS (SELECT FROM deliveries WHERE backend = :backend AND {part})" for part in PARTS_OF_REPLAY
)
STANDS = text(f"""
SELECT b.rate, b."window", b.latency, b.refusing, b.quarantined, r.id, r.state, r.stage, r.hold,
  r.id IS NOT NULL AND ({ANY_LEFT}) AS any_left
FROM backends b LEFT JOIN replays r ON r.backend = b.name AND r.ended_at IS NULL WHERE b.name = :backend
""")

FIGURES = f"""
SELECT count(*) FILTER (WHERE answered) AS answered, count(*) FILTER (WHERE NOT answered) AS failed,
  count(*) FILTER (WHERE delivered) AS delivered, count(*) FILTER (WHERE t.outcome = '{Kind.REFUSED}') AS refused,
  count(*) FILTER (WHERE delivered AND r.order_id IS NULL) AS unreceipted,
  count(*) FILTER (WHERE delivered AND r.key_id IS NULL) AS unsigned,
  CAST(percentile_disc(0.95) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE answered) AS float8) AS slow
FROM (
  SELECT *, {IS_ANSWERED} AS answered,
    {IS_DELIVERED} AS delivered, extract(epoch FROM ended_at - started_at) AS seconds FROM tried
) t LEFT JOIN receipts r ON r.order_id = t.order_id AND r.lease = t.lease
"""

# An order that was not tried, because it is unfit, was cancelled, its batch was stopped or its worker died, gives its
# place to another.
FREE = text(f"""
UPDATE replays SET staged = ARRAY(
  SELECT s.id FROM unnest(staged) AS s (id) JOIN deliveries d ON d.order_id = s.id
  WHERE NOT (d.state = '{State.CANCELLED}' OR (d.state = '{State.DEAD}' AND d.reason IN ({listed(UNFIT)}))
    OR (d.state = '{State.ACCEPTED}' AND NOT EXISTS (SELECT FROM attempts a WHERE a.order_id = s.id
      AND a.outcome <> '{LEASE_EXPIRED}' AND a.ended_at >= stage_since))))
WHERE id = :id AND state = '{ReplayState.RUNNING}' AND stage = :stage
""")

STAGE_FIGURES = text(f"""
WITH mine AS (
  SELECT d.order_id, d.state, r.stage_since AS since
  FROM replays r, unnest(r.staged) AS s (id) JOIN deliveries d ON d.order_id = s.id WHERE r.id = :id
), tried AS (
  SELECT a.* FROM mine JOIN attempts a ON a.order_id = mine.order_id
  WHERE a.outcome <> '{LEASE_EXPIRED}' AND a.ended_at >= mine.since
)
SELECT *, (SELECT count(*) FROM mine WHERE NOT {OUT} AND (
  state <> '{State.ACCEPTED}' OR EXISTS (SELECT FROM tried WHERE tried.order_id = mine.order_id))) AS settled
FROM ({FIGURES}) f
""")

RAMP_FIGURES = text(f"""
WITH tried AS (
  SELECT a.*, (row_number() OVER (ORDER BY a.ended_at DESC) - 1) / CAST(:part AS bigint) AS part
  FROM attempts a JOIN deliveries d ON d.order_id = a.order_id
  WHERE a.ctid >= (SELECT CAST(format('(%s,0)', greatest(0, pg_relation_size('attempts')
      / CAST(current_setting('block_size') AS bigint) - {TAIL})) AS tid))
    AND a.ended_at >= (SELECT stage_since FROM replays WHERE id = :id) AND d.backend = :backend
    AND a.outcome <> '{LEASE_EXPIRED}'
  ORDER BY a.ended_at DESC LIMIT CAST(:part AS bigint) * {PARTS}
)
SELECT *, (SELECT count(*) FROM (SELECT FROM tried GROUP BY part
  HAVING count(*) FILTER (WHERE {HAS_FAILED})
    > CAST(:errors AS float8) * :part) parts) AS bad
FROM ({FIGURES}) f
""")

CHANGE = text(f"""
UPDATE replays SET state = :becomes, stage = :next, passed = :passed, why = :why, staged = '{{}}',
  stage_since = CASE WHEN :becomes = '{ReplayState.RUNNING}' THEN clock_timestamp() ELSE stage_since END,
  ended_at = CASE WHEN :becomes = '{ReplayState.DONE}' THEN clock_timestamp() END,
  history = history || jsonb_build_object('stage', CAST(:stage AS integer), 'at', clock_timestamp(),
    'found', CAST(:found AS jsonb), 'failed', CAST(:failed AS jsonb))
WHERE id = :id AND state = '{ReplayState.RUNNING}' AND stage = :stage RETURNING id
""").bindparams(bindparam("why", type_=SentenceColumn()), bindparam("failed", type_=SentenceColumn()))

# Nothing of it is left, though it held: its orders were cancelled, or what was out came back delivered.
OVER = text(f"""
UPDATE replays SET state = '{ReplayState.DONE}', ended_at = clock_timestamp(), staged = '{{}}' WHERE id = :id
""")


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """What the leader acts by: the backend's rate in orders a second, its window, how soon to look at its replay."""

    rate: float | None = None
    window: int = 0
    again: float = float("inf")


async def steer(connection: AsyncConnection, settings: Settings) -> PaceLimits:
    """Take a running replay of the backend a stage on, or hold it, or end it. Raises what the journal raises."""
    row = (await connection.execute(STANDS, {"backend": settings.erp.backend})).one_or_none()
    if row is None:
        return PaceLimits()
    if row.state == ReplayState.RUNNING:
        await _judge(connection, settings, row)
    elif row.id is not None and not row.any_left:
        await connection.execute(OVER, {"id": row.id})
    pause = float("inf") if row.state != ReplayState.RUNNING else RAMPING if row.stage == RAMP else STAGING
    return PaceLimits(row.rate, row.window, pause)


async def _judge(connection: AsyncConnection, settings: Settings, row: Row[Any]) -> None:
    found = await _figures(connection, settings, row)
    gates = Gates.of(settings, row.latency, row.refusing)
    latched = Sentence(Code.QUARANTINED, backend=settings.erp.backend) if row.quarantined else None
    why = latched or failing(row.stage, found, gates)
    if why is not None:
        await _hold(connection, settings, row, found, why)
    elif not row.any_left:
        await _change(connection, row, ReplayState.DONE, row.stage, row.stage, None, found)
    elif passed(row.stage, found):
        await _pass(connection, row, found)


async def _figures(connection: AsyncConnection, settings: Settings, row: Row[Any]) -> AttemptCounts:
    if row.stage == RAMP:
        values: dict[str, Any] = {"id": row.id, "backend": settings.erp.backend, "errors": settings.replay.errors}
        values["part"] = min(max(row.window, PART[0]), PART[1])
        return AttemptCounts(**(await connection.execute(RAMP_FIGURES, values)).mappings().one())
    await connection.execute(FREE, {"id": row.id, "stage": row.stage})
    return AttemptCounts(**(await connection.execute(STAGE_FIGURES, {"id": row.id})).mappings().one())


async def _pass(connection: AsyncConnection, row: Row[Any], found: AttemptCounts) -> None:
    """On to the next stage, or wait for a word before it."""
    if row.hold:
        why = Sentence(Code.STAGE_PASSED, stage=named(row.stage), found=found.told())
        await _change(connection, row, ReplayState.HOLDING, row.stage, row.stage, why, found)
        return
    await _change(connection, row, ReplayState.RUNNING, after(row.stage), row.stage, None, found)


async def _hold(
    connection: AsyncConnection, settings: Settings, row: Row[Any], found: AttemptCounts, why: Sentence
) -> None:
    """Back to the last stage that was passed before this one, and wait for an operator."""
    proved = before(row.stage)
    if await _change(connection, row, ReplayState.HOLDING, row.stage, proved, why, found, failed=why):
        await narrow(connection, settings.erp.backend, proved or 1)
        log.warning("the replay holds", extra={"backend": settings.erp.backend, "stage": row.stage, "why": why})


async def _change(
    connection: AsyncConnection,
    row: Row[Any],
    becomes: str,
    stage: int,
    proved: int | None,
    why: Sentence | None,
    found: AttemptCounts,
    failed: Sentence | None = None,
) -> bool:
    """False when the replay is not as it was judged any more."""
    changed = await connection.execute(
        CHANGE,
        {
            "id": row.id,
            "stage": row.stage,
            "becomes": becomes,
            "next": stage,
            "passed": proved,
            "why": why,
            "found": json.dumps(asdict(found)),
            "failed": failed,
        },
    )
    if changed.first() is None:
        return False
    if becomes != ReplayState.HOLDING:
        goes = {"stage": named(row.stage), "becomes": named(stage) if becomes == ReplayState.RUNNING else becomes}
        log.info("the replay goes on", extra={**goes, "found": found.told()})
    return True
