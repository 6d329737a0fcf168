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
ASTRAY: Final = text(
    "SELECT coalesce((SELECT max(to_tx) FROM seals) > relais_tx_ceiling(), false) OR "
    + " OR ".join(f"EXISTS (SELECT FROM {table.name} WHERE tx > {_HIGHEST})" for table in SEALED)
)
NEWEST: Final = text(
    "SELECT greatest((SELECT max(to_tx) FROM seals), "
    + ", ".join(f"(SELECT max(tx) FROM {table.name})" for table in SEALED)
    + ")"
)


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
    epoch = int(connection.execute(NEWEST).scalar_one()) // SPAN + 1
    for statement in functions(epoch):
        connection.execute(text(statement))
    return epoch
