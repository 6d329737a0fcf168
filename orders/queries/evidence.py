"""Reading the evidence against backends, the answers as they came included.

Never writes: evidence is written by what settles a batch (`workers.delivery.evidence`), and by nothing else.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.schema.tables.trust import evidence


async def listed(
    engine: AsyncEngine, backend: str | None = None, *, order_id: UUID | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """The newest evidence, the oldest of it first: id, at, backend, order_id, kind, conclusive, detail, answer (bytes
    that are no UTF-8 are written out).
    """
    table = evidence.c
    query = select(
        table.id, table.at, table.backend, table.order_id, table.kind, table.conclusive, table.detail, table.answer
    )
    if backend is not None:
        query = query.where(table.backend == backend)
    if order_id is not None:
        query = query.where(table.order_id == order_id)
    async with engine.connect() as connection:
        rows = (await connection.execute(query.order_by(table.id.desc()).limit(limit))).mappings().all()
    return [{**row, "answer": _text(row["answer"])} for row in reversed(rows)]


def _text(answer: bytes | None) -> str | None:
    return None if answer is None else answer.decode(errors="backslashreplace")
