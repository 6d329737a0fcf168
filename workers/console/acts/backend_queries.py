"""How a backend stands, read for its page and for the acts on it: what holds it, what waits, what speaks against it.

Nothing here grows with the journal: what waits, and the pieces of evidence, are counted up to MOST_COUNTED.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from config.settings.routes_file import load_backends
from orders.errors import NotFound, NotSo
from orders.journal import Source, reading_from
from orders.queries.backends import CANARY_DUE, SINCE
from orders.refusals import NotDone
from orders.schema.tables.core import backends
from orders.sentences import Sentence
from orders.states import PARTS
from workers.console.i18n import N_, Words
from workers.console.masking import say
from workers.dispatch.blocked import hindrance
from workers.dispatch.leadership import leader
from workers.dispatch.take_due import CLIENT, CLIENTS, HEADS
from workers.trust import quarantine

MOST_COUNTED: Final = 5_000
SAMPLE: Final = 10
Row = dict[str, Any]
CIRCUITS: Final = {"closed": N_("closed"), "open": N_("open"), "half_open": N_("half open")}

WAITING: Final = " UNION ALL ".join(
    f"(SELECT accepted_at FROM deliveries WHERE backend = :backend AND {part} LIMIT :most)" for part in PARTS
)
BACKLOG: Final = text(f"""
SELECT count(*) AS orders, min(accepted_at) AS oldest, max(accepted_at) AS youngest
FROM (SELECT * FROM ({WAITING}) parts LIMIT :most) waiting
""")

NEXT: Final = text(f"""
WITH RECURSIVE {CLIENTS}, {HEADS.format(lines="waiting", most=":limit")}
SELECT o.id, o.pharmacy, o.reference, o.received_at AS accepted_at FROM (
  SELECT *, row_number() OVER (PARTITION BY {CLIENT.format("client")} ORDER BY mine, priority, round, order_id) AS turn
  FROM (SELECT *, row_number() OVER (PARTITION BY client ORDER BY priority, round, order_id) AS mine FROM heads) lined
) d JOIN orders o ON o.id = d.order_id ORDER BY d.turn, d.priority, d.round, d.order_id LIMIT :limit
""")

AGAINST: Final = text("""
SELECT kind, conclusive, count(*) AS pieces, min(at) AS first, max(at) AS last
FROM (SELECT kind, conclusive, at FROM evidence WHERE backend = :backend ORDER BY id DESC LIMIT :most) newest
GROUP BY kind, conclusive ORDER BY conclusive DESC, kind
""")

PIECES: Final = text("""
SELECT id, at, kind, conclusive, order_id FROM evidence WHERE backend = :backend ORDER BY id DESC LIMIT :limit
""")

PROPOSED: Final = text("""
SELECT id, at, operator, reason, detail FROM operations
WHERE detail ->> 'backend' = :backend AND at >= :since AND act = :act ORDER BY at DESC, id DESC LIMIT :limit
""")

HISTORY: Final = text("""
SELECT id, at, operator, act, reason FROM operations WHERE detail ->> 'backend' = :backend
  AND (CAST(:at AS timestamptz) IS NULL OR (at, id) < (CAST(:at AS timestamptz), CAST(:id AS bigint)))
ORDER BY at DESC, id DESC LIMIT :limit
""")


async def of_backend(source: Source, settings: Settings, name: str) -> Row:
    """Its row; of one that no worker has run for yet, what it will be. Raises NotFound."""
    if not name.isprintable():
        raise NotFound(Sentence(NotDone.NO_SUCH_BACKEND))
    found = select(backends, SINCE, CANARY_DUE).where(backends.c.name == name)
    async with reading_from(source) as connection:
        row = (await connection.execute(found)).mappings().one_or_none()
        leading = await leader(connection)
    if row is not None:
        return {**row, "leading": leading}
    if name not in load_backends(settings):
        raise NotFound(Sentence(NotDone.NO_BACKEND, backend=name))
    return {column.name: None for column in backends.c} | {
        "name": name,
        "circuit": "closed",
        "paused": False,
        "quarantined": False,
        "since": None,
        "leading": leading,
    }


async def waiting(connection: AsyncConnection, backend: str) -> Row:
    """Of what waits: orders (at most MOST_COUNTED), oldest, youngest."""
    found = await connection.execute(BACKLOG, {"backend": backend, "most": MOST_COUNTED})
    return dict(found.mappings().one())


async def backlog(engine: AsyncEngine, backend: str) -> Row:
    """What waits, and a `sample` of what goes next."""
    async with engine.connect() as connection:
        found = await waiting(connection, backend)
        rows = await connection.execute(NEXT, {"backend": backend, "limit": SAMPLE})
        return {**found, "sample": [dict(row) for row in rows.mappings()]}


async def evidence(source: Source, backend: str, limit: int) -> tuple[list[Row], list[Row]]:
    """What speaks against it: by kind, and the newest pieces. What they say is left out: it may name a patient."""
    async with reading_from(source) as connection:
        kinds = await connection.execute(AGAINST, {"backend": backend, "most": MOST_COUNTED})
        told = [dict(row) for row in kinds.mappings()]
        pieces = await connection.execute(PIECES, {"backend": backend, "limit": limit})
        return told, [dict(row) for row in pieces.mappings()]


async def seen(source: Source, backend: str) -> Row | None:
    """All that a release is judged by, with its digest; None when it is not in quarantine. Raises NotFound."""
    async with reading_from(source) as connection:
        try:
            return await quarantine.judged(connection, backend)
        except NotSo:
            return None


async def proposals(source: Source, backend: str, since: datetime | None, limit: int = 5) -> list[Row]:
    """Who proposed to release it since it was put into quarantine, the newest first."""
    if since is None:
        return []
    values = {"backend": backend, "since": since, "act": quarantine.PROPOSED, "limit": limit}
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(PROPOSED, values)).mappings()]


async def history(source: Source, backend: str, limit: int, before: tuple[datetime, int] | None = None) -> list[Row]:
    """What operators did with it, the newest first."""
    at, number = before or (None, None)
    values = {"backend": backend, "at": at, "id": number, "limit": limit}
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(HISTORY, values)).mappings()]


def in_words(row: Mapping[str, Any], words: Words) -> str:
    """What holds it, in one sentence; empty where nothing does."""
    why = hindrance(dict(row), row["leading"])
    return "" if why is None else say(why, words)


def waiting_facts(found: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """What waits, as facts; beyond MOST_COUNTED it says so."""
    many = words.number(found["orders"])
    if found["orders"] >= MOST_COUNTED:
        many = words.gettext("{n} or more; the times are of those").format(n=many)
    return [
        (words.gettext("Orders that wait"), many),
        (words.gettext("Oldest"), words.moment(found["oldest"])),
        (words.gettext("Youngest"), words.moment(found["youngest"])),
    ]


def snapshot_facts(found: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """All that a release is judged by, as facts."""
    newest, since = found["newest"], datetime.fromisoformat(str(found["quarantined_at"]))
    return [
        (words.gettext(N_("In quarantine since")), words.moment(since)),
        (words.gettext(N_("Put there by")), str(found["quarantined_by"])),
        (words.gettext(N_("Why")), say(found["held_why"], words)),
        (words.gettext(N_("Pieces of evidence")), words.number(found["pieces"])),
        (words.gettext(N_("Of these, proof")), words.number(found["conclusive"])),
        (words.gettext(N_("Number of the newest piece")), words.number(newest)),
        (words.gettext(N_("Keys of receipts in force")), ", ".join(found["keys"]) or words.gettext(N_("none"))),
        (words.gettext(N_("Digest")), str(found["digest"])),
    ]
