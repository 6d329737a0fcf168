"""Quarantine and release by operators, each recorded in the transaction that does it.

A release may need two accounts of the console: the first one's proposal holds the digest of all that speaks for and
against the backend at that moment; the second approves that very digest, and it takes effect only while nothing has
changed since. Each has proven to be who they are, by a session or a password. After a release the circuit is open
with its canary due: recovery is gentle.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from sqlalchemy import RowMapping, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from config.settings.routes_file import load_backends
from orders.errors import NotFound, NotSo
from orders.journal import transactional
from orders.journal.connection import WAKE
from orders.refusals import NotDone
from orders.schema.tables.core import backends
from orders.sentences import Sentence, sentence_of
from orders.states import BACKLOG, listed
from workers import backend_transitions
from workers.erp.own_words import masked
from workers.operations import by_whom, folded, kept, last, note, operator, proven_operator, record
from workers.trust.barrier import halted

PROPOSED = "release proposed"

EVIDENCE = text("""
SELECT count(*) AS pieces, count(*) FILTER (WHERE conclusive) AS conclusive, max(id) AS newest
FROM evidence WHERE backend = :backend
""")

KEYS = text("""
SELECT key_id FROM receipt_keys WHERE backend = :backend AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > now()) ORDER BY key_id
""")

WAITING = text(f"SELECT count(*) FROM deliveries WHERE backend = :backend AND state IN ({listed(BACKLOG)})")

PROPOSAL = text("""
SELECT operator, reason FROM operations JOIN accounts ON name = operator AND disabled_at IS NULL
WHERE act = :act AND detail ->> 'backend' = :backend AND detail ->> 'digest' = :digest ORDER BY id DESC LIMIT 1
""")


async def quarantine(engine: AsyncEngine, settings: Settings, backend: str, reason: str) -> None:
    """Send nothing to a backend until it is released; on return nothing is sent any more.

    Raises NotFound, and NotSo when it is in quarantine already.
    """
    if backend in load_backends(settings):
        async with engine.connect() as connection:
            await backend_transitions.register(connection, backend)
    async with halted(engine, backend) as connection:
        row = await _row(connection, backend)
        if row["quarantined"]:
            found = {"by": row["quarantined_by"], "why": masked(row["held_why"])}
            raise NotSo(Sentence(NotDone.QUARANTINED_ALREADY, backend=backend, **found))
        await backend_transitions.quarantine(connection, backend, operator(), sentence_of(reason))
        await record(connection, "quarantine", reason, {"backend": backend})


async def look(engine: AsyncEngine, backend: str) -> dict[str, Any]:
    """All that an operator judges a release by. Raises NotFound, and NotSo when the backend is not in quarantine."""
    async with engine.connect() as connection:
        return await _snapshot(connection, backend)


async def release(engine: AsyncEngine, backend: str, reason: str, digest: str | None = None) -> None:
    """Trust a backend again on one operator's word, who saw it as `digest` says.

    Raises NotFound, and NotSo when it is not in quarantine, or not as it was seen.
    """
    async with transactional(engine).begin() as connection:
        seen = await _snapshot(connection, backend, lock=True)
        _compare(seen, digest, None)
        await _release(connection, backend, reason, seen)


async def propose(engine: AsyncEngine, backend: str, reason: str, digest: str | None = None) -> dict[str, Any]:
    """Record that an operator would release a backend as it now stands; what was seen, with its digest.

    Raises as `release`, and Forbidden.
    """
    proven_operator()
    async with transactional(engine).begin() as connection:
        seen = await _snapshot(connection, backend)
        _compare(seen, digest, None)
        await record(connection, PROPOSED, reason, seen)
    return seen


async def approve(engine: AsyncEngine, backend: str, digest: str, because: str) -> None:
    """Release a backend as another operator proposed it, if all is as it was seen then; `because` is recorded too.

    Raises NotFound for no such proposal, Forbidden, and NotSo when the operator is the same or something changed.
    """
    who = proven_operator()
    async with transactional(engine).begin() as connection:
        seen = await _snapshot(connection, backend, lock=True)
        values = {"act": PROPOSED, "backend": backend, "digest": digest}
        proposal = (await connection.execute(PROPOSAL, values)).one_or_none()
        if proposal is None:
            raise NotFound(Sentence(NotDone.NOT_PROPOSED, backend=backend, digest=digest))
        if folded(proposal.operator) == folded(who):
            raise NotSo(Sentence(NotDone.PROPOSED_IT, by=proposal.operator))
        _compare(seen, digest, proposal.operator)
        approved = {"proposed_by": proposal.operator, "approved_because": because}
        await _release(connection, backend, proposal.reason, {**seen, **approved})


def _compare(seen: dict[str, Any], digest: str | None, who: str | None) -> None:
    if digest is not None and not hmac.compare_digest(seen["digest"].encode(), digest.encode()):
        if who is None:
            raise NotSo(Sentence(NotDone.NOT_AS_YOU_SAW, backend=seen["backend"]))
        raise NotSo(Sentence(NotDone.NOT_AS_SEEN, backend=seen["backend"], by=who))


async def _release(connection: AsyncConnection, backend: str, reason: str, seen: dict[str, Any]) -> None:
    note(await backend_transitions.release(connection, backend, operator(), reason, kept(seen)))
    await connection.execute(WAKE)


async def _snapshot(connection: AsyncConnection, backend: str, *, lock: bool = False) -> dict[str, Any]:
    """All that an operator judges by. The digest is over all of it but the backlog, which grows while intake goes on.

    With `lock` nothing that latches changes it before the transaction ends.
    """
    seen = await judged(connection, backend, lock=lock)
    return {**seen, "backlog": int((await connection.execute(WAITING, {"backend": backend})).scalar_one())}


async def judged(connection: AsyncConnection, backend: str, *, lock: bool = False) -> dict[str, Any]:
    """That snapshot but for the backlog. Raises NotFound, and NotSo when the backend is not in quarantine."""
    row = await _row(connection, backend, lock=lock)
    if not row["quarantined"]:
        so = Sentence(NotDone.NOT_QUARANTINED, backend=backend)
        raise NotSo(by_whom(so, await last(connection, backend, "release")))
    values = {"backend": backend}
    against = (await connection.execute(EVIDENCE, values)).mappings().one()
    seen = {
        "backend": backend,
        "quarantined_at": str(row["quarantined_at"]),
        "quarantined_by": row["quarantined_by"],
        "held_why": row["held_why"],
        **against,
        "keys": [found[0] for found in await connection.execute(KEYS, values)],
    }
    digest = hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()
    return {**seen, "digest": digest}


async def _row(connection: AsyncConnection, backend: str, *, lock: bool = False) -> RowMapping:
    query = select(backends).where(backends.c.name == backend)
    row = (await connection.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    if row is None:
        raise NotFound(Sentence(NotDone.NO_BACKEND, backend=backend))
    return row
