"""A journal of orders that an ERP has acknowledged, and what the ERP itself remembers of them, filled by COPY."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from benchmarks.sample import body, orders
from orders.journal.hosts import listener_dsn

FORGOTTEN: Final = 100  # the ERP has forgotten one in so many
CHUNK: Final = 5_000  # orders put into the journal at a time, acknowledged in the same second


class Row(NamedTuple):
    """One delivered order: its id and what the journal and the ERP have of it."""

    id: UUID
    pharmacy: str
    reference: str
    body: bytes
    receipt: dict[str, Any]


async def fill(url: str, told: Path, count: int) -> None:
    """Orders as delivered over the last days, a receipt each, and the ERP's memory of all but the forgotten."""
    connection = await asyncpg.connect(listener_dsn(url))
    began = datetime.now(UTC) - timedelta(days=2)
    with told.open("w") as memory_of_erp:
        for first in range(0, count, CHUNK):
            rows = list(_rows(first, min(CHUNK, count - first)))
            await _copy(connection, rows, began + timedelta(seconds=first // CHUNK))
            memory_of_erp.writelines(
                f"{row.id}\t{json.dumps(row.receipt, separators=(',', ':'))}\n"
                for number, row in enumerate(rows, first)
                if number % FORGOTTEN
            )
    await connection.execute("VACUUM ANALYZE")  # as a journal of some days is; later, it would disturb the measurement
    await connection.close()


def _rows(first: int, count: int) -> Iterator[Row]:
    for number, order in enumerate(orders(count, first), first):
        raw = body(order)
        lines = [
            {"line": turn, "product": line["product"], "accepted": line["quantity"], "reason": None}
            for turn, line in enumerate(order["lines"], 1)
        ]
        receipt = {"reference": f"S{number}", "digest": hashlib.sha256(raw).hexdigest(), "lines": lines}
        yield Row(uuid7(), order["pharmacy"], order["reference"], raw, receipt)


async def _copy(connection: Any, rows: list[Row], at: datetime) -> None:
    digests = [bytes.fromhex(row.receipt["digest"]) for row in rows]
    never = datetime.max.replace(tzinfo=UTC)
    await connection.copy_records_to_table(
        "orders",
        records=[(r.id, r.pharmacy, r.reference, r.body, d, at, "bench") for r, d in zip(rows, digests, strict=True)],
        columns=["id", "pharmacy", "reference", "body", "digest", "received_at", "client"],
    )
    await connection.copy_records_to_table(
        "deliveries",
        records=[(row.id, "delivered", "erp", 1, never, at, at) for row in rows],
        columns=["order_id", "state", "backend", "priority", "cut_off", "accepted_at", "settled_at"],
    )
    await connection.copy_records_to_table(
        "receipts",
        records=[
            (row.id, uuid7(), "erp", row.receipt["reference"], digest, json.dumps(row.receipt["lines"]), at)
            for row, digest in zip(rows, digests, strict=True)
        ],
        columns=["order_id", "lease", "backend", "reference", "digest", "lines", "received_at"],
    )
