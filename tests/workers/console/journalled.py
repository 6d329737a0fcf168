"""What the pages of the console show: the dead and the delivered, and acts that nobody watches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from orders.queries import causes as cause_queries
from tests.bench import Bench
from tests.workers.console.site import Site
from workers.erp.sim import Dial, Simulator

BORN = text("""
WITH taken AS (
  INSERT INTO orders (id, pharmacy, reference, body, digest, client)
  SELECT gen_random_uuid(), '990000002', gen_random_uuid(), '{}', 'd', 't' FROM generate_series(1, :n) RETURNING id
), counted AS (SELECT id, row_number() OVER () AS i FROM taken)
INSERT INTO deliveries (order_id, state, backend, priority, cut_off, reason, error, status, settled_at)
SELECT id, 'dead', 'erp', 1, 'infinity', 'refused',
  format('RUPTURE %s: CIP %s', chr(97 + CAST(i % :kinds AS int)), i), 422,
  now() - i * make_interval(secs => :each) FROM counted
""")
Work = Callable[[Site, Bench], Awaitable[None]]


async def die(site: Site, n: int, kinds: int = 1, each: float = 1) -> list[dict[str, Any]]:
    """So many dead letters of so many causes; the groups."""
    async with site.owner.connect() as connection:
        await connection.execute(BORN, {"n": n, "kinds": kinds, "each": each})
        return await cause_queries.groups(connection)


@asynccontextmanager
async def simulated(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with Simulator("127.0.0.1", 0, tmp_path / "erp.jsonl", Dial()) as sim:
        yield sim


class Quiet:
    sees = ""

    async def at(self, done: int, total: int | None, note: str = "") -> None:
        pass
