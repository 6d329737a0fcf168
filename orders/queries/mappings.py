"""Reading mappings: what a backend's ERP calls products and pharmacies, and which codes of orders it has no name for.

The newest row of a code counts; one without a target says that it is no longer mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from orders.journal import Source, reading_from
from orders.queries.orders import first_id
from orders.states import CodeKind, State

MOST_LOOKED: Final = 1_000  # orders of a group that are looked at
MOST_PASSED: Final = 20_000  # orders, of whatever backend, among which the last ones of one backend are sought

_LINES: Final = "jsonb_array_elements(CAST(convert_from(o.body, 'UTF8') AS jsonb) -> 'lines')"


def _target(backend: str, kind: str, code: str) -> str:
    """SQL: what the ERP calls a code, null where it is not mapped. The parameters are SQL too."""
    return (
        f"(SELECT m.target FROM mappings m WHERE m.backend = {backend} AND m.kind = {kind} AND m.code = {code} "
        "ORDER BY m.version DESC LIMIT 1)"
    )


# Of an order `o` and its delivery `d`.
WHOLLY_MAPPED: Final = f"""{_target("d.backend", f"'{CodeKind.PHARMACY}'", "o.pharmacy")} IS NOT NULL
  AND NOT EXISTS (SELECT FROM {_LINES} l
    WHERE {_target("d.backend", f"'{CodeKind.PRODUCT}'", "l ->> 'product'")} IS NULL)"""

_MISSING: Final = f"""
WITH looked AS MATERIALIZED ({{orders}}),
named AS (
  SELECT o.id, o.backend, '{CodeKind.PHARMACY}' AS kind, o.pharmacy AS code FROM looked o
  UNION ALL SELECT o.id, o.backend, '{CodeKind.PRODUCT}', l ->> 'product' FROM looked o, {_LINES} l
), missing AS (
  SELECT kind, code, orders FROM (SELECT backend, kind, code, count(*) AS orders FROM named GROUP BY 1, 2, 3) n
  WHERE {_target("n.backend", "n.kind", "n.code")} IS NULL
)
SELECT (SELECT count(*) FROM looked) AS looked, (SELECT count(*) FROM missing) AS codes,
  (SELECT count(DISTINCT id) FROM named JOIN missing USING (kind, code)) AS concerned, m.*
