"""The journal's tables of ERPs beside `backends`: when one took nothing, and what each calls products and pharmacies.

An outage is one thing, from the first attempt that failed to the first order answered. It is written with the circuit,
in the same statement (`workers.backend_transitions`): a row is made when the circuit opens, every canary that fails is
counted in it, and the answer that closes the circuit ends it.

Of a mapping the newest row of a code counts. All rows of an import have one version, the next one of its backend, and
its act stands in `operations`, written by the same transaction.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, Index, Integer, Table, Text, text

from orders.schema.sentence_column import SentenceColumn
from orders.schema.tables.common import Instant, metadata, sealed

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

mappings = Table(
    "mappings",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("backend", Text, nullable=False),
    Column("version", Integer, nullable=False, comment="of the backend's mapping; one for each import"),
    Column("kind", Text, nullable=False, comment="orders.states.CodeKind"),
    Column("code", Text, nullable=False, comment="as orders have it: CIP13, ACL13 or UCD13; the pharmacy"),
    Column("target", Text, comment="the ERP's article or customer number; null: no longer mapped"),
    Column("price_list", Text, comment="of a pharmacy, where it has one"),
    Column("warehouse", Text, comment="of a pharmacy, where it has one"),
    *sealed("mappings"),
    Index("uq_mappings_backend_kind_code_version", "backend", "kind", "code", "version", unique=True),
    Index("ix_mappings_backend_version", "backend", "version"),
    comment="what a backend's ERP calls products and pharmacies; append-only",
)
