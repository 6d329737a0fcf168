"""The journal's table of acts: what somebody at the console set going, how far it is, and what came of it.

The id comes with the form, so that what is sent twice is one act. A row is the console's own account of an act and no
proof: that is in `operations`, written in the transactions that did it, and `operations` here names those rows.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Column, Index, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from orders.schema.sentence_column import SentenceColumn
from orders.schema.tables.common import Instant, metadata
from orders.states import listed


class ActState(StrEnum):
    """How far an act is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"  # at somebody's word
    INTERRUPTED = "interrupted"  # nobody saw how it ended


CLOCK = text("clock_timestamp()")

acts = Table(
    "acts",
    metadata,
    Column("id", Uuid, primary_key=True, comment="from the form"),
    Column("kind", Text, nullable=False),
    Column("chosen", JSONB, nullable=False, comment="what it is about"),
    Column("fields", JSONB, nullable=False, comment="of the form that chose it, to begin again with"),
    Column("reason", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("role", Text, nullable=False, comment="that the operator had"),
    Column("state", Text, nullable=False, server_default=ActState.RUNNING),
    Column("done", BigInteger, nullable=False, server_default="0"),
    Column("total", BigInteger, comment="null while it is not known"),
    Column("note", SentenceColumn),
    Column("outcome", JSONB, comment="what came of it"),
    Column("operations", ARRAY(BigInteger), nullable=False, server_default="{}", comment="ids of its rows there"),
    Column("why", Text, comment="the kind of what ended it, where it is not done"),
    Column("error", SentenceColumn, comment="what ended it"),
    Column("started_at", Instant, nullable=False, server_default=CLOCK),
    Column("beat_at", Instant, nullable=False, server_default=CLOCK, comment="the process that runs it lived then"),
    Column("ended_at", Instant),
    Column("stop_asked_at", Instant),
    Column("stop_asked_by", Text),
    CheckConstraint(f"state IN ({listed(ActState)})", name="state"),
    Index("ix_acts_started_at_id", "started_at", "id"),
    Index("ix_acts_running", "beat_at", postgresql_where=text(f"state = '{ActState.RUNNING}'")),
    comment="what was done through the console; a row changes until its act is over",
)
