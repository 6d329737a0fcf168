"""Numbers of transactions that only grow, also when the journal moves to another PostgreSQL.

A row's `tx` is PostgreSQL's own transaction number (never used twice in a cluster) and an offset, the epoch's. A
journal restored by dump into another cluster brings rows with higher numbers than that cluster gives out: new rows
would fall among old, sealed ones. `rebase`, part of every `relais admin migrate`, sees that and begins an epoch.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from orders.schema.tables.proof import SEALED

SPAN: Final = 1 << 48  # transactions of an epoch; a cluster that writes 100,000 a second needs 89 years for them

_XIDS: Final = {
    "relais_tx": "pg_current_xact_id()",  # this transaction
    "relais_tx_floor": "pg_snapshot_xmin(pg_current_snapshot())",  # all below are over
    "relais_tx_ceiling": "pg_snapshot_xmax(pg_current_snapshot())",  # none from here on is seen
}

_HIGHEST: Final = "greatest(relais_tx(), relais_tx_ceiling() - 1)"  # that a row seen by this statement may have
# The functions come with a dump, so what it brings is of their epoch or of one before. A number beyond that is nobody's
# honest one: it decides nothing here, and the audit names its row.
_WITHIN: Final = f"(relais_tx_ceiling() / {SPAN} + 1) * {SPAN}"
ASTRAY: Final = text(
    f"SELECT EXISTS (SELECT FROM seals WHERE to_tx > relais_tx_ceiling() AND to_tx < {_WITHIN}) OR "
    + " OR ".join(f"EXISTS (SELECT FROM {table.name} WHERE tx > {_HIGHEST} AND tx < {_WITHIN})" for table in SEALED)
)
EPOCH: Final = text(f"SELECT relais_tx_ceiling() / {SPAN}")


def functions(epoch: int) -> list[str]:
    """DDL of `relais_tx()` and its two companions, which PostgreSQL inlines wherever they are used."""
    return [
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS bigint LANGUAGE sql STABLE AS "
        f"$$SELECT CAST(CAST({xid} AS text) AS bigint) + {epoch * SPAN}$$"
        for name, xid in _XIDS.items()
    ]


def rebase(connection: Connection) -> int | None:
    """Begin a new epoch when the cluster's numbers went backwards; its number, or None when all is well.

    Nothing may write to the journal meanwhile: rows that were written between the restore and this have numbers of
    sealed blocks, and the audit will call them additional rows of those.
    """
    if not connection.execute(ASTRAY).scalar_one():
        return None
    epoch = int(connection.execute(EPOCH).scalar_one()) + 1
    for statement in functions(epoch):
        connection.execute(text(statement))
    return epoch
