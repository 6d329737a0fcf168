"""The test's journal from outside of any event loop: orders put into it, and what became of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.errors import NotFound
from orders.intake.group_commit import Intake
from orders.journal import connect
from orders.model import parse
from orders.queries import orders as order_queries
from orders.states import CodeKind
from tests.bench import MEDICINE
from workers.mapping.current_mapping import unmapped


class Journal:
    """The test's journal, to put things into and to look."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, work: Callable[[AsyncEngine], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            engine = connect(self.url)
            try:
                return await work(engine)
            finally:
                await engine.dispose()

        return asyncio.run(run())

    def not_mapped(self, *codes: tuple[CodeKind, str]) -> None:
        """What is dead is so because these codes are not mapped."""
        why = unmapped(codes)
        told = {"error": str(why), "why": json.dumps(why.stored())}
        self.sql("UPDATE deliveries SET error = :error, why = CAST(:why AS jsonb) WHERE state = 'dead'", **told)

    def sql(self, statement: str, **values: object) -> Any:
        async def work(engine: AsyncEngine) -> Any:
            async with engine.connect() as connection:
                found = await connection.execute(text(statement), values)
                return found.all() if found.returns_rows else None

        return self(work)

    def accept(self, count: int = 1, **fields: object) -> list[UUID]:
        async def work(engine: AsyncEngine) -> list[UUID]:
            intake = Intake(engine, "erp")
            lines = [{"product": MEDICINE, "quantity": 2}]
            bodies = [{"pharmacy": "P1", "reference": uuid4().hex, "lines": lines, **fields} for _ in range(count)]
            orders = [parse(json.dumps(body).encode()) for body in bodies]
            return [found.id for found in await asyncio.gather(*(intake.accept(o, "test") for o in orders))]

        ids: list[UUID] = self(work)
        return ids

    def bury(self, ids: list[UUID], reason: str) -> None:
        for state in ("dispatched", "delivering"):
            self.sql("UPDATE deliveries SET state = :state WHERE order_id = ANY(:ids)", state=state, ids=ids)
        self.sql(
            "UPDATE deliveries SET state = 'dead', reason = :reason, error = 'no', settled_at = now() "
            "WHERE order_id = ANY(:ids)",
            reason=reason,
            ids=ids,
        )

    def owe(self, late: UUID, soon: UUID, unknown: UUID) -> None:
        """A backend that has to decide within a minute: one order too late, one not, one of which nothing is known."""
        self.sql(
            'INSERT INTO backends (name, "window", unique_reference, absent_after, ack_within) '
            "VALUES ('erp', 50, false, 5, 60)"
        )
        for state in ("dispatched", "delivering", "submitted"):
            self.sql("UPDATE deliveries SET state = :state WHERE order_id = ANY(:ids)", state=state, ids=[late, soon])
        for order_id, minutes in ((late, 5), (soon, 0), (unknown, 9)):
            self.sql(
                "UPDATE deliveries SET sent_at = now() - make_interval(mins => :minutes), unsure = true "
                "WHERE order_id = :id",
                id=order_id,
                minutes=minutes,
            )

    def operations(self) -> list[tuple[str, str | None]]:
        return [(row.act, row.reason) for row in self.sql("SELECT act, reason FROM operations ORDER BY id")]


async def orders_behind(engine: AsyncEngine, ids: Collection[UUID]) -> dict[UUID, tuple[UUID, str]]:
    """The order behind each id that was answered, and its reference; the spill may have told one that is no order's."""
    async with engine.connect() as connection:
        known = await connection.execute(text("SELECT id, reference FROM orders WHERE id = ANY(:ids)"), {"ids": [*ids]})
        found = {row.id: (row.id, row.reference) for row in known}
    for each in set(ids) - found.keys():
        try:
            life = await order_queries.order(engine, each)
        except NotFound:
            raise AssertionError(f"{each} was answered and is nowhere") from None
        found[each] = life["id"], life["reference"]
    return found


async def execute(url: str, *statements: str) -> Any:
    """The rows of the last of these statements, by whoever the URL names."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            found = await connection.fetch(statement)
        return found
    finally:
        await connection.close()


def on_engine(url: str, work: Callable[[AsyncEngine], Awaitable[Any]], timeout: float = 5) -> Any:
    async def run() -> Any:
        engine = connect(url, timeout=timeout)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())
