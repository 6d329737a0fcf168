"""Notices in the journal: take what is due, claim it under a lease, settle what was answered.

Like an order's delivery, a notice is due, dispatched, claimed and settled, and whatever dies in between, it is due
again when its lease runs out. Each client has only so many on their way at once, so that one whose receiver is slow
delays nobody else's, and while its webhook is failing only one, which probes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from orders.journal import transactional
from orders.schema.tables.clients import webhooks
from orders.states import State
from orders.webhooks.endpoints import HOLDING, NOTICES_DUE
from orders.webhooks.payload import payload
from workers.webhooks.retry_policy import Answer, NoticeDisposition, WebhookHealth, backoff, decide, judge

log = logging.getLogger("relais.outbox")

DISPATCHED: Final = UUID(int=0)  # the lease of a notice that a message names and nobody has claimed
EACH: Final = 200  # most notices of one client on their way at once
ROUND: Final = 2000  # most notices in one round of the dispatcher

# The clients come in random order, so that none is always behind when there is more than a round can take.
TAKE = text("""
WITH due AS (
  SELECT n.id FROM (SELECT client, failing_since FROM webhooks WHERE disabled_at IS NULL ORDER BY random()) w
  CROSS JOIN LATERAL (
    SELECT count(*) AS notices FROM notices
    WHERE client = w.client AND told_at IS NULL AND due_at > now() AND lease IS NOT NULL
  ) out
  CROSS JOIN LATERAL (
    SELECT id FROM notices WHERE client = w.client AND told_at IS NULL AND due_at <= now() ORDER BY client, due_at
    LIMIT greatest(0, CASE WHEN w.failing_since IS NULL THEN :each ELSE 1 END - out.notices) FOR UPDATE SKIP LOCKED
  ) n
  LIMIT :round
)
UPDATE notices SET lease = :dispatched, due_at = now() + make_interval(secs => :patience)
FROM due WHERE notices.id = due.id RETURNING notices.id
""")

# An order that has moved on since the event has other attempts than it had then.
CLAIM = text(f"""
WITH mine AS (
  SELECT n.id FROM notices n JOIN webhooks w ON w.client = n.client
  WHERE n.id = ANY(CAST(:ids AS uuid[])) AND n.lease = :dispatched AND n.told_at IS NULL AND w.disabled_at IS NULL
  FOR UPDATE OF n SKIP LOCKED
), held AS (
  UPDATE notices n SET lease = :lease, due_at = now() + make_interval(secs => :seconds)
  FROM mine WHERE n.id = mine.id RETURNING n.id, n.client, n.event_id, n.order_id, n.attempts
)
SELECT held.id, held.client, held.attempts AS tries, w.url, w.secrets, e.at, e.state, e.reason, e.error,
  o.id AS order_id, o.pharmacy, o.reference, o.body, r.reference AS erp_reference, r.lines AS receipt,
  CASE WHEN NOT EXISTS (SELECT FROM events v WHERE v.order_id = o.id AND v.id > e.id) THEN d.attempts END AS attempts
FROM held JOIN webhooks w ON w.client = held.client JOIN events e ON e.id = held.event_id
JOIN orders o ON o.id = held.order_id JOIN deliveries d ON d.order_id = o.id
LEFT JOIN LATERAL (
  SELECT reference, CAST(lines AS text) AS lines FROM receipts
  WHERE order_id = o.id ORDER BY received_at DESC LIMIT 1
) r ON e.state = '{State.DELIVERED}'
ORDER BY held.client, held.event_id
""")

HEALTH = text("""
SELECT failing_since, disabled_at, clock_timestamp() AS now FROM webhooks WHERE client = :client FOR UPDATE
""")

SETTLE = text("""
UPDATE notices n SET lease = CASE WHEN u.holding THEN CAST(:held AS uuid) END, due_at = u.due_at,
  attempts = u.attempts, error = CASE WHEN NOT u.told THEN coalesce(u.error, n.error) END,
  told_at = CASE WHEN u.told THEN clock_timestamp() END
FROM unnest(CAST(:id AS uuid[]), CAST(:told AS boolean[]), CAST(:due_at AS timestamptz[]),
  CAST(:attempts AS smallint[]), CAST(:holding AS boolean[]), CAST(:error AS text[]))
  AS u (id, told, due_at, attempts, holding, error)
