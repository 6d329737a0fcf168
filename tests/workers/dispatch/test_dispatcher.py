"""The dispatcher as it runs: a thread, a lead that passes on, and a queue that may be gone."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import asyncpg
import redis
from sqlalchemy.ext.asyncio import AsyncConnection

from config.redis_keys import NORMAL as NORMALS
from config.redis_keys import URGENT as URGENTS
from config.redis_keys import queue_of
from config.settings import Settings
from tests.dispatching import accept, depth, dispatching, on_journal
from tests.machines.roles import above
from tests.waiting import until
from workers.dispatch.dispatcher import Dispatcher
from workers.dispatch.leadership import LEADER_LOCK
from workers.dispatch.scheduler import TICK
from workers.queue.app import create_app
from workers.queue.publisher import Publisher

NORMAL, URGENT = queue_of(NORMALS, "erp"), queue_of(URGENTS, "erp")


def leaders(settings: Settings) -> int:
    query = f"""SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {LEADER_LOCK} AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    return int(on_journal(settings, query)[0][0])


def widen(settings: Settings, window: int) -> None:
    """A window wider than the children have hands for: the ERP is not the bottleneck."""
    on_journal(settings, f"INSERT INTO backends (name, \"window\") VALUES ('erp', {window})")


def states(settings: Settings) -> dict[str, int]:
    return dict(tuple(row) for row in on_journal(settings, "SELECT state, count(*) FROM deliveries GROUP BY state"))


def test_what_is_accepted_is_dispatched_at_once(settings: Settings, redis_url: str) -> None:
    slow = settings.replace(claim_patience=600.0, worker_concurrency=32)
    widen(slow, 5000)
    with dispatching(slow):
        until(lambda: leaders(slow) == 1)
        accept(slow, 3, priority="urgent")
        accept(slow, 40)
        until(lambda: states(slow) == {"dispatched": 43})
        assert depth(redis_url, URGENT) >= 1
        assert depth(redis_url, NORMAL) >= 1


def test_while_messages_wait_orders_gather_for_larger_ones(settings: Settings, redis_url: str) -> None:
    busy = settings.replace(claim_patience=600.0, worker_concurrency=2)
    widen(busy, 1000)
    with dispatching(busy), redis.Redis.from_url(redis_url) as client:
        until(lambda: leaders(busy) == 1)
        for _ in range(20):
            accept(busy, 1)
        until(lambda: states(busy).get("dispatched", 0) >= 4)
        accept(busy, 10)
        assert depth(redis_url, NORMAL) == 4, "nobody takes them, so no more than these wait"
        client.lpop(NORMAL)
        until(lambda: states(busy) == {"dispatched": 30})
        assert depth(redis_url, NORMAL) == 4, "and what gathered meanwhile is one message"


def test_where_the_erp_is_the_bottleneck_one_message_waits(settings: Settings, redis_url: str) -> None:
    narrow = settings.replace(claim_patience=600.0, worker_concurrency=2, erp_concurrency=32)
    with dispatching(narrow), redis.Redis.from_url(redis_url) as client:
        until(lambda: leaders(narrow) == 1)
        accept(narrow, 1)
        until(lambda: depth(redis_url, NORMAL) == 1)
        accept(narrow, 40)
        assert depth(redis_url, NORMAL) == 1, "nobody takes it, so no other waits behind it"
        client.lpop(NORMAL)
        until(lambda: states(narrow) == {"dispatched": 41})
        until(lambda: depth(redis_url, NORMAL) == 2, what="each holds no more than a child has hands for")


def test_there_is_one_leader_and_the_lead_passes_on(settings: Settings) -> None:
    with dispatching(settings) as first, dispatching(settings):
        until(lambda: leaders(settings) == 1)
        first.stop()
        until(lambda: leaders(settings) == 1)
        accept(settings, 5)
        until(lambda: states(settings).get("dispatched") == 5)


def test_a_leader_that_loses_the_journal_stands_again(settings: Settings) -> None:
    with dispatching(settings):
        until(lambda: leaders(settings) == 1)

        async def cut() -> None:
            connection = await asyncpg.connect(above(settings.need("database_url")))
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await connection.close()

        asyncio.run(cut())
        accept(settings, 5)
        until(lambda: states(settings).get("dispatched") == 5)


class Failing(Dispatcher):
    """One that is woken in each tick, by the orders that come in, and whose ticks fail."""

    tries: list[float]

    async def _candidate(self, connection: AsyncConnection) -> None:
        self._wake.set()
        self.tries.append(time.monotonic())
        raise ConnectionError


def test_ticks_that_fail_are_a_pause_apart_whoever_wakes_it(settings: Settings) -> None:
    dispatcher = Failing(settings, partial(Publisher, create_app(settings)))
    dispatcher.tries = []
    dispatcher.start()
    until(lambda: len(dispatcher.tries) == 4, what="it tries again")
    began = time.monotonic()
    dispatcher.stop()
    assert time.monotonic() - began < TICK, "told to stop, it does not wait"
    assert all(later - earlier > 0.9 * TICK for earlier, later in pairwise(dispatcher.tries))


def test_a_message_that_redis_lost_is_sent_again(settings: Settings, redis_url: str) -> None:
    hasty = settings.replace(claim_patience=0.5)
    with dispatching(hasty), redis.Redis.from_url(redis_url) as client:
        accept(hasty, 10)
        until(lambda: depth(redis_url, NORMAL) > 0)
        client.flushall()
        until(lambda: depth(redis_url, NORMAL) > 0, what="dispatched again")


def test_while_redis_is_gone_nothing_is_dispatched_over_and_over(settings: Settings) -> None:
    gone = settings.replace(redis_url="redis://127.0.0.1:1/0", claim_patience=0.2)
    with dispatching(gone):
        until(lambda: leaders(gone) == 1)
        accept(gone, 10)
        until(lambda: on_journal(gone, "SELECT 1 FROM backends") != [])
        written = writes(gone)
        until(age_of(2.0), 5)
        assert writes(gone) - written <= 20, "each order was touched twice at most"
        assert sum(states(gone).values()) == 10


def writes(settings: Settings) -> int:
    """Row versions that the table of deliveries has seen."""
    query = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'deliveries'"
    return int(on_journal(settings, query)[0][0])


def age_of(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


def test_a_backends_rate_bounds_what_is_dispatched(settings: Settings) -> None:
    slow = settings.replace(claim_patience=600.0, worker_concurrency=64)
    widen(slow, 10_000)
    on_journal(slow, "UPDATE backends SET rate = 40")
    accept(slow, 200)
    began = time.monotonic()
    with dispatching(slow):
        until(lambda: states(slow).get("dispatched", 0) >= 50, 30)
        gone, seconds = states(slow)["dispatched"], time.monotonic() - began
        assert gone <= 40 * seconds, "the first second's worth has to be waited for, too"
        on_journal(slow, "UPDATE backends SET rate = NULL")
        until(lambda: states(slow) == {"dispatched": 200})
