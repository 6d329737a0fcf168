"""The journal's table of replays: the backlog of a backend put through again, step by step, as operators see it.

A row outlives every process; the leading dispatcher steers it (`workers.replay.controller`), operators hold it or let
it go on (`workers.replay.commands`). At most one that is not over per backend. The orders of a replay are those with a
`turn`: the newest replay of a backend gave it, and every other order has none.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orders.schema.sentence_column import SentenceColumn
from orders.schema.tables.common import NOW, Instant, metadata
from orders.states import ReplayState, listed

replays = Table(
    "replays",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("backend", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=ReplayState.RUNNING),
    Column("choice", JSONB, nullable=False, comment="what narrowed it"),
    Column("orders", Integer, nullable=False, server_default="0", comment="that it chose"),
    Column("hold", Boolean, nullable=False, server_default="false", comment="wait for a word after each stage"),
    Column("stage", Integer, nullable=False, server_default="1", comment="orders that it may try; 0 is the ramp"),
    Column("passed", Integer, comment="the last stage that was passed; null before the first"),
    Column("staged", ARRAY(Uuid), nullable=False, server_default="{}", comment="the orders tried in this stage"),
    Column("stage_since", Instant, nullable=False, server_default=NOW),
    Column("why", SentenceColumn, comment="it holds, or what the last gate found"),
    Column("history", JSONB, nullable=False, server_default="[]", comment="what each stage came to"),
    Column("started_at", Instant, nullable=False, server_default=NOW),
    Column("started_by", Text, nullable=False),
    Column("ended_at", Instant),
    CheckConstraint(f"state IN ({listed(ReplayState)})", name="state"),
    CheckConstraint("stage IN (0, 1, 10, 100)", name="stage"),
    Index("uq_replays_open", "backend", unique=True, postgresql_where=text("ended_at IS NULL")),
    comment="recoveries step by step; the newest of a backend owns the orders that have a turn",
)
