"""The primary of either store is killed under load: its follower takes over, and nothing promised is lost."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.leash import Leash
from config.redis import close_redis, open_redis
from config.redis_keys import SPILL_RECORDS
from config.settings import Settings
from orders.journal import connect
from tests.acceptance.apart import Apart, load
from tests.machines.cluster import Pair, Watched, sql
from tests.machines.servers import seed
from tests.waiting import until
from workers.proof.audit import Proof, prove

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(400)]

SEAL_KEY = base64.b64encode(bytes(range(32))).decode()


class Sealed(Apart):
    """The parts with seals, and their proof at the end."""

    def prepare(self, data_dir: Path) -> None:
        self.env |= {"RELAIS_SEAL_KEY": SEAL_KEY, "RELAIS_ANCHOR": str(data_dir / "anchor"), "RELAIS_SEAL_EVERY": "1"}

    def proof(self) -> Proof:
        """What `relais audit` finds."""

        async def ask() -> Proof:
            engine: AsyncEngine = connect(self.journal)
            try:
                settings = Settings(
                    database_url=self.journal, seal_key=SEAL_KEY, anchor=self.env["RELAIS_ANCHOR"], _env_file=None
                )
                return await prove(engine, settings)
            finally:
                await engine.dispose()

        return asyncio.run(ask())

    def mode(self) -> str:
        """Where intake keeps what comes now."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=10) as answer:
                return str(json.load(answer)["mode"])
        except urllib.error.HTTPError as error:
            return str(json.load(error)["mode"])

    def spilled(self) -> int:
        """How many records the spill holds."""

        async def ask() -> int:
            client = open_redis(self.env["RELAIS_REDIS_URL"], 5)
            try:
                return int(await client.llen(SPILL_RECORDS))
            finally:
                await close_redis(client)

        return asyncio.run(ask())


class UnderSentinels(Sealed):
    """Redis is a primary, its replica and three Sentinels."""

    def servers(self, data_dir: Path) -> tuple[str, str]:
        journal, _ = super().servers(data_dir)
        self.redis = Watched(data_dir)
        for server in self.redis.servers:
            self.hold(server)
        self.redis.settle()
        return journal, self.redis.url


class WithStandby(Sealed):
    """PostgreSQL is a primary and its synchronous standby."""

    def servers(self, data_dir: Path) -> tuple[str, str]:
        _, broker = super().servers(data_dir)
        self.pair = Pair(data_dir)
        seed(self.pair.primary.data_dir)
        self.hold(self.pair.primary)
        self.hold(self.pair.standby)
        self.pair.synchronous()
        return self.pair.url, broker


@contextmanager
def started(kind: Callable[[Path, Leash], Sealed], data_dir: Path, leash: Leash) -> Iterator[Sealed]:
    parts = kind(data_dir, leash)
    parts.prepare(data_dir)
    try:
        parts.sim()
        parts.api()
        parts.worker()
        yield parts
    finally:
        parts.close()


@pytest.fixture
def watched(data_dir: Path, leash: Leash) -> Iterator[UnderSentinels]:
    with started(UnderSentinels, data_dir, leash) as parts:
        assert isinstance(parts, UnderSentinels)
        yield parts


@pytest.fixture
def paired(data_dir: Path, leash: Leash) -> Iterator[WithStandby]:
    with started(WithStandby, data_dir, leash) as parts:
        assert isinstance(parts, WithStandby)
        yield parts


def delivering(parts: Apart, more: int = 100) -> None:
    """Wait until that many orders more are with the ERP."""
    before = len(parts.effects())
    until(lambda: len(parts.effects()) >= before + more, 60, what="orders are delivered")


def test_a_redis_primary_killed_under_load_is_followed_to_its_replica(watched: UnderSentinels) -> None:
    with load(watched) as front:
        delivering(watched)
        watched.redis.primary.kill()
        watched.redis.failed_over()
        delivering(watched)
    assert (set(front.kept), front.refused.total()) == ({"journal"}, 0), "intake notices nothing"
    watched.delivered_once(front.told)
    assert watched.proof().faults == []


def test_what_was_spilled_is_there_after_the_redis_primary_is_lost(watched: UnderSentinels) -> None:
    """The old primary comes back, is told by the Sentinels that it is a replica, and the spill takes orders again."""
    with load(watched) as front:
        watched.postgres.kill()
        until(lambda: front.kept["spill"] > 100, 30, what="orders go to the spill")
        spilled = watched.spilled()
        watched.redis.primary.kill()
        watched.redis.failed_over()
        assert watched.spilled() >= spilled
        refused = front.refused[503]
        until(lambda: front.refused[503] > refused, 30, what="the spill takes nothing without a replica")
        watched.redis.primary.start()
        kept = front.kept["spill"]
        until(lambda: front.kept["spill"] > kept + 50, 60, what="the spill takes orders again")
        watched.postgres.start()
        until(lambda: watched.mode() == "journal", 30, what="the journal is used again")
    watched.delivered_once(front.told)
    assert watched.proof().faults == []


def test_a_postgresql_primary_killed_under_load_is_followed_to_its_standby(paired: WithStandby) -> None:
    with load(paired) as front:
        delivering(paired)
        paired.pair.primary.kill()
        until(lambda: front.kept["spill"] > 20, 30, what="orders go to the spill")
        paired.pair.alone()
        paired.pair.standby.promote()
        before = front.kept["journal"]
        until(lambda: front.kept["journal"] > before + 50, 60, what="orders go to the new primary")
        delivering(paired)
    assert front.refused.total() == 0, "the spill took every order"
    paired.delivered_once(front.told)
    assert sql(paired.pair.standby, "SELECT NOT pg_is_in_recovery()")
    assert paired.proof().faults == []


def test_what_a_standby_that_is_gone_has_never_had_is_in_the_spill(paired: WithStandby) -> None:
    """Commits that wait for it are given up, but are there on the primary: then that is lost too, for good."""
    with load(paired, hands=6) as front:
        delivering(paired)
        paired.pair.standby.kill()
        until(lambda: front.kept["spill"] > 100, 60, what="orders go to the spill")
        only = "SELECT count(*) FROM orders"
        least = paired.spilled()
        given_up = "a commit that waited for the standby is given up"
        until(lambda: sql(paired.pair.primary, only) > front.kept["journal"], 30, 0.2, given_up)
        count = sql(paired.pair.primary, only)
        paired.pair.primary.kill()
        paired.pair.standby.start()
        paired.pair.alone()
        assert sql(paired.pair.standby, only) < count, "the primary had what the standby never had"
        assert paired.spilled() >= least >= 100
        paired.pair.standby.promote()
        before = front.kept["journal"]
        until(lambda: front.kept["journal"] > before + 50, 60, what="orders go to the new primary")
    paired.delivered_once(front.told)
    assert paired.proof().faults == []


def test_a_standby_that_comes_back_ends_the_wait_and_nothing_is_there_twice(paired: WithStandby) -> None:
    with load(paired, hands=6) as front:
        paired.pair.standby.kill()
        until(lambda: front.kept["spill"] > 50, 60, what="orders go to the spill")
        assert paired.mode() == "spill"
        paired.pair.standby.start()
        until(lambda: paired.mode() == "journal", 30, what="the journal is used again")
        before = front.kept["journal"]
        until(lambda: front.kept["journal"] > before + 50, 30, what="orders go to the journal again")
    paired.delivered_once(front.told)
    assert paired.proof().faults == []
