"""The journal's table of tallies: what happened, counted where it was written, so that reading the counts is cheap.

Triggers (`orders.schema.tally_triggers`) add a row for each group that a statement wrote, in its transaction: no row is
ever updated, so no transaction waits for another, and every snapshot holds just what its other tables hold. The leading
dispatcher sums the rows up now and then.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from orders.schema.tables.common import metadata

tallies = Table(
    "tallies",
    metadata,
    Column("name", Text, nullable=False, comment="fate, left, call, receipt or evidence"),
    Column("backend", Text, nullable=False, server_default="", comment="empty for fate and left"),
    Column("label", Text, nullable=False, comment="state, outcome, verified or unverified, kind of evidence"),
    Column("bound", BigInteger, comment="microseconds that none of them exceeds; null above the last bound"),
    Column("n", BigInteger, nullable=False, comment="to be summed up over all rows"),
    Column("total", BigInteger, nullable=False, server_default="0", comment="microseconds, of all of them"),
    comment="what happened, counted; rows are added and summed up, never updated",
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0",
        "autovacuum_vacuum_threshold": "5000",
        "autovacuum_vacuum_cost_delay": "0",
    },
)
