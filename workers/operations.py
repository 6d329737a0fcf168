"""Acts of operators, each recorded in `operations` in the very transaction that does it.

Pause, resume and a capped rate stop, restart and slow forwarding without touching intake; they live in the journal, so
they survive every process. Quarantine and release are in `workers.trust.quarantine`, replays and discards in
`workers.replay.redrive`.
"""

from __future__ import annotations

import getpass
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from sqlalchemy import Row, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from config.settings.routes_file import load_backends
from orders.errors import Forbidden, NotFound, NotSo
from orders.journal import transactional
from orders.journal.connection import WAKE
from orders.refusals import NotDone
from orders.schema.tables.core import backends, operations
from orders.sentences import Sentence, sentence_of
from workers.backend_transitions import limit_rate, register, set_paused

LAST = text("""
SELECT operator, at, reason FROM operations WHERE detail ->> 'backend' = :backend AND act = :act
ORDER BY at DESC, id DESC LIMIT 1
""")

ACTING: ContextVar[str | None] = ContextVar("acting", default=None)
ACT: ContextVar[UUID | None] = ContextVar("act", default=None)
NOTING: ContextVar[list[int] | None] = ContextVar("noting", default=None)


def operator() -> str:
    """Who is acting: who `acting_as` names, else RELAIS_OPERATOR, else the person behind sudo, else the account."""
    return ACTING.get() or os.environ.get("RELAIS_OPERATOR") or os.environ.get("SUDO_USER") or getpass.getuser()


def proven_operator() -> str:
    """Who is acting, where a session or a password has proven it. Raises Forbidden."""
    if (who := ACTING.get()) is None:
        raise Forbidden(Sentence(NotDone.TAKES_ACCOUNT))
    return who


def folded(name: str) -> str:
    """In small letters without accents, spaces and other forms of the same letter: two such names are one person's."""
    taken = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    return "".join(each for each in taken if not unicodedata.combining(each) and not each.isspace())


@contextmanager
def acting_as(name: str, act: UUID | None = None) -> Iterator[None]:
    """Whatever is done within is recorded as this operator's, and names the console's act that it is part of."""
    token, named = ACTING.set(name), ACT.set(act)
    try:
        yield
    finally:
        ACTING.reset(token)
        ACT.reset(named)


@contextmanager
def noting() -> Iterator[list[int]]:
    """The ids of whatever `record` writes within; one whose transaction was undone is among them."""
    ids: list[int] = []
    token = NOTING.set(ids)
    try:
        yield ids
    finally:
        NOTING.reset(token)


async def record(connection: AsyncConnection, act: str, reason: str | None, detail: Mapping[str, Any]) -> None:
    """Write down an act; to be called inside the transaction that does it. A sentence is kept as code."""
    row = insert(operations).values(operator=operator(), act=act, reason=reason, detail=kept(detail))
    note((await connection.execute(row.returning(operations.c.id))).scalar_one())


def kept(detail: Mapping[str, Any]) -> dict[str, Any]:
    """The detail of an act as the journal keeps it, with the console's act that it is part of."""
    plain = {name: value.stored() if isinstance(value, Sentence) else value for name, value in detail.items()}
    if (number := ACT.get()) is not None:
        plain["act"] = number
    found: dict[str, Any] = json.loads(json.dumps(plain, default=str))
    return found


def note(written: int) -> None:
    """Tell who is `noting` the id of what was written to `operations`."""
    if (noted := NOTING.get()) is not None:
        noted.append(written)


async def pause(engine: AsyncEngine, settings: Settings, backend: str, reason: str, *, first: bool = False) -> None:
    """Stop forwarding to a backend, also before any worker has run; intake goes on.

    Pausing again gives it another reason, unless it has to be the `first`: then NotSo says who was. Raises NotFound.
    """
    await _set_paused(engine, settings, backend, True, reason, first)


async def resume(engine: AsyncEngine, settings: Settings, backend: str, reason: str, *, first: bool = False) -> None:
    """Forward again. Raises NotFound; NotSo as `pause`."""
    await _set_paused(engine, settings, backend, False, reason, first)


async def _set_paused(
    engine: AsyncEngine, settings: Settings, backend: str, paused: bool, reason: str, first: bool
) -> None:
    async with transactional(engine).begin() as connection:
        if backend in load_backends(settings):
            await register(connection, backend)
        why = sentence_of(reason) if paused else None
        if not await set_paused(connection, backend, paused=paused, why=why, first=first):
            await _tell_who(connection, backend, paused)
        await record(connection, "pause" if paused else "resume", reason, {"backend": backend})
        await connection.execute(WAKE)


async def limit(engine: AsyncEngine, backend: str, rate: float | None, reason: str) -> None:
    """Let the backend get at most `rate` orders a second over all workers; None is no limit. Raises NotFound."""
    async with transactional(engine).begin() as connection:
        await make_known(connection, backend)
        await limit_rate(connection, backend, rate)
        await record(connection, "rate", reason, {"backend": backend, "rate": rate})
        await connection.execute(WAKE)


async def make_known(connection: AsyncConnection, backend: str) -> None:
    """A backend that has orders but no row yet, because no worker has run, gets one. Raises NotFound."""
    known = text("SELECT 1 FROM backends WHERE name = :backend")
    if (await connection.execute(known, {"backend": backend})).first() is not None:
        return
    has = text("SELECT 1 FROM deliveries WHERE backend = :backend LIMIT 1")
    if (await connection.execute(has, {"backend": backend})).first() is None:
        raise NotFound(Sentence(NotDone.NO_BACKEND, backend=backend))
    await register(connection, backend)


async def _tell_who(connection: AsyncConnection, backend: str, paused: bool) -> None:
    known = select(backends.c.name).where(backends.c.name == backend)
    if (await connection.execute(known)).first() is None:
        raise NotFound(Sentence(NotDone.NO_BACKEND, backend=backend))
    how = Sentence(NotDone.PAUSED_ALREADY if paused else NotDone.NOT_PAUSED, backend=backend)
    raise NotSo(by_whom(how, await last(connection, backend, "pause" if paused else "resume")))


async def last(connection: AsyncConnection, backend: str, act: str) -> Row[Any] | None:
    """Who did this with a backend last: operator, at, reason; None when nobody did."""
    return (await connection.execute(LAST, {"backend": backend, "act": act})).one_or_none()


def by_whom(what: Sentence, row: Row[Any] | None) -> Sentence:
    """`what`, and who did that, when and why, where `last` knows."""
    if row is None:
        return what
    if row.reason:
        return Sentence(NotDone.DONE_BECAUSE, what=what, by=row.operator, at=row.at, reason=row.reason)
    return Sentence(NotDone.DONE_BY, what=what, by=row.operator, at=row.at)