FROM (VALUES (1)) AS one
LEFT JOIN (SELECT * FROM missing ORDER BY orders DESC, kind, code LIMIT :limit) m ON true
ORDER BY m.orders DESC, m.kind, m.code"""
_OF_BACKEND: Final = text(
    _MISSING.format(
        orders="SELECT o.id, d.backend, o.pharmacy, o.body FROM deliveries d JOIN orders o ON o.id = d.order_id "
        "WHERE d.backend = :backend AND d.order_id >= :since"
    )
)
# Of the newest orders of all backends a bounded number is gone through.
_OF_LAST: Final = text(
    _MISSING.format(
        orders="SELECT o.id, d.backend, o.pharmacy, o.body FROM (SELECT order_id, backend FROM "
        f"(SELECT order_id, backend FROM deliveries ORDER BY order_id DESC LIMIT {MOST_PASSED}) newest "
        "WHERE backend = :backend LIMIT :orders) d JOIN orders o ON o.id = d.order_id"
    )
)
_OF_CAUSE: Final = text(
    _MISSING.format(
        orders="SELECT o.id, d.backend, o.pharmacy, o.body FROM (SELECT order_id, backend FROM deliveries "
        f"WHERE state = '{State.DEAD}' AND cause = :cause ORDER BY cause, settled_at, order_id LIMIT {MOST_LOOKED}) d "
        "JOIN orders o ON o.id = d.order_id"
    )
)

# Who imported a row is told by the act of the same transaction.
_SHOW: Final = """SELECT m.kind, m.code, m.target, m.price_list, m.warehouse, m.version, m.at, o.operator AS by
  FROM {rows} m LEFT JOIN operations o ON o.tx = m.tx AND o.act = 'mapping import'"""
_NEWEST: Final = """SELECT DISTINCT ON (kind, code) * FROM mappings WHERE backend = :backend
  ORDER BY kind, code, version DESC"""
_MAPPED: Final = f"(SELECT * FROM ({_NEWEST}) n WHERE target IS NOT NULL ORDER BY kind, code LIMIT :limit)"
_CURRENT: Final = text(f"{_SHOW.format(rows=_MAPPED)} ORDER BY m.kind, m.code")
_HISTORY: Final = text(
    f"{_SHOW.format(rows='mappings')} WHERE m.backend = :backend AND m.code = ANY(CAST(:codes AS text[])) "
    "ORDER BY m.kind, m.code, m.version DESC"
)
_COUNTED: Final = text(f"""SELECT coalesce(max(version), 0) AS version,
  count(target) FILTER (WHERE kind = '{CodeKind.PRODUCT}') AS products,
  count(target) FILTER (WHERE kind = '{CodeKind.PHARMACY}') AS pharmacies FROM ({_NEWEST}) n""")
_NAMES: Final = text(f"""SELECT DISTINCT target, code FROM mappings
  WHERE backend = :backend AND kind = '{CodeKind.PRODUCT}' AND target = ANY(CAST(:articles AS text[]))""")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MissingCodes:
    """Of the orders that were `looked` at, how many are `concerned` by a code that is not mapped, and how many such
    `codes` there are: `listed` has the kind and code of some, with how many orders each is of, most orders first.
    """

    looked: int
    concerned: int
    codes: int
    listed: tuple[Row, ...]


async def missing(source: Source, backend: str, since: datetime, limit: int) -> MissingCodes:
    """Of a backend's orders that were accepted since."""
    return await _missing(source, _OF_BACKEND, {"backend": backend, "since": first_id(since), "limit": limit})


async def missing_in_last(source: Source, backend: str, orders: int, limit: int) -> MissingCodes:
    """Of a backend's last orders, so many of them, as far as they are among the last of all."""
    return await _missing(source, _OF_LAST, {"backend": backend, "orders": orders, "limit": limit})


async def missing_in(source: Source, cause: int, limit: int) -> MissingCodes:
    """Of the orders that stand dead of a cause, MOST_LOOKED of them, who died first first."""
    return await _missing(source, _OF_CAUSE, {"cause": cause, "limit": limit})


async def _missing(source: Source, query: Any, values: Row) -> MissingCodes:
    async with reading_from(source) as connection:
        rows = (await connection.execute(query, values)).mappings().all()
    listed = tuple({name: row[name] for name in ("kind", "code", "orders")} for row in rows if row["kind"] is not None)
    return MissingCodes(rows[0]["looked"], rows[0]["concerned"], rows[0]["codes"], listed)


async def current(source: Source, backend: str, limit: int) -> list[Row]:
    """What is mapped: kind, code, target, price_list, warehouse, version, at, by (an operator, None when unknown)."""
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(_CURRENT, _of(backend, limit=limit))).mappings()]


async def history(source: Source, backend: str, codes: Sequence[str]) -> list[Row]:
    """Every version of these codes, of each the newest first: as `current`, the target None where it was removed."""
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(_HISTORY, _of(backend, codes=[*codes]))).mappings()]


async def counted(source: Source, backend: str) -> Row:
    """How many `products` and `pharmacies` are mapped, and the newest `version`, 0 where there is none."""
    async with reading_from(source) as connection:
        return dict((await connection.execute(_COUNTED, _of(backend))).mappings().one())


async def names_ever(source: Source, backend: str, articles: Sequence[str]) -> dict[str, set[str]]:
    """The products that were ever mapped to each of these articles; one that none was mapped to is left out."""
    found: dict[str, set[str]] = {}
    async with reading_from(source) as connection:
        for row in await connection.execute(_NAMES, _of(backend, articles=[*articles])):
            found.setdefault(row.target, set()).add(row.code)
    return found


def _of(backend: str, **values: Any) -> Row:
    return {"backend": backend, **values}
