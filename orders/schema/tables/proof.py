"""The journal's tables of the proof: the seals, and how far each anchor has come.

A seal closes a block: the rows of the sealed tables whose `tx` is `from_tx` or more, and less than `to_tx`. What it
says and how it is signed is in `workers.proof`; `anchors` only remembers, and nothing is proven from it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from orders.schema.tables.common import Instant, metadata
from orders.schema.tables.core import attempts, operations, orders, receipts
from orders.schema.tables.erps import mappings
from orders.schema.tables.trust import changes, evidence

SEALED = (orders, attempts, receipts, operations, evidence, changes, mappings)

seals = Table(
    "seals",
    metadata,
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("format", SmallInteger, nullable=False, comment="of what it covers and how that is written"),
    Column("epoch", Integer, nullable=False, comment="of the transactions' numbers, see orders.schema.epochs"),
    Column("from_tx", BigInteger, nullable=False),
    Column("to_tx", BigInteger, nullable=False, comment="the first that is not in the block"),
    Column("tables", JSONB, nullable=False, comment="of each table its rows and the SHA-256 of their bytes"),
    Column("sealed_at", Instant, nullable=False),
    Column("why", Text, comment="of a break in the chain, or an operator's word on one"),
    Column("previous", LargeBinary, nullable=False, comment="mac of the block before"),
    Column("mac", LargeBinary, nullable=False, comment="HMAC-SHA-256 of all the above"),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False, comment="Ed25519, of all the above and the mac"),
    Index("ix_seals_to_tx", "to_tx"),
    comment="the chain that closes block after block; append-only",
)

anchors = Table(
    "anchors",
    metadata,
    Column("place", Text, primary_key=True, comment="RELAIS_ANCHOR, and the host where it is a file"),
    Column("block", BigInteger, nullable=False, comment="the last one written there"),
    Column("written_at", Instant),
    Column("error", Text, comment="why newer blocks are not there"),
    comment="how far the chain is written outside the database",
)
