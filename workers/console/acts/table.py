"""The table `acts`, read and written: one statement each, so that of two who write one row one is told.

Only the process that runs an act says how it ended. An act whose process has gone is `interrupted`: nobody saw how it
ended, and nobody begins it again by himself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.errors import Forbidden, NotFound
from orders.refusals import NotDone
from orders.schema.sentence_column import SentenceColumn
from orders.schema.tables.acts import ActState
from orders.sentences import Sentence, sentence_of
from orders.states import listed
from workers.console.access.people import Person, Role
from workers.console.acts.act import Act, Chosen

STALE: Final = 10.0  # seconds without a beat, after which the process that ran an act has gone
LOST: Final = Sentence(NotDone.CONSOLE_GONE)
RECENT_OPERATIONS: Final = 1000  # of the newest operations, looked through for an act's whose end nobody saw

LATE: Final = f"state = '{ActState.RUNNING}' AND beat_at < clock_timestamp() - make_interval(secs => :stale)"
ROW: Final = f"SELECT *, {LATE} AS stale FROM acts"

BEGIN: Final = text("""
INSERT INTO acts (id, kind, chosen, fields, reason, operator, role)
SELECT :id, :kind, CAST(:chosen AS jsonb), CAST(:fields AS jsonb), :reason, name, role FROM accounts
WHERE name = :operator AND disabled_at IS NULL AND role = ANY(:roles)
ON CONFLICT (id) DO NOTHING RETURNING id
""")

FIND: Final = text(f"{ROW} WHERE id = :id")

NEWEST_ACTS: Final = text(f"""{ROW}
WHERE (CAST(:at AS timestamptz) IS NULL OR (started_at, id) < (CAST(:at AS timestamptz), CAST(:id AS uuid)))
ORDER BY started_at DESC, id DESC LIMIT :limit
""")

ENDED: Final = (ActState.DONE, ActState.FAILED, ActState.STOPPED)

NOTE: Final = bindparam("note", type_=SentenceColumn())
ERROR: Final = bindparam("error", type_=SentenceColumn())

# Another process that took it for lost was wrong.
BEAT: Final = text(f"""
UPDATE acts SET state = '{ActState.RUNNING}', ended_at = NULL, why = NULL, error = NULL, beat_at = clock_timestamp(),
  done = :done, total = CAST(:total AS bigint), note = :note, operations = CAST(:operations AS bigint[])
WHERE id = :id AND (state = '{ActState.RUNNING}' OR state = '{ActState.INTERRUPTED}' AND why = 'lost')
RETURNING stop_asked_by,
  (SELECT role FROM accounts a WHERE a.name = acts.operator AND a.disabled_at IS NULL) AS role
""").bindparams(NOTE)

STOP: Final = text(f"""
UPDATE acts SET stop_asked_at = clock_timestamp(), stop_asked_by = :who
WHERE id = :id AND state = '{ActState.RUNNING}' AND stop_asked_at IS NULL
""")

# Of the operations noted only those whose transaction was committed.
END: Final = text(f"""
UPDATE acts SET state = :state, ended_at = clock_timestamp(), beat_at = clock_timestamp(), why = :why, error = :error,
  outcome = CAST(:outcome AS jsonb), done = :done, total = CAST(:total AS bigint), note = :note,
  operations = ARRAY(SELECT o.id FROM operations o WHERE o.id = ANY(CAST(:operations AS bigint[])) ORDER BY o.id)
WHERE id = :id AND state NOT IN ({listed(ENDED)})
""").bindparams(NOTE, ERROR)

GIVE_UP: Final = text(f"""
UPDATE acts SET state = '{ActState.INTERRUPTED}', ended_at = beat_at, why = 'lost', error = :error
WHERE {LATE} RETURNING id, kind, operator
""").bindparams(ERROR)

LEFT: Final = text("""
SELECT id, at, operator, act, reason FROM operations WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id
""")

NAMING: Final = text("""
SELECT id, at, operator, act, reason FROM (SELECT * FROM operations ORDER BY id DESC LIMIT :recent) newest
WHERE detail ->> 'act' = :act ORDER BY id
""")


async def begin(
    engine: AsyncEngine, number: UUID, act: Act, chosen: Chosen, fields: Mapping[str, str], reason: str, who: Person
) -> bool:
    """Set an act going under this id; False when there is one. Raises Forbidden when the account may not any more."""
    values = {
        "id": number,
        "kind": act.kind,
        "chosen": json.dumps(chosen),
        "fields": json.dumps(dict(fields)),
        "reason": reason,
        "operator": who.name,
        "roles": [each.value for each in Role if each.covers(act.role)],
    }
    async with engine.connect() as connection:
        if (await connection.execute(BEGIN, values)).first() is not None:
            return True
    if await find(engine, number) is None:
        raise Forbidden(Sentence(NotDone.TAKES_ROLE, role=act.role.value))
    return False


async def find(engine: AsyncEngine, number: UUID) -> dict[str, Any] | None:
    """An act's row; `stale` when it should be running and no process says so."""
    async with engine.connect() as connection:
        row = (await connection.execute(FIND, {"id": number, "stale": STALE})).mappings().one_or_none()
    return None if row is None else _told(row)


async def needed(engine: AsyncEngine, number: UUID) -> dict[str, Any]:
    """As `find`; raises NotFound."""
    row = await find(engine, number)
    if row is None:
        raise NotFound(Sentence(NotDone.NO_ACT))
    return row


async def newest(engine: AsyncEngine, limit: int, before: tuple[datetime, UUID] | None = None) -> list[dict[str, Any]]:
    """Acts, the newest first, that began before that one."""
    at, number = before or (None, None)
    values = {"at": at, "id": number, "limit": limit, "stale": STALE}
    async with engine.connect() as connection:
        return [_told(row) for row in (await connection.execute(NEWEST_ACTS, values)).mappings()]


def _told(row: Mapping[Any, Any]) -> dict[str, Any]:
    """What is stale is interrupted, whether or not anybody has written that down yet."""
    told = {**row, "note": sentence_of(row["note"]), "error": sentence_of(row["error"])}
    if told["stale"]:
        told |= {"state": ActState.INTERRUPTED, "why": "lost", "error": LOST, "ended_at": told["beat_at"]}
    return told


async def operations_of(engine: AsyncEngine, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The operations that an act left. Of one whose end nobody saw, those of the newest that name it."""
    async with engine.connect() as connection:
        if row["state"] == ActState.INTERRUPTED:
            found = await connection.execute(NAMING, {"act": str(row["id"]), "recent": RECENT_OPERATIONS})
        else:
            found = await connection.execute(LEFT, {"ids": row["operations"]})
        return [dict(each) for each in found.mappings()]


async def ask_to_stop(engine: AsyncEngine, number: UUID, who: str) -> None:
    """Tell the process that runs it, whichever that is; nothing when it is over, or was told before."""
    async with engine.connect() as connection:
        await connection.execute(STOP, {"id": number, "who": who})


async def give_up(engine: AsyncEngine) -> Sequence[Any]:
    """Write down which acts' processes have gone: id, kind, operator of each."""
    async with engine.connect() as connection:
        return (await connection.execute(GIVE_UP, {"stale": STALE, "error": LOST})).all()
