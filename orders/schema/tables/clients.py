"""The journal's tables about those who hand orders over: clients, keys, webhooks and what they are still to be told.

Small and rarely written, but for `notices`: one row for each event that a client's webhook is to hear of, written by
the trigger that writes the event, so that no code path can forget it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from orders.schema.sentence_column import SentenceColumn
from orders.schema.tables.common import NOW, Instant, metadata
from orders.states import AsideKind

clients = Table(
    "clients",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    Column("pharmacies", ARRAY(Text), comment="that it may order for; null is any"),
    Column("rate", Float, comment="orders a second; null is the default of the settings"),
    Column("burst", Integer, comment="orders at once; null is two seconds' worth"),
    comment="who may hand over orders, and for whom",
)

keys = Table(
    "keys",
    metadata,
    Column("fingerprint", Text, primary_key=True, comment="the first 12 hexadecimal digits of hash"),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of a 256-bit random key"),
    Column("client", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    Column("expires_at", Instant, comment="out of force from then on; null is never"),
    Column("last_used_at", Instant, comment="to half a minute"),
    Index("ix_keys_client", "client"),
    comment="API keys, in force and out of it",
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("client", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("secrets", ARRAY(Text), nullable=False, comment="whsec_…, the newest first; each signs"),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    Column("succeeded_at", Instant),
    Column("failing_since", Instant, comment="first failure since the last success"),
    Column("disabled_at", Instant, comment="its notices wait until an operator enables it"),
    Column("why", Text, comment="of the last failure"),
    comment="where a client wants to hear of its orders",
)

notices = Table(
    "notices",
    metadata,
    Column("id", Uuid, primary_key=True, comment="the webhook-id, the same at every try"),
    Column("event_id", BigInteger, nullable=False),
    Column("order_id", Uuid, nullable=False),
    Column("client", Text, nullable=False),
    Column("due_at", Instant, nullable=False, server_default=NOW),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("lease", Uuid, comment="who holds it; settling needs it (fencing)"),
    Column("error", Text, comment="the last one"),
    Column("told_at", Instant, comment="when the webhook took it"),
    Index("ix_notices_due", "client", "due_at", postgresql_where=text("told_at IS NULL")),
    Index("ix_notices_order_id", "order_id"),
    comment="what webhooks are still to be told, and were",
    postgresql_with={"fillfactor": "80"},
)

KINDS = "repeated, forged or unreadable; conflict and reused are of older versions"

asides = Table(
    "asides",
    metadata,
    Column("digest", LargeBinary, primary_key=True, comment="SHA-256 of raw: keeping it again changes nothing"),
    Column("at", Instant, nullable=False, server_default=NOW),
    Column("kind", Text, nullable=False, comment=KINDS),
    Column("told", Uuid, comment="the id that was answered for it, where it is known"),
    Column("order_id", Uuid, comment="the order that has its place"),
    Column("why", SentenceColumn, nullable=False),
    Column("raw", LargeBinary, nullable=False, comment="as found in the spill"),
    Column("number", BigInteger, Identity(always=True), nullable=False, comment="in the order of finding"),
    Index("ix_asides_told", "told", postgresql_where=text("told IS NOT NULL")),
    Index("ix_asides_forged", "number", postgresql_where=text(f"kind = '{AsideKind.FORGED}'")),
    comment="what was in the spill and did not become an order; append-only",
)

pharmaml_acknowledged = Table(
    "pharmaml_acknowledged",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("at", Instant, nullable=False, server_default=NOW),
    comment="replies that the pharmacy's software took out of the deposit",
)
