"""Rows to seal, seals over them, and the superuser who goes behind the guards."""

from __future__ import annotations

import os

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.access import receipt_keys
from orders.journal import transactional
from tests.bench import Bench, Scripted, always
from workers import operations
from workers.cli.commands.trust.seal import sealed
from workers.delivery.deliver import deliver
from workers.erp.port import Kind
from workers.proof.seal_block import Sealed

KEY = SecretStr("5e" * 32)


async def seal(bench: Bench, why: str | None = None) -> Sealed:
    return await sealed(bench.by("ops"), bench.settings, why)


async def some_life(bench: Bench, orders: int = 3) -> None:
    """A few rows in every sealed table."""
    await bench.accept(orders)
    await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), await bench.dispatch())
    await operations.pause(bench.by("ops"), bench.settings, bench.settings.erp.backend, "stocktaking")
    await operations.resume(bench.by("ops"), bench.settings, bench.settings.erp.backend, "a test")
    await receipt_keys.add(bench.owner, "erp", os.urandom(32), None, trusted)
    await bench.sql(
        "INSERT INTO evidence (backend, lease, kind, conclusive, detail) "
        "SELECT 'erp', gen_random_uuid(), 'refusals', false, 'many' FROM generate_series(1, 2)"
    )
    await bench.sql(
        "INSERT INTO mappings (backend, version, kind, code, target) SELECT 'erp', count(*) + 1, "
        "'pharmacy', concat('P', count(*)), 'C1' FROM mappings"
    )


async def trusted(connection: AsyncConnection) -> None:
    """The act that a change of who is trusted belongs to."""
    await operations.record(connection, "key add", None, {"backend": "erp"})


async def as_superuser(bench: Bench, *statements: str) -> None:
    """Behind the guards."""
    async with transactional(bench.owner).begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            await connection.execute(text(statement))
