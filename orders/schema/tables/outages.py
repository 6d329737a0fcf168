"""The journal's table of outages: each is one thing, from the first attempt that failed to the first order answered.

Written with the circuit, in the same statement (`workers.backend_transitions`): a row is made when the circuit opens,
every canary that fails is counted in it, and the answer that closes the circuit ends it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, Index, Integer, Table, Text, text

from orders.schema.sentence_column import SentenceColumn
from orders.schema.tables.common import Instant, metadata

UNENDED = text("ended_at IS NULL")

outages = Table(
    "outages",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("backend", Text, nullable=False),
    Column("began_at", Instant, nullable=False, comment="the first attempt that failed"),
    Column("opened_at", Instant, nullable=False, comment="the circuit opened"),
    Column("failed_at", Instant, nullable=False, comment="the last attempt that failed"),
    Column("ended_at", Instant, comment="the first order that was answered again; null while it lasts"),
    Column("failures", Integer, nullable=False, comment="attempts that failed"),
    Column("why", SentenceColumn, comment="what opened the circuit first"),
    Index("uq_outages_backend", "backend", unique=True, postgresql_where=UNENDED),
    comment="when a backend took nothing; one that lasts at most of each",
)
