"""Reading what a backend's people have to see to: orders on which its ERP owes a decision, codes that are not mapped.

Both cost what they find and no more: an index has the orders that an ERP was sent and has not told of, and of dead
letters with codes that are not mapped a bounded number is looked at.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import text

from orders.journal import Source, reading_from
from orders.queries.mappings import MOST_LOOKED
from orders.sentences import Code
from orders.states import AWAITED, Reason, State

OVERDUE: Final = text(f"""
SELECT b.name AS backend, b.ack_within, late.orders, late.oldest FROM backends b, LATERAL (
  SELECT count(*) AS orders, min(sent_at) AS oldest FROM deliveries
  WHERE backend = b.name AND {AWAITED} AND sent_at < now() - make_interval(secs => b.ack_within)) late
WHERE b.ack_within IS NOT NULL ORDER BY b.name
""")

# Codes that are not mapped, and the number of those beyond the ones that are named, wherever in a cause they stand.
_NAMED: Final = " || ".join(f'@.code == "{code.key}"' for code in (Code.PHARMACY_CODE, Code.PRODUCT_CODE))
UNMAPPED: Final = text(f"""
WITH looked AS MATERIALIZED (
  SELECT order_id, backend, why FROM deliveries WHERE state = '{State.DEAD}' AND reason = '{Reason.UNMAPPED}'
  ORDER BY order_id LIMIT {MOST_LOOKED}
)
SELECT backend, count(DISTINCT order_id) AS orders, count(DISTINCT code) AS codes,
  (SELECT count(*) FROM looked) < {MOST_LOOKED}
    AND NOT bool_or(coalesce(why @? '$.** ? (@.code == "{Code.MORE_CODES.key}")', false)) AS whole
FROM looked LEFT JOIN LATERAL jsonb_path_query(why, '$.** ? ({_NAMED})') AS code ON true
GROUP BY backend ORDER BY backend
""")

Row = dict[str, Any]


async def overdue(source: Source) -> list[Row]:
    """Of each backend that should decide within a time (`ack_within`, s) how many `orders` it has not decided on, nor
    told of, for longer than that, and when the `oldest` was sent, None where there is none.
    """
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(OVERDUE)).mappings()]


async def unmapped(source: Source) -> list[Row]:
    """Of each backend with dead letters that are not mapped how many `orders` these are, and how many `codes` they
    lack: at least so many, where not the `whole` was looked at.
    """
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(UNMAPPED)).mappings()]
