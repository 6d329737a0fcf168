"""The journal's tables (SQLAlchemy Core). What changes how is part of each table's comment.

`deliveries` is the only hot table: narrow, fillfactor 70, vacuumed early, and indexed by partial indexes that answer
the dispatcher's questions (what is due, what is out, what to poll, what expires, what is dead) and nothing else.
There are no foreign keys: each would lock and rewrite a row of `orders` for every row of its child. The statements
that write the children take their ids from the parents, nothing can be deleted, and `relais audit` looks for orphans.
What clients need is in `orders.schema.tables.clients`, what a reconciliation keeps in `orders.schema.tables.reconcile`,
the seals in `orders.schema.tables.proof`, and what the database enforces by itself in `orders.schema.triggers`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
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
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orders.schema.sentence_column import SentenceColumn
from orders.schema.tables.common import NOW, Instant, metadata, sealed
from orders.states import AWAITED, GIVEN_UP, LIVE, OUT, POLLED, REPLAYED, CircuitState, State, listed

PLACED = text("rival IS NULL")  # orders that have the place of their reference, and of their Idempotency-Key

orders = Table(
    "orders",
    metadata,
    Column("id", Uuid, primary_key=True, comment="UUIDv7, also the idempotency key"),
    Column("pharmacy", Text, nullable=False),
    Column("reference", Text, nullable=False, comment="the pharmacy's own order number"),
    Column("body", LargeBinary, nullable=False, comment="canonical bytes (RFC 8785), exactly as forwarded"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of body"),
    Column("received_at", Instant, nullable=False, server_default=NOW),
    Column("client", Text, nullable=False, comment="who handed it over"),
    Column("request_id", Text, comment="of the request that brought it"),
    Column("idempotency_key", Text, comment="the client's own, beside (pharmacy, reference)"),
    Column("origin", JSONB, comment="what the answer in another protocol will need"),
    Column("traceparent", Text, comment="the trace of the request that brought it (W3C); not sealed"),
    Column("rival", Uuid, comment="the order that has its place; null when this one has it"),
    *sealed("orders", listed=True),
    Index("uq_orders_pharmacy_reference", "pharmacy", "reference", unique=True, postgresql_where=PLACED),
    Index("ix_orders_pharmacy_id", "pharmacy", "id"),
    Index("ix_orders_pharmacy_tx", "pharmacy", "tx"),
    Index("ix_orders_reference_id", "reference", "id", postgresql_ops={"reference": "text_pattern_ops"}),
    Index(
        "uq_orders_client_idempotency_key",
        "client",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL AND rival IS NULL"),
    ),
    Index("ix_orders_origin", "pharmacy", "id", postgresql_where=text("origin IS NOT NULL")),
    comment="every order as accepted; append-only",
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("state", Text, nullable=False),
    Column("backend", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False, comment="0 urgent, 1 normal"),
    Column("cut_off", Instant, nullable=False, comment="'infinity' when the order names none, or came after it"),
    Column("accepted_at", Instant, nullable=False, server_default=NOW),
    Column("due_at", Instant, nullable=False, server_default=NOW, comment="not dispatched or polled before"),
    Column("attempts", SmallInteger, nullable=False, server_default="0", comment="that count; an outage's don't"),
    Column("lease", Uuid, comment="who holds it; settling needs it (fencing)"),
    Column("lease_until", Instant, comment="dispatched: claim by then; delivering: settle by then"),
    Column("unsure", Boolean, nullable=False, server_default="false", comment="ask `find` before sending"),
    Column("failed_at", Instant, comment="of the last attempt that failed"),
    Column("reason", Text, comment="of a dead letter"),
    Column("error", Text, comment="the last one"),
    Column("settled_at", Instant, comment="when it became final"),
    Column("valid_until", Instant, comment="not to be forwarded after; null when the order names none"),
    Column("turn", Integer, nullable=False, server_default="0", comment="among its pharmacy's, given by a replay"),
    Column("aged_from", Instant, comment="a person put it through again: it is as fresh as then"),
    Column("status", SmallInteger, comment="HTTP's, that came with the error; null where there was none"),
    Column("cause", BigInteger, comment="of a dead letter; a trigger sets it"),
    Column(
        "client",
        Integer,
        nullable=False,
        server_default="0",
        comment="a hash of who handed it over, in its last four bits of the pharmacy: clients take turns, and of one "
        "client such lines",
    ),
    Column("why", SentenceColumn, comment="the error as a code, of what is dead without an attempt"),
    Column("sent_at", Instant, comment="when it was last on its way to the ERP, at the latest; null: never"),
    CheckConstraint(f"state IN ({listed(State)})", name="state"),
    Index("ix_deliveries_due", "backend", "client", "priority", "cut_off", "order_id", postgresql_where=text(LIVE)),
    Index(
        "ix_deliveries_replayed", "backend", "priority", "cut_off", "turn", "order_id", postgresql_where=text(REPLAYED)
    ),
    Index("ix_deliveries_out", "backend", "lease_until", postgresql_where=text(OUT)),
    Index(
        "ix_deliveries_expiring",
        "backend",
        "valid_until",
        postgresql_where=text(f"state = '{State.ACCEPTED}' AND valid_until IS NOT NULL AND NOT unsure"),
    ),
    Index("ix_deliveries_submitted", "backend", "due_at", postgresql_where=text(POLLED)),
    Index("ix_deliveries_awaited", "backend", "sent_at", postgresql_where=text(AWAITED)),
    Index("ix_deliveries_dead", "reason", "order_id", postgresql_where=text(f"state = '{State.DEAD}'")),
    Index("ix_deliveries_given_up", "state", "order_id", postgresql_where=text(GIVEN_UP)),
    Index("ix_deliveries_cause", "cause", "settled_at", "order_id", postgresql_where=text(f"state = '{State.DEAD}'")),
    comment="one narrow row per order; the only hot table",
    postgresql_with={
        "fillfactor": "70",
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_vacuum_threshold": "2000",
        "autovacuum_analyze_scale_factor": "0.05",
        "autovacuum_vacuum_cost_delay": "0",
    },
)

attempts = Table(
    "attempts",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("lease", Uuid, primary_key=True, comment="of the claim; settling again writes nothing twice"),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("outcome", Text, primary_key=True, comment="workers.erp.port.Kind, or lease_expired"),
    Column("status", SmallInteger, comment="HTTP's, where there was one"),
    Column("detail", Text, nullable=False),
    Column("worker", Text, nullable=False),
    *sealed("attempts"),
    comment="every attempt; append-only",
)

receipts = Table(
    "receipts",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("lease", Uuid, primary_key=True, comment="of the claim that brought it"),
    Column("backend", Text, nullable=False),
    Column("reference", Text, nullable=False, comment="the ERP's own"),
    Column("digest", LargeBinary, comment="SHA-256 that the ERP computed of what it received"),
    Column("lines", JSONB, nullable=False, comment="[{line, product, accepted, reason}]"),
    Column("signature", Text),
    Column("received_at", Instant, nullable=False, server_default=NOW),
    Column("key_id", Text, comment="of the key that signed it and was in force; null when it is not signed"),
    *sealed("receipts"),
    Index("ix_receipts_backend_received_at_order_id", "backend", "received_at", "order_id"),
    Index("ix_receipts_backend_reference", "backend", "reference"),
    comment="the ERP's answers; append-only",
)

backends = Table(
    "backends",
    metadata,
    Column("name", Text, primary_key=True),
    Column("circuit", Text, nullable=False, server_default=CircuitState.CLOSED),
    Column("window", Integer, nullable=False, comment="orders out at once"),
    Column("failures", Integer, nullable=False, server_default="0", comment="since the last answer"),
    Column("failing_since", Instant, comment="the first of them; null when there is none"),
    Column("trips", Integer, nullable=False, server_default="0", comment="openings without a success between"),
    Column("ceiling", Integer, comment="the window that last failed; null when none is known"),
    Column(
        "credit",
        Integer,
        nullable=False,
        server_default="0",
        comment="orders that went well since the window's last step, less the toll",
    ),
    Column("changed_at", Instant, nullable=False, server_default=NOW, comment="of the circuit"),
    Column("probe_at", Instant, comment="when an open circuit sends its canary"),
    Column("shrunk_at", Instant, nullable=False, server_default=NOW),
    Column("succeeded_at", Instant, comment="last order that the ERP answered for"),
    Column("paused", Boolean, nullable=False, server_default="false"),
    Column("quarantined", Boolean, nullable=False, server_default="false"),
    Column("why", SentenceColumn, comment="of an open circuit"),
    Column("held_why", SentenceColumn, comment="of pause or quarantine"),
    Column("quarantined_at", Instant),
    Column("quarantined_by", Text, comment="an operator, or relais itself on evidence"),
    Column("rate", Float, comment="orders a second at most, across all workers; null without a cap"),
    Column("latency", Float, comment="seconds that an order takes with it when all is well, a moving average"),
    Column("refusing", Float, comment="share of orders that it refuses when all is well, a moving average"),
    Column(
        "answered",
        Float,
        nullable=False,
        server_default="0",
        comment="orders it answered lately, the older the less they count",
    ),
    Column("refused", Float, nullable=False, server_default="0", comment="of those, how many it refused"),
    Column(
        "unique_reference", Boolean, comment="the ERP itself refuses a second order of one reference; null: not told"
    ),
    Column("absent_after", Float, comment="seconds after a sending before it is believed to lack an order"),
    Column("ack_within", Float, comment="seconds in which it should have decided on an order; null: no such time"),
    Column("set_aside", Integer, comment="answers that cannot be read and wait for a person; null: never seen"),
    Column("set_aside_at", Instant, comment="when they were counted last"),
    CheckConstraint(f"circuit IN ({listed(CircuitState)})", name="circuit"),
    comment="one row per backend; read in the claim itself",
)

operations = Table(
    "operations",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", Instant, nullable=False, server_default=NOW),
    Column("operator", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("reason", Text),
    Column("detail", JSONB, nullable=False),
    *sealed("operations"),
    Index("ix_operations_backend", text("(detail ->> 'backend')"), "id"),
    Index("ix_operations_order", text("(detail ->> 'order')"), postgresql_where=text("detail ? 'order'")),
    Index(
        "ix_operations_ids",
        literal_column("(detail -> 'ids')").label("ids"),
        postgresql_using="gin",
        postgresql_ops={"ids": "jsonb_path_ops"},
    ),
    comment="who did what, when and why; append-only",
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="grows along an order's life"),
    Column("order_id", Uuid, nullable=False),
    Column("at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("state", Text, nullable=False, comment="that the delivery went to"),
    Column("reason", Text),
    Column("error", Text),
    Index("ix_events_order_id_id", "order_id", "id"),
    comment="what the front end wants to hear of; written by a trigger on deliveries; append-only",
)
