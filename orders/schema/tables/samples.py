"""The journal's table of samples: how Relais stood every few seconds, so that a chart reads no order.

The leading dispatcher adds a row now and then (`orders.queries.samples`). Counts are cumulative: what went through
between two rows is their difference, whoever led meanwhile and however long nobody did.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Table, text
from sqlalchemy.dialects.postgresql import JSONB

from orders.schema.tables.common import NOW, Instant, metadata

samples = Table(
    "samples",
    metadata,
    Column("at", Instant, primary_key=True, server_default=NOW),
    Column("accepted", BigInteger, nullable=False, comment="orders ever accepted"),
    Column("delivered", BigInteger, nullable=False, comment="times that an order became so, ever; as the three below"),
    Column("dead", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False),
    Column("discarded", BigInteger, nullable=False),
    Column("backlog", BigInteger, nullable=False, comment="orders that were not final"),
    Column("by_backend", JSONB, comment="the backlog by backend; null when it took too long to count"),
    Column("oldest", Instant, comment="when the oldest of the backlog was accepted; null when there was none"),
    Column("lasting", Boolean, nullable=False, comment="the first of its minute, which is kept longer"),
    Column(
        "peak",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="the largest backlog seen since the sample before; in time, of the whole minute",
    ),
    Index("ix_samples_fleeting", "at", postgresql_where=text("NOT lasting")),
    comment="how Relais stood every few seconds; the older, the fewer",
)
