"""The journal's tables of causes: why orders need a person, kept by the journal so that nobody counts dead letters.

A cause is a backend, a reason, the HTTP status that came with the error, and the error itself without what differs
from order to order. How many orders stand dead of it is `n` and the sum of its rows in `cause_tallies`: triggers
(`orders.schema.cause_triggers`) add rows there, no transaction waits for another, and the leading dispatcher sums them
up into `n`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, Index, SmallInteger, Table, Text, text

from orders.schema.tables.common import NOW, Instant, metadata

STANDING = text("n > 0")  # the causes that anybody stands dead of

causes = Table(
    "causes",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False, comment="of the next four: it is stable"),
    Column("backend", Text, nullable=False),
    Column("reason", Text, nullable=False, comment="of the dead letters"),
    Column("status", SmallInteger, comment="HTTP's, where there was one"),
    Column("message", Text, nullable=False, comment="the error, normalised by relais_cause_message"),
    Column("first_at", Instant, nullable=False, comment="when an order first died of it"),
    Column("last_at", Instant, comment="when one last did, as far as summed up"),
    Column("n", BigInteger, nullable=False, server_default="0", comment="orders dead of it, as far as summed up"),
    Index("ix_causes_n", "n", "id", postgresql_where=STANDING),
    Index("ix_causes_reason", "reason", "n", "id", postgresql_where=STANDING),
    Index("ix_causes_backend", "backend", "n", "id", postgresql_where=STANDING),
    Index("ix_causes_backend_reason", "backend", "reason", "n", "id", postgresql_where=STANDING),
    comment="why orders are dead letters; only the leader changes a row, when it sums up",
    postgresql_with={"fillfactor": "70"},
)

cause_tallies = Table(
    "cause_tallies",
    metadata,
    Column("cause", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False, comment="orders that died of it less those that left; to be summed up"),
    Column("last_at", Instant, comment="when one died of it; null when some only left"),
    comment="what is not summed up yet of causes; rows are added and summed up, never updated",
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0",
        "autovacuum_vacuum_threshold": "5000",
        "autovacuum_vacuum_cost_delay": "0",
    },
)

cause_notes = Table(
    "cause_notes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", Instant, nullable=False, server_default=NOW),
    Column("cause", BigInteger, nullable=False),
    Column("operator", Text, nullable=False),
    Column("words", Text, nullable=False),
    Index("ix_cause_notes_cause_id", "cause", "id"),
    comment="what operators tell each other about a cause; append-only",
)
