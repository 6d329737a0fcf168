"""An order's whole life as the journal tells it: one read of each table that knows of it, each by an index.

At most MOST_ROWS of anything is read, the newest first: an order that was tried a thousand times is still one page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.errors import NotFound
from orders.refusals import NotDone
from orders.schema.sentence_column import SentenceColumn
from orders.sentences import Sentence
from orders.states import CircuitState

MOST_ROWS: Final = 100

ORDER: Final = text("""
SELECT o.id, o.pharmacy, o.reference, o.digest, o.received_at, o.client, o.request_id, o.body, o.rival, o.tx,
  o.idempotency_key, o.origin IS NOT NULL AS pharmaml, d.state, d.backend, d.priority, nullif(d.cut_off, 'infinity')
  AS cut_off, d.due_at, d.attempts, d.lease_until, d.unsure, d.reason, d.error, d.why, d.settled_at, d.valid_until,
  d.turn, d.aged_from, sha256(o.body) = o.digest AS whole, clock_timestamp() AS now
FROM orders o JOIN deliveries d ON d.order_id = o.id WHERE o.id = :order
""").columns(why=SentenceColumn())

PARTS: Final = {
    "attempts": f"""SELECT lease, started_at, ended_at, outcome, status, detail, worker FROM attempts
      WHERE order_id = :order ORDER BY started_at DESC LIMIT {MOST_ROWS}""",
    "events": f"""SELECT at, state, reason, error FROM events
      WHERE order_id = :order ORDER BY id DESC LIMIT {MOST_ROWS}""",
    "receipts": f"""SELECT r.order_id, r.backend, r.reference, CAST(r.lines AS text) AS lines, r.signature, r.key_id,
      r.digest, r.received_at, o.digest AS sent FROM receipts r JOIN orders o ON o.id = r.order_id
      WHERE r.order_id = :order ORDER BY r.received_at DESC LIMIT {MOST_ROWS}""",
    "evidence": f"""SELECT e.at, e.kind, e.conclusive, e.detail FROM (
        SELECT lease FROM attempts WHERE order_id = :order ORDER BY started_at DESC LIMIT {MOST_ROWS}) a
      JOIN evidence e ON e.lease = a.lease AND e.order_id = :order LIMIT {MOST_ROWS}""",
    "findings": f"""SELECT f.at, f.kind, f.detail
      FROM (SELECT id FROM reconciliations ORDER BY id DESC LIMIT {MOST_ROWS}) r
      JOIN findings f ON f.reconciliation = r.id AND f.order_id = :order""",
    "notices": f"""SELECT n.client, n.told_at, n.attempts, n.due_at, v.state FROM notices n
      LEFT JOIN events v ON v.id = n.event_id WHERE n.order_id = :order ORDER BY n.due_at DESC LIMIT {MOST_ROWS}""",
    "fetched": "SELECT at FROM pharmaml_acknowledged WHERE order_id = :order",
    "seal": """SELECT block, sealed_at, key_id FROM (SELECT block, sealed_at, key_id, from_tx FROM seals
      WHERE to_tx > :tx ORDER BY to_tx LIMIT 1) s WHERE from_tx <= :tx""",
}

# What names the order; what was done to its backend while it was with us. A divert lists its ids by backend.
NAMED: Final = f"""
SELECT id, at, operator, act, reason, true AS named FROM operations
WHERE (detail ? 'order' AND detail ->> 'order' = :order_text)
  OR detail -> 'ids' @> CAST(:listed AS jsonb) OR {{diverted}}
ORDER BY id DESC LIMIT {MOST_ROWS}
"""
AROUND: Final = text(f"""
SELECT id, at, operator, act, reason, false AS named FROM operations
WHERE detail ->> 'backend' = :backend AND at >= :since AND at <= :until AND NOT (detail ? 'ids')
ORDER BY at DESC LIMIT {MOST_ROWS}
""")
BACKENDS: Final = text(f"""
SELECT name, circuit, paused, quarantined, quarantined_at, quarantined_by, probe_at,
  coalesce(CASE WHEN circuit <> '{CircuitState.CLOSED}' THEN failing_since END, changed_at) AS since,
  coalesce(probe_at <= now(), false) AS canary_due
FROM backends ORDER BY name
""")

ASIDE: Final = text("SELECT at, kind, order_id FROM asides WHERE told = :told ORDER BY number LIMIT 1")


@dataclass(frozen=True, slots=True)
class OrderLife:
    """What is known of one order. `parts` has the rows of PARTS, `operations` those that named it or its backend."""

    order: Row[Any]
    body: Mapping[str, Any]
    parts: Mapping[str, Sequence[Row[Any]]]
    operations: Sequence[Row[Any]]
    backends: Mapping[str, Row[Any]]

    @property
    def final(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.order.settled_at is not None

    @property
    def lasts(self) -> tuple[datetime, datetime]:
        """From when to when the drawing goes."""
        return self.order.received_at, self.order.settled_at or self.order.now

    def cut(self) -> bool:
        """Whether there is more than is read."""
        return any(len(rows) >= MOST_ROWS for rows in (*self.parts.values(), self.operations))


async def life_of(connection: AsyncConnection, order: UUID) -> OrderLife:
    """Read an order's life. Raises NotFound."""
    row = (await connection.execute(ORDER, {"order": order})).one_or_none()
    if row is None:
        raise NotFound(Sentence(NotDone.UNKNOWN_ORDER, order=order))
    backends = await backends_of(connection)
    values = {"order": order, "tx": row.tx}
    parts = {name: (await connection.execute(text(query), values)).all() for name, query in PARTS.items()}
    return OrderLife(row, _read(row.body), parts, await _operations(connection, row, backends), backends)


async def backends_of(connection: AsyncConnection) -> dict[str, Row[Any]]:
    """How each backend stands."""
    return {row.name: row for row in await connection.execute(BACKENDS)}


async def aside_of(connection: AsyncConnection, told: UUID) -> Row[Any] | None:
    """What became of an order that was spilled and answered as `told`, where it is none in the journal."""
    return (await connection.execute(ASIDE, {"told": told})).one_or_none()


async def _operations(connection: AsyncConnection, row: Row[Any], backends: Mapping[str, Any]) -> list[Row[Any]]:
    listed = {f"b{number}": json.dumps({name: [str(row.id)]}) for number, name in enumerate(backends)}
    diverted = " OR ".join(f"detail -> 'ids' @> CAST(:{name} AS jsonb)" for name in listed) or "false"
    values = {"order_text": str(row.id), "listed": json.dumps([str(row.id)]), **listed}
    named = (await connection.execute(text(NAMED.format(diverted=diverted)), values)).all()
    span = {"backend": row.backend, "since": row.received_at, "until": row.settled_at or row.now}
    around = (await connection.execute(AROUND, span)).all()
    seen = {each.id for each in named}
    return sorted([*named, *(each for each in around if each.id not in seen)], key=lambda each: each.id)


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:  # altered: the page says that its digest does not hold
        return {"lines": []}
    return found if isinstance(found, dict) and isinstance(found.get("lines"), list) else {"lines": []}
