"""What a block holds, told by its bytes: for each sealed table the number of rows and one SHA-256 over all of them.

A row's bytes are PostgreSQL's own binary writing of it (`record_send`: number of columns, then of each the type, the
length and the value in network order, so that no two rows are written alike), rows are in the order of their primary
key, and each is hashed with its length before it. Read in a stream: memory does not grow with the block.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import chain
from typing import Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.audit_codes import AuditCode
from orders.sentences import Sentence
from workers.proof.seal import FORMAT, Content

# Of each sealed table the columns that a seal of the newest format covers. When a table gets another column, that
# makes a new format, and these stay as they are for the blocks that were sealed with them.
# `orders.traceparent` is left out: it is for who watches, decides nothing, and says nothing of the order.
_OF_ORDER: Final = "id, pharmacy, reference, body, digest, received_at, client, request_id, idempotency_key, origin"
COLUMNS: Final = {
    "orders": f"{_OF_ORDER}, rival, tx",
    "attempts": "order_id, lease, outcome, started_at, ended_at, status, detail, worker, tx",
    "receipts": "order_id, lease, backend, reference, digest, lines, signature, received_at, key_id, tx",
    "operations": "id, at, operator, act, reason, detail, tx",
    "evidence": "id, at, backend, order_id, lease, kind, conclusive, detail, answer, tx",
    "changes": "id, at, login, source, content, tx",
    "mappings": "id, at, backend, version, kind, code, target, price_list, warehouse, tx",
}
KEYS: Final = {
    "orders": "id",
    "attempts": 'order_id, lease, outcome COLLATE "C"',
    "receipts": "order_id, lease",
    "operations": "id",
    "evidence": "id",
    "changes": "id",
    "mappings": "id",
}
MADE: Final = {
    "attempts": "ended_at",
    "receipts": "received_at",
    "operations": "at",
    "evidence": "at",
    "changes": "at",
    "mappings": "at",
}  # an order may come by the spill
ROWS_AT_ONCE: Final = 1000  # rows of a stream in memory

Progress = Callable[[int], None]


def _rows(table: str, columns: str) -> TextClause:
    return text(
        f"SELECT width_bucket(tx, CAST(:bounds AS bigint[])) AS place, record_send(ROW({columns})) "
        f"FROM {table} WHERE tx >= :low AND tx < :high ORDER BY place, {KEYS[table]}"
    )


def _belated(table: str) -> TextClause:
    return text(
        f"SELECT place, count(*) FROM (SELECT width_bucket(tx, CAST(:bounds AS bigint[])) AS place, "
        f"{MADE[table]} AS made FROM {table} WHERE tx >= :low AND tx < :high) AS found "
        "WHERE made < (CAST(:earliest AS timestamptz[]))[place] GROUP BY place"
    )


_THIRD: Final = {table: columns for table, columns in COLUMNS.items() if table != "mappings"}
_SECOND: Final = {table: columns for table, columns in _THIRD.items() if table != "changes"}
# Before orders had rivals, before changes, before mappings.
OLDER: Final = {1: _SECOND | {"orders": f"{_OF_ORDER}, tx"}, 2: _SECOND, 3: _THIRD}
FORMATS: Final = {
    form: {table: _rows(table, columns) for table, columns in sealed.items()}
    for form, sealed in {FORMAT: COLUMNS, **OLDER}.items()
}
BELATED: Final = {table: _belated(table) for table in MADE}


class _Hash:
    """The rows of one table in one block."""

    __slots__ = ("_hash", "rows")

    def __init__(self) -> None:
        self._hash, self.rows = hashlib.sha256(), 0

    def add(self, raw: bytes) -> None:
        self._hash.update(len(raw).to_bytes(4, "big") + raw)
        self.rows += 1

    def content(self) -> Content:
        return Content(self.rows, self._hash.hexdigest())


async def contents(
    connection: AsyncConnection, bounds: Sequence[int], progress: Progress | None = None, *, form: int = FORMAT
) -> list[dict[str, Content]]:
    """What each of the blocks that lie between the bounds holds; n + 1 bounds, growing, make n blocks.

    To be called in one snapshot; `form` is the seals' format. `progress` hears how many rows were read since it was
    last called.
    """
    found: list[dict[str, Content]] = [{} for _ in bounds[1:]]
    for table, query in FORMATS[form].items():
        hashes = [_Hash() for _ in found]
        async for rows in _stream(connection, query, bounds):
            for place, raw in rows:
                hashes[place - 1].add(raw)
            if progress is not None:
                progress(len(rows))
        for block, each in zip(found, hashes, strict=True):
            block[table] = each.content()
    return found


async def _stream(
    connection: AsyncConnection, query: TextClause, bounds: Sequence[int]
) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
    values = {"bounds": list(bounds), "low": bounds[0], "high": bounds[-1]}
    async with connection.stream(query, values, execution_options={"yield_per": ROWS_AT_ONCE}) as rows:
        async for part in rows.partitions(ROWS_AT_ONCE):
            yield [(row[0], row[1]) for row in part]


def differences(sealed: dict[str, Content], found: dict[str, Content]) -> list[Sentence]:
    """In what a block differs from its seal: `2 rows missing from attempts`, `rows of orders altered`."""
    said = []
    for table in dict.fromkeys(chain(sealed, found)):
        was, is_now = sealed.get(table, Content(0, "")), found.get(table, Content(0, ""))
        if is_now.rows != was.rows:
            code = AuditCode.ROWS_MISSING if is_now.rows < was.rows else AuditCode.ROWS_TOO_MANY
            said.append(Sentence(code, count=abs(is_now.rows - was.rows), table=table))
        elif is_now.rows and is_now.sha256 != was.sha256:
            said.append(Sentence(AuditCode.ROWS_ALTERED, table=table))
    return said
