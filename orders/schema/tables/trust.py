"""The journal's tables about trust: the keys that sign a backend's receipts, what speaks against it, and each change.

A key that is out of force stays listed, so that what it signed can be verified for ever. Evidence is append-only: who
releases a backend cannot make what was held against it disappear.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Identity, Index, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from orders.schema.tables.common import NOW, Instant, metadata, sealed

receipt_keys = Table(
    "receipt_keys",
    metadata,
    Column("backend", Text, primary_key=True),
    Column("key_id", Text, primary_key=True, comment="the kid of a signature"),
    Column("public", LargeBinary, nullable=False, comment="Ed25519, 32 bytes"),
    Column("added_at", Instant, nullable=False, server_default=NOW),
    Column("expires_at", Instant, comment="out of force from then on; null is never"),
    Column("revoked_at", Instant, comment="out of force for good"),
    Column("why", Text, comment="of the revocation"),
    comment="the keys that sign a backend's receipts, in force and out of it",
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("backend", Text, nullable=False),
    Column("order_id", Uuid, comment="null where it is about no single order"),
    Column("lease", Uuid, nullable=False, comment="of the claim that met it; settling again writes nothing twice"),
    Column("kind", Text, nullable=False, comment="workers.erp.port.Evidence"),
    Column("conclusive", Boolean, nullable=False, comment="it is proof, and quarantined the backend"),
    Column("detail", Text, nullable=False),
    Column("answer", LargeBinary, comment="as it came, the first 64 KiB of it"),
    *sealed("evidence"),
    Index("ix_evidence_backend_id", "backend", "id"),
    Index(
        "uq_evidence_lease_kind_order_id", "lease", "kind", "order_id", unique=True, postgresql_nulls_not_distinct=True
    ),
    comment="what speaks against a backend; append-only",
)

changes = Table(
    "changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column(
        "login",
        Text,
        nullable=False,
        server_default=text("SESSION_USER"),
        comment="of PostgreSQL, that made it",
    ),
    Column("source", Text, nullable=False, comment="the table"),
    Column("content", JSONB, nullable=False, comment="as it is since, without hashes of passwords"),
    *sealed("changes"),
    comment="of what is trusted and by people, written by triggers whoever makes them; append-only",
)