WHERE n.id = u.id AND n.lease = :lease RETURNING n.id
""")

HELD = text("SELECT id, attempts FROM notices WHERE client = :client AND told_at IS NULL AND lease = :held FOR UPDATE")

RELEASE = text("""
UPDATE notices n SET lease = NULL, due_at = now() + make_interval(secs => u.wait)
FROM unnest(CAST(:id AS uuid[]), CAST(:wait AS float8[])) AS u (id, wait) WHERE n.id = u.id
""")


@dataclass(frozen=True, slots=True)
class Notice:
    """One event to tell: the webhook-id, how often it failed, the body."""

    id: UUID
    attempts: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Errand:
    """What one client is to be told, under which lease, where, and signed with what."""

    client: str
    lease: UUID
    url: str = field(repr=False)
    secrets: Sequence[str] = field(repr=False)
    notices: Sequence[Notice]


async def dispatch(
    connection: AsyncConnection,
    settings: Settings,
    untold: Callable[[], int | None],
    tell: Callable[[Sequence[UUID]], object],
) -> None:
    """Publish what is due, while the workers take it; what nobody claims in time is due again.

    `untold` counts the messages that wait, None where the queue is out of reach; `tell` publishes notices.
    """
    waiting = untold()
    if waiting is None or waiting >= 2 * settings.worker.concurrency:
        return
    ids = await take(connection, settings)
    if ids:
        tell(ids)


async def take(connection: AsyncConnection, settings: Settings) -> list[UUID]:
    """Mark what is due as dispatched, as far as each client may have notices on their way."""
    bounds = {"each": EACH, "round": ROUND, "dispatched": DISPATCHED, "patience": settings.delivery.claim_patience}
    return [row[0] for row in await connection.execute(TAKE, bounds)]


async def claim(engine: AsyncEngine, ids: Sequence[UUID], settings: Settings) -> list[Errand]:
    """Take those of `ids` that were dispatched and nobody has claimed, by client."""
    lease = uuid4()
    wanted = {"ids": list(ids), "dispatched": DISPATCHED, "lease": lease, "seconds": settings.delivery.lease}
    async with engine.connect() as connection:
        rows = (await connection.execute(CLAIM, wanted)).all()
    errands = []
    for client, group in groupby(rows, attrgetter("client")):
        first, *rest = group
        notices = [Notice(row.id, row.tries, payload(row._asdict())) for row in (first, *rest)]
        errands.append(Errand(client, lease, first.url, first.secrets, notices))
    return errands


async def settle(engine: AsyncEngine, errand: Errand, answers: Sequence[Answer | None]) -> None:
    """Record what a client's webhook answered to each notice of an errand, and how it stands, in one transaction.

    Raises what the journal raises; safe to call again.
    """
    async with transactional(engine).begin() as connection:
        row = (await connection.execute(HEALTH, {"client": errand.client})).one_or_none()
        if row is None:
            return  # the webhook was removed; the leases run out
        health = judge(row.failing_since, answers, row.now)
        dispositions = [
            decide(answer, notice.attempts, row.failing_since, health, row.now)
            for notice, answer in zip(errand.notices, answers, strict=True)
        ]
        settled = await _write_dispositions(connection, errand, dispositions)
        if settled and row.disabled_at is None:  # else it stands as whoever disabled it left it
            told = any(each.told for each in dispositions)
            await _write_health(connection, errand.client, row.failing_since, health, told)
        await connection.execute(NOTICES_DUE)
    if settled < len(dispositions):
        log.warning("fenced", extra={"notices": len(dispositions) - settled, "lease": errand.lease})


async def _write_dispositions(
    connection: AsyncConnection, errand: Errand, dispositions: Sequence[NoticeDisposition]
) -> int:
    columns = {name: [getattr(each, name) for each in dispositions] for name in NoticeDisposition.__slots__}
    ids = [notice.id for notice in errand.notices]
    done = await connection.execute(SETTLE, {"id": ids, "lease": errand.lease, "held": HOLDING, **columns})
    return len(done.all())


async def _write_health(
    connection: AsyncConnection,
    client: str,
    before: datetime | None,
    health: WebhookHealth,
    told: bool,
) -> None:
    values: dict[str, object] = {"failing_since": health.failing_since, "why": health.why}
    if told:
        values["succeeded_at"] = text("clock_timestamp()")
    if health.disabled:
        values["disabled_at"] = text("clock_timestamp()")
        extra = {"client": client, "failing_since": health.failing_since, "why": health.why}
        log.warning("webhook disabled", extra=extra)
    elif before is None and health.failing_since is not None:
        log.warning("webhook is failing", extra={"client": client, "why": health.why})
    elif before is not None and health.failing_since is None:
        log.warning("webhook answers again", extra={"client": client})
        await _release(connection, client)
    await connection.execute(update(webhooks).where(webhooks.c.client == client).values(values))


async def _release(connection: AsyncConnection, client: str) -> None:
    """What held the client's others back is due again as it would be, had there been no outage."""
    held = (await connection.execute(HELD, {"client": client, "held": HOLDING})).all()
    waits = [backoff(row.attempts) for row in held]
    await connection.execute(RELEASE, {"id": [row.id for row in held], "wait": waits})
