"""A journal with orders in it, with the worker and the dispatcher at hand, and an ERP that answers by script."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.journal import connect
from orders.model import Order
from orders.queries import backends as backend_rows
from orders.queries import orders as order_queries
from tests.intake import journalled
from tests.machines.roles import OWNER, Logins, logged_in_to
from workers.backend_transitions import REGISTER
from workers.delivery.deliver import WorkerResources
from workers.dispatch.deaths import Dead
from workers.dispatch.scheduler import RESCUE, rescue_bounds
from workers.dispatch.take_due import DISPATCH, UNBOUNDED
from workers.erp.port import Capabilities, ErpReceipt, ErpReceiptLine, Kind, Outcome, Submission
from workers.mapping.current_mapping import CurrentMapping

MEDICINE = "3400937318044"
NOBODY = Dead([])
RECEIPT = ErpReceipt("", None, (ErpReceiptLine(1, MEDICINE, 1),))


class Scripted:
    """An ERP whose answers are a function of the call; it remembers what it was asked."""

    def __init__(self, answer: Callable[[UUID], Kind], found: Kind = Kind.ABSENT) -> None:
        self.capabilities = Capabilities()
        self.answer, self.found = answer, found
        self.receipt = RECEIPT
        self.sent: list[UUID] = []
        self.submitted: dict[UUID, Submission] = {}
        self.asked: list[UUID] = []

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        self.sent += [order.id for order in orders]
        self.submitted |= {order.id: order for order in orders}
        return {order.id: outcome(self.answer(order.id), named(RECEIPT, order.id)) for order in orders}

    async def find(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        self.asked += ids
        return {order_id: outcome(self.found, self.receipt) for order_id in ids}

    async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        return await self.find(ids, budget=budget)

    async def probe(self) -> bool:
        return True

    async def close(self) -> None:
        pass


def outcome(kind: Kind, receipt: ErpReceipt = RECEIPT) -> Outcome:
    held = receipt if kind in (Kind.ACCEPTED, Kind.DUPLICATE) else None
    return Outcome(kind, f"{kind}!", 200, held, started=datetime.now(UTC), ended=datetime.now(UTC))


def named(receipt: ErpReceipt, order_id: UUID) -> ErpReceipt:
    """The same with a reference that is this order's alone."""
    return replace(receipt, reference=f"ERP-{order_id}")


def always(kind: Kind) -> Callable[[UUID], Kind]:
    return lambda order_id: kind


class Bench:
    """A journal with orders in it, and the dispatcher's statements at hand; its owner puts in and looks."""

    def __init__(self, engine: AsyncEngine, settings: Settings, logins: Logins) -> None:
        self.engine, self.settings, self.logins = engine, settings, logins
        self.owner, self.worker = logins[OWNER], logins["worker"]

    def by(self, process: str) -> AsyncEngine:
        """The same journal as another process has it."""
        return self.logins[process]

    def under(self, settings: Settings, engine: AsyncEngine | None = None) -> Bench:
        """The same journal under other settings."""
        return Bench(engine or self.engine, settings, self.logins)

    def resources(self, erp: Scripted, **more: Any) -> WorkerResources:
        mapping = CurrentMapping(self.worker, self.settings.erp.backend)
        return WorkerResources(self.worker, erp, self.settings, "test", **{"mapping": mapping, **more})

    async def accept(self, count: int = 1, client: str = "t", **fields: object) -> list[UUID]:
        lines = fields.pop("lines", [{"product": MEDICINE, "quantity": 1}])
        stamp = datetime.now(UTC).isoformat()
        bodies = [
            {"pharmacy": "990000002", "reference": f"{stamp}-{number}", "lines": lines, **fields}
            for number in range(count)
        ]
        sent = [Order.model_validate_json(json.dumps(body)) for body in bodies]
        return await journalled(self.owner, sent, client, self.settings.erp.backend)

    async def run(self, statement: Any, **values: object) -> list[Any]:
        async with self.worker.connect() as connection:
            done = await connection.execute(statement, {"backend": self.settings.erp.backend, **values})
            return list(done.all()) if done.returns_rows else []

    async def dispatch(self, allowance: int = UNBOUNDED) -> list[UUID]:
        await self.run(REGISTER, window=50)
        values = {"patience": self.settings.delivery.claim_patience, "share": self.settings.replay.live_share}
        rows = await self.run(DISPATCH, allowance=allowance, **values)
        return [row.order_id for row in sorted(rows, key=lambda row: row.place)]

    async def rescue(self, grace: float = 0.0, dead: Dead = NOBODY) -> dict[str, int]:
        bounds = rescue_bounds(self.settings)
        values = {"grace": grace, "dead": dead.prefixes, "noticed": dead.noticed, "ran_out": True, **bounds}
        return dict(Counter(row.was for row in await self.run(RESCUE, **values)))

    async def sql(self, statement: str) -> None:
        """As the journal's owner."""
        async with self.owner.connect() as connection:
            await connection.execute(text(statement))

    async def now_due(self) -> None:
        await self.sql(
            "UPDATE deliveries SET due_at = now() WHERE order_id IN (SELECT order_id FROM deliveries "
            "WHERE state IN ('accepted', 'submitted') ORDER BY order_id FOR UPDATE)"
        )

    async def receipt(self, order_id: UUID) -> ErpReceipt:
        """A receipt that is for this order and no other."""
        life = await order_queries.order(self.owner, order_id)
        lines = [
            ErpReceiptLine(n, line["product"], line["quantity"]) for n, line in enumerate(life["order"]["lines"], 1)
        ]
        return named(ErpReceipt("", bytes.fromhex(life["digest"]), tuple(lines)), order_id)

    async def standing(self) -> dict[str, Any]:
        return (await backend_rows.standing(self.owner))[0]


Work = Callable[[Bench], Awaitable[Any]]
OnBench = Callable[[Work], Any]


@asynccontextmanager
async def at_bench(settings: Settings, engine: AsyncEngine) -> AsyncIterator[Bench]:
    """A bench for what works on this engine."""
    async with logged_in_to(settings.need("database_url")) as logins:
        yield Bench(engine, settings, logins)


def with_bench(settings: Settings, work: Work) -> Any:
    """Run work at a bench on the journal of these settings."""

    async def run() -> Any:
        engine = connect(settings.need("database_url"))
        try:
            async with at_bench(settings, engine) as bench:
                return await work(bench)
        finally:
            await engine.dispose()

    return asyncio.run(run())
