"""A backlog and the leader's steps that run it down, one by one; and the backends that it may be run down to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from orders.queries import replays as replay_queries
from tests.bench import Bench, Scripted, always
from workers.backend_transitions import REGISTER
from workers.delivery.deliver import deliver
from workers.erp.port import Kind
from workers.replay import commands
from workers.replay.choice import Choice
from workers.replay.controller import PaceLimits, steer

BACKLOG = Choice(backend="erp")
BACKENDS = """
default = "erp"
[backends.erp]
url = "http://127.0.0.1:1"
[backends.other]
url = "http://127.0.0.1:1"
"""


class Recovery:
    """A bench with a backlog, and the leader's two steps at hand: steer, then dispatch and deliver."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.erp = bench, Scripted(always(Kind.ACCEPTED))

    async def steer(self) -> PaceLimits:
        async with self.bench.worker.connect() as connection:
            return await steer(connection, self.bench.settings)

    async def round(self) -> int:
        """What a tick and a worker do; how many orders were taken to the ERP."""
        await self.steer()
        sent = await self.bench.dispatch()
        await deliver(self.bench.resources(self.erp), sent)
        await self.steer()
        return len(sent)

    async def rounds(self) -> list[int]:
        sizes = []
        while size := await self.round():
            sizes.append(size)
        return sizes

    async def stands(self) -> dict[str, Any]:
        return (await replay_queries.standing(self.bench.owner))[-1]

    async def start(self, **options: Any) -> int | None:
        return (
            await commands.start(self.bench.by("ops"), BACKLOG, **{"hold": False, "reason": "a test", **options})
        ).id


async def backlog(bench: Bench, count: int) -> list[UUID]:
    ids = []
    for start in range(0, count, 100):
        ids += await bench.accept(min(100, count - start))
    await bench.run(REGISTER, window=200)
    return ids
