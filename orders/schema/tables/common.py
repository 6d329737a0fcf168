"""What the tables have in common: how their parts are named, times with a zone, and the transaction of a sealed row."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Index, MetaData, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NOW = text("now()")
Instant = DateTime(timezone=True)


def sealed(table: str, *, listed: bool = False) -> tuple[Column[int], Index]:
    """The transaction that wrote a row, which tells the block that seals it (`orders.schema.epochs`), and how to find
    it.

    The index is a few bytes for each 32 pages: `tx` grows along the table. Rows that are `listed` in the order of
    their commits need a tree.
    """
    options = {"pages_per_range": 32, "autosummarize": True}
    wrote = text("relais_tx()")
    blocks = Index(f"ix_{table}_tx", "tx", postgresql_using="brin", postgresql_with=options)
    return (
        Column("tx", BigInteger, nullable=False, server_default=wrote, comment="that wrote it: tells its block"),
        Index(f"ix_{table}_tx", "tx") if listed else blocks,
    )
