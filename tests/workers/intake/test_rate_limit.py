"""The rate limit on a real Valkey: shared by processes, costs no request a wait, and fails open."""

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis

from config.embedded.valkey import Valkey
from orders.access.clients import NO_LIMIT
from orders.api.load_shedding import wait
from tests.waiting import auntil
from workers.intake.rate_limit import KEYS, RateLimit

SLOW = 0.01  # orders a second: nothing comes back within a test


@contextlib.asynccontextmanager
async def limits(url: str, count: int = 1, default: float | None = None) -> AsyncIterator[list[RateLimit]]:
    """As many intake processes have one each."""
    made = [RateLimit(url, default) for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            await each.close()


def left(url: str, client: str) -> float | None:
    with redis.Redis.from_url(url) as known:
        found = known.hget(KEYS + client, "left")
        return None if found is None else float(found)


async def told(url: str, client: str, what: float) -> None:
    def so() -> bool:
        found = left(url, client)
        return found is not None and abs(found - what) < 0.5  # a little comes back meanwhile

    await auntil(so, what=f"{client} has {what} left at Redis")


def test_a_burst_is_taken_at_once_and_then_the_client_is_told_when_to_come_back(redis_url: str) -> None:
    async def main() -> None:
        async with limits(redis_url) as [limit]:
            assert [limit.spend("front", 1, SLOW, 10) for _ in range(10)] == [0] * 10
            assert 99 < limit.spend("front", 1, SLOW, 10) <= 100
            assert limit.spend("other", 10, SLOW, 10) == 0
            await told(redis_url, "front", 0)
            await told(redis_url, "other", 0)
            assert 90 < limit.spend("front", 1, SLOW, 10) <= 100

    asyncio.run(main())


def test_the_default_holds_for_clients_without_a_rate_and_two_seconds_worth_is_their_burst(redis_url: str) -> None:
    async def main() -> None:
        async with limits(redis_url, default=SLOW) as [limit]:
            assert limit.spend("front", 1, None, None) == 0
            assert limit.spend("front", 1, None, None) > 99
            assert limit.spend("own", 200, 100, None) == 0
            assert 0 < limit.spend("own", 1, 100, None) <= 0.01
            assert limit.spend("free", 10**9, NO_LIMIT, None) == limit.spend("free", 1, NO_LIMIT, None) == 0

    asyncio.run(main())


def test_what_one_process_lets_through_the_others_know(redis_url: str) -> None:
    async def main() -> None:
        async with limits(redis_url, 2) as [one, other]:
            assert other.spend("front", 1, SLOW, 10) == 0
            await told(redis_url, "front", 9)
            assert one.spend("front", 10, SLOW, 10) == 0
            await told(redis_url, "front", -1)  # ahead by what neither could know: a debt
            await auntil(lambda: other.spend("front", 1, SLOW, 10) > 190, what="the other knows of the debt")
            await auntil(lambda: one.spend("front", 1, SLOW, 10) > 190, what="and so does the one")

    asyncio.run(main())


def test_it_stops_though_its_end_was_swallowed(redis_url: str) -> None:
    """As a client library does when it is cancelled at a bad moment."""

    class Deaf(RateLimit):
        async def _exchange(self) -> None:
            before = inside.is_set()
            with contextlib.suppress(*() if before else (asyncio.CancelledError,)):
                inside.set()
                await asyncio.sleep(60)

    async def main() -> None:
        deaf = Deaf(redis_url)
        assert deaf.spend("front", 1, SLOW, 10) == 0
        await inside.wait()
        await asyncio.wait_for(deaf.close(), 5)

    inside = asyncio.Event()  # belongs to the loop that first waits for it
    asyncio.run(main())


def test_a_process_that_is_new_has_what_the_others_left(redis_url: str) -> None:
    async def main() -> None:
        async with limits(redis_url) as [before]:
            assert before.spend("front", 10, SLOW, 10) == 0
            await told(redis_url, "front", 0)
        async with limits(redis_url) as [after]:
            assert after.spend("front", 1, SLOW, 10) == 0
            await auntil(lambda: after.spend("front", 1, SLOW, 10) > 100)

    asyncio.run(main())


def test_in_the_long_run_all_processes_together_let_the_rate_through(redis_url: str) -> None:
    async def main() -> None:
        async with limits(redis_url, 3) as shared:
            began, taken = time.monotonic(), 0
            while taken < 400:
                taken += sum(each.spend("front", 1, 100, 20) == 0 for each in shared)
                await asyncio.sleep(0)
            assert time.monotonic() - began > 2.5  # 0.9 s if each of the three counted for itself
            assert [each.errors for each in shared] == [0, 0, 0]

    asyncio.run(main())


def test_a_batch_waits_its_turn_and_gets_the_rate(redis_url: str) -> None:
    async def main() -> None:
        async with limits(redis_url) as [limit]:
            began = time.monotonic()
            for _ in range(12):
                await wait(limit, "front", 25, 100, 50)
            assert time.monotonic() - began >= (300 - 50) / 100 - 0.05

    asyncio.run(main())


def test_a_rate_that_is_raised_counts_at_once(redis_url: str) -> None:
    async def main() -> None:
        async with limits(redis_url) as [limit]:
            assert limit.spend("front", 500, SLOW, 10) == 0
            await told(redis_url, "front", -490)
            assert limit.spend("front", 1, SLOW, 10) > 49_000
            await auntil(lambda: limit.spend("front", 1, 10_000, 10) == 0)

    asyncio.run(main())


def test_a_bucket_that_is_full_again_is_forgotten_everywhere_and_nothing_runs_for_it(redis_url: str) -> None:
    async def main() -> None:
        async with limits(redis_url) as [limit]:
            before = asyncio.all_tasks()
            assert limit.spend("front", 100, 200, 100) == 0
            await auntil(lambda: left(redis_url, "front") is not None)
            with redis.Redis.from_url(redis_url) as known:
                assert 0 < known.pttl(KEYS + "front") <= 1000
            await auntil(lambda: left(redis_url, "front") is None)
            await auntil(lambda: asyncio.all_tasks() == before)
            assert limit.spend("front", 100, 200, 100) == 0

    asyncio.run(main())


@pytest.mark.parametrize(("rate", "burst"), [(0.001, 1_000_000), (math.nextafter(NO_LIMIT, 0), 1), (0.001, 1)])
def test_the_outermost_rates_and_bursts_are_counted(redis_url: str, rate: float, burst: int) -> None:
    async def main() -> None:
        async with limits(redis_url) as [limit]:
            assert limit.spend("front", 30_000_000, rate, burst) == 0  # half a minute's worth at the highest rate
            await auntil(lambda: (left(redis_url, "front") or 0) < -1_000_000)
            with redis.Redis.from_url(redis_url) as known:
                assert known.pttl(KEYS + "front") > 0
            assert (limit.errors, limit.spend("front", 1, rate, burst) > 0) == (0, True)

    asyncio.run(main())


def opened(url: str, harm: Callable[[], object], heal: Callable[[], Awaitable[object]]) -> None:
    """A client that is over its rate is let in while Redis is harmed, and limited again when it is healed."""

    async def main() -> None:
        async with limits(url) as [limit]:
            assert limit.spend("front", 10, SLOW, 10) == 0
            await told(url, "front", 0)
            assert limit.spend("front", 1, SLOW, 10) > 0
            harm()
            limit.spend("other", 1, SLOW, 10)
            await auntil(lambda: limit.open)
            assert {limit.spend("front", 1000, SLOW, 10) for _ in range(1000)} == {0.0}
            errors = limit.errors
            await auntil(lambda: limit.errors > errors, what="it goes on trying")
            assert (limit.open, limit.spend("front", 1000, SLOW, 10)) == (True, 0)
            await heal()
            await auntil(lambda: not limit.open)
            await auntil(lambda: limit.spend("front", 10, SLOW, 10) > 0)

    asyncio.run(main())


def test_a_frozen_redis_refuses_nobody_and_is_found_back(server: Valkey) -> None:
    async def thaw() -> None:
        os.kill(server.pid, signal.SIGCONT)

    opened(server.url, lambda: os.kill(server.pid, signal.SIGSTOP), thaw)


def test_a_redis_that_was_killed_refuses_nobody_and_is_found_back(server: Valkey) -> None:
    opened(server.url, server.kill, lambda: asyncio.to_thread(server.start))


def test_a_redis_that_takes_no_writes_refuses_nobody_and_stays_open(server: Valkey) -> None:
    def configure(replicas: int) -> None:
        with redis.Redis.from_url(server.url) as known:
            known.config_set("min-replicas-to-write", replicas)

    opened(server.url, lambda: configure(1), lambda: asyncio.to_thread(configure, 0))


def test_a_key_that_is_not_ours_refuses_nobody(redis_url: str) -> None:
    async def main() -> None:
        with redis.Redis.from_url(redis_url) as known:
            known.set(KEYS + "front", "nonsense")
        async with limits(redis_url) as [limit]:
            assert limit.spend("front", 10, SLOW, 10) == 0
            await auntil(lambda: limit.errors > 0)
            assert limit.spend("front", 10, SLOW, 10) == 0

    asyncio.run(main())


def test_a_redis_that_never_was_there_refuses_nobody_and_a_frozen_one_holds_up_no_end(server: Valkey) -> None:
    async def main(url: str) -> None:
        async with asyncio.timeout(20), limits(url) as [limit]:
            limit.spend("front", 1, SLOW, 1)
            await auntil(lambda: limit.open)
            assert limit.spend("front", 1, SLOW, 1) == 0

    asyncio.run(main("redis://127.0.0.1:1/0"))
    os.kill(server.pid, signal.SIGSTOP)
    asyncio.run(main(server.url))
    os.kill(server.pid, signal.SIGCONT)
