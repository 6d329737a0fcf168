"""The journal's tables of the search: which orders hold a product, and how far that is known.

Derived from `orders` by `orders.queries.products`, off the intake's path, and never part of a proof: lost or wrong,
they are made again. A product is kept as a number: its 13 digits, some 90 bytes a line of an order with the index.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, SmallInteger, Table, Uuid

from orders.schema.tables.common import Instant, metadata

order_products = Table(
    "order_products",
    metadata,
    Column("product", BigInteger, primary_key=True, autoincrement=False, comment="the 13 digits as a number"),
    Column("order_id", Uuid, primary_key=True),
    comment="which orders hold a product; derived from orders, not sealed",
)

products_known = Table(
    "products_known",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False, server_default="1"),
    Column("after", Uuid, comment="the last old order that was taken; null when all were"),
    Column("tx", BigInteger, nullable=False, comment="every order of an earlier transaction is in, old ones apart"),
    Column("ceiling", BigInteger, nullable=False, comment="when tx is as much, all before asked_at is in"),
    Column("asked_at", Instant, nullable=False),
    Column("complete_at", Instant, comment="every order that was accepted by then is in"),
    CheckConstraint("one = 1", name="one"),
    comment="how far order_products is complete; one row",
)
