"""Replays as operators start and control them; each act is recorded in `operations` in the transaction that does it.

Starting one chooses orders of a backend's backlog, makes them due and gives each its turn among its pharmacy's, so
that a pharmacy with a thousand orders keeps no other waiting. At most one is not over per backend: of two operators
who start one at once, one is told that he was second; whoever says what he has `seen` acts on nothing else. What
happens then is the leader's (`workers.replay.controller`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import NotFound, NotSo
from orders.journal import transactional
from orders.journal.connection import WAKE
from orders.refusals import NotDone
from orders.schema.sentence_column import SentenceColumn
from orders.sentences import Sentence, sentence_of
from orders.states import PARTS_OF_REPLAY, STOPPED, ReplayState, State
from workers.backend_transitions import narrow, probe_now
from workers.operations import make_known, operator, record
from workers.replay.choice import CHOSEN, Choice, narrowed
from workers.replay.gates import RAMP, after, named, onward

BEGINNING: Final = 10  # orders out at once, at most, when a replay begins

BEGIN = text("""
INSERT INTO replays (backend, choice, hold, started_by) VALUES (:backend, CAST(:choice AS jsonb), :hold, :operator)
ON CONFLICT (backend) WHERE ended_at IS NULL DO NOTHING RETURNING id
""")

# Orders of an earlier replay, cancelled since, that are not chosen again are live ones like any other.
CLEAR = text(f"""
UPDATE deliveries SET turn = 0 WHERE backend = :backend AND ({" OR ".join(PARTS_OF_REPLAY)})
""")

CHOOSE = text(f"""
WITH chosen AS (
  SELECT d.order_id,
    row_number() OVER (PARTITION BY o.pharmacy, d.priority, d.cut_off ORDER BY d.order_id) AS turn {CHOSEN}
)
UPDATE deliveries d SET turn = chosen.turn, due_at = now(), attempts = 0, failed_at = NULL
FROM chosen WHERE d.order_id = chosen.order_id AND d.state = '{State.ACCEPTED}' RETURNING d.order_id
""")

COUNTED = text("UPDATE replays SET orders = :orders, stage_since = clock_timestamp() WHERE id = :id")

OPEN = text("SELECT * FROM replays WHERE backend = :backend AND ended_at IS NULL FOR UPDATE").columns(
    why=SentenceColumn()
)

# Of the newest operations only: whoever acts at the same time as another was just before him.
LAST_WORD = text("""
SELECT operator, act FROM (SELECT * FROM operations ORDER BY id DESC LIMIT 50) newest
WHERE act LIKE 'replay%' AND detail ->> 'replay' = CAST(CAST(:id AS bigint) AS text) ORDER BY id DESC LIMIT 1
""")

ONWARD = f"""UPDATE replays SET state = '{ReplayState.RUNNING}', stage = :stage, why = NULL,
  staged = CASE WHEN :afresh THEN '{{}}' ELSE staged END,
  stage_since = CASE WHEN :afresh THEN clock_timestamp() ELSE stage_since END"""
GO_ON = text(f"{ONWARD} WHERE id = :id")

WHY = bindparam("why", type_=SentenceColumn())
PAUSE = text(f"UPDATE replays SET state = '{ReplayState.PAUSED}', why = :why WHERE id = :id").bindparams(WHY)
HOLD = text("UPDATE replays SET hold = :hold WHERE id = :id")
HOLD_NO_MORE = text(f"{ONWARD}, hold = :hold WHERE id = :id")
CANCEL = text(
    f"UPDATE replays SET state = '{ReplayState.CANCELLED}', ended_at = clock_timestamp(), why = :why WHERE id = :id"
).bindparams(WHY)

OPEN_STATES: Final = (ReplayState.RUNNING, *STOPPED)

Change = tuple[TextClause, dict[str, Any]]  # a statement and its parameters


@dataclass(frozen=True, slots=True)
class Started:
    """A replay that began: its id, and the orders that it chose; no id when there was nothing to choose."""

    id: int | None
    orders: list[UUID]


@dataclass(frozen=True, slots=True)
class ReplaySeen:
    """The replay as whoever acts saw it: its id, and its stage where the act is about that stage."""

    replay: int
    stage: int | None = None


async def start(engine: AsyncEngine, choice: Choice, *, hold: bool, reason: str) -> Started:
    """Begin to replay the chosen orders of `choice.backend`'s backlog. Raises NotFound, and NotSo when one runs.

    One statement gives all of them their turn; while it runs, which is seconds for a few hundred thousand orders,
    the backlog waits and live orders do not.
    """
    assert choice.backend is not None
    async with transactional(engine).connect() as connection, connection.begin() as transaction:
        number = await _begin(connection, choice, hold)
        await connection.execute(CLEAR, {"backend": choice.backend})
        ids = [row[0] for row in await connection.execute(CHOOSE, choice.values())]
        if not ids:
            await transaction.rollback()
            return Started(None, [])
        await connection.execute(COUNTED, {"id": number, "orders": len(ids)})
        await narrow(connection, choice.backend, BEGINNING)
        await probe_now(connection, choice.backend)
        detail = {"backend": choice.backend, "replay": number, "choice": narrowed(choice), "orders": len(ids)}
        await record(connection, "replay", reason, {**detail, "hold": hold})
        await connection.execute(WAKE)
    return Started(number, ids)


async def _begin(connection: AsyncConnection, choice: Choice, hold: bool) -> int:
    await make_known(connection, choice.backend or "")
    found = (
        await connection.execute(
            BEGIN,
            {
                "backend": choice.backend,
                "choice": json.dumps(narrowed(choice), default=str),
                "hold": hold,
                "operator": operator(),
            },
        )
    ).scalar_one_or_none()
    if found is None:
        row = (await connection.execute(OPEN, {"backend": choice.backend})).mappings().one_or_none()
        if row is None:
            raise NotSo(Sentence(NotDone.REPLAY_NOT_OVER, backend=choice.backend))
        begun = {"replay": row["id"], "by": row["started_by"]}
        raise NotSo(Sentence(NotDone.REPLAY_NOT_OVER_BY, backend=choice.backend, **begun))
    return int(found)


async def pause(engine: AsyncEngine, backend: str, reason: str, seen: ReplaySeen | None = None) -> None:
    """Send nothing more of the replay until it is resumed; live orders go on. Raises NotFound and NotSo."""
    change = PAUSE, {"why": sentence_of(reason)}
    await _act(engine, backend, "pause", (ReplayState.RUNNING,), reason, seen, lambda row: change)


async def resume(engine: AsyncEngine, backend: str, reason: str, seen: ReplaySeen | None = None) -> None:
    """Go on: where it was paused, or from the last stage that was passed. Raises NotFound and NotSo."""

    def decide(row: Mapping[str, Any]) -> Change:
        stage, passed = row["stage"], row["passed"]
        if row["state"] == ReplayState.PAUSED:
            return GO_ON, {"stage": stage, "afresh": False}
        return GO_ON, {"stage": onward(stage, passed), "afresh": True}

    await _act(engine, backend, "resume", STOPPED, reason, seen, decide)


async def next_stage(engine: AsyncEngine, backend: str, reason: str, seen: ReplaySeen | None = None) -> None:
    """The word that a replay waits for between two stages. Raises NotFound and NotSo."""

    def decide(row: Mapping[str, Any]) -> Change:
        if row["passed"] != row["stage"]:
            raise NotSo(Sentence(NotDone.STAGE_FAILED, stage=named(row["stage"]), why=sentence_of(row["why"])))
        return GO_ON, {"stage": after(row["stage"]), "afresh": True}

    await _act(engine, backend, "next", (ReplayState.HOLDING,), reason, seen, decide)


async def hold(engine: AsyncEngine, backend: str, wanted: bool, reason: str, seen: ReplaySeen | None = None) -> None:
    """Wait for a word after each stage from now on, or not: one that waits already goes on then.

    Raises NotFound, and NotSo in the last stage.
    """

    def decide(row: Mapping[str, Any]) -> Change:
        if row["stage"] == RAMP and wanted:
            raise NotSo(Sentence(NotDone.LAST_STAGE))
        if row["state"] == ReplayState.HOLDING and row["passed"] == row["stage"] and not wanted:
            return HOLD_NO_MORE, {"hold": False, "stage": after(row["stage"]), "afresh": True}
        return HOLD, {"hold": wanted}

    await _act(engine, backend, "hold", OPEN_STATES, reason, seen, decide)


async def cancel(engine: AsyncEngine, backend: str, reason: str, seen: ReplaySeen | None = None) -> None:
    """End the replay; its orders stay due, as backlog like any other. Raises NotFound."""
    change = CANCEL, {"why": sentence_of(reason)}
    await _act(engine, backend, "cancel", OPEN_STATES, reason, seen, lambda row: change)


async def _act(
    engine: AsyncEngine,
    backend: str,
    act: str,
    allowed: tuple[str, ...],
    reason: str,
    seen: ReplaySeen | None,
    decide: Callable[[Mapping[str, Any]], Change],
) -> None:
    """Change the replay as it is decided of its row, and record that, in one transaction."""
    async with transactional(engine).begin() as connection:
        row = await _open(connection, backend, allowed, act, seen)
        change, values = decide(row)
        await connection.execute(change, {"id": row["id"], **values})
        detail = {"backend": backend, "replay": row["id"], "stage": row["stage"], **values}
        await record(connection, f"replay {act}", reason, detail)
        await connection.execute(WAKE)


async def _open(
    connection: AsyncConnection, backend: str, allowed: tuple[str, ...], act: str, seen: ReplaySeen | None
) -> Mapping[str, Any]:
    row = (await connection.execute(OPEN, {"backend": backend})).mappings().one_or_none()
    if row is None and seen is not None:
        over = Sentence(NotDone.REPLAY_OVER, replay=seen.replay, backend=backend)
        raise NotSo(await _last(connection, seen.replay, over))
    if row is None:
        raise NotFound(Sentence(NotDone.NO_OPEN_REPLAY, backend=backend))
    if row["state"] not in allowed:
        stands = Sentence(NotDone.NOTHING_TO_DO, backend=backend, state=row["state"], act=act)
        raise NotSo(await _last(connection, row["id"], stands))
    if seen is not None and (row["id"] != seen.replay or seen.stage not in (None, row["stage"])):
        now = Sentence(NotDone.REPLAY_MOVED, replay=row["id"], backend=backend, stage=named(row["stage"]))
        raise NotSo(await _last(connection, row["id"], now))
    return dict(row)


async def _last(connection: AsyncConnection, number: int, what: Sentence) -> Sentence:
    """`what`, and who had the last word on this replay, where that was a moment ago."""
    said = (await connection.execute(LAST_WORD, {"id": number})).one_or_none()
    return what if said is None else Sentence(NotDone.LAST_WORD, what=what, act=said.act, by=said.operator)
