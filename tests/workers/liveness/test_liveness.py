"""Whether a worker works: canaries through a real Redis to real workers, and what their silence means."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from sqlalchemy import make_url

from config.embedded.leash import Leash
from config.embedded.process import Process
from config.embedded.valkey import Valkey
from config.settings import Settings
from orders.journal import connect
from tests.cli import CommandLine, command, environment, running
from tests.dispatching import accept
from tests.liveness import QUICK, asked, fresh, kept_out
from tests.machines.roles import above
from tests.waiting import until
from workers.liveness.canary import Hearing
from workers.queue import registry
from workers.queue.app import create_app
from workers.queue.publisher import Publisher


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Settings under which a worker is found to hang after 6.7 s."""
    return settings.replace(**QUICK)


@pytest.fixture
def relais(quick: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys, environment(quick))


@contextmanager
def worker(leash: Leash, settings: Settings, *options: str, **env: str) -> Iterator[tuple[Process, Path]]:
    """A worker that has answered a canary."""
    with running(leash, "worker", command("worker", *options), environment(settings) | env) as (process, log):
        until(lambda: fresh(settings), what="it answers its own canaries")
        yield process, log


def checked(relais: CommandLine) -> tuple[int, list[bool]]:
    done = relais("worker", "--check", "--timeout", "1s", "--json")
    return done.code, [each["answered"] for each in json.loads(done.out)["workers"]]


def descriptors(pid: int, settings: Settings) -> int:
    """Of a worker and its pool, without the connections to the journal: its engines open more when it is busy, and keep
    them.
    """
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    journal = make_url(settings.need("database_url")).port
    to_journal = sum(bool(each.raddr and each.raddr.port == journal) for of in family for each in of.net_connections())
    return sum(each.num_fds() for each in family) - to_journal


@pytest.mark.timeout(240)
def test_a_redis_that_is_killed_again_and_again_costs_a_worker_no_descriptor(
    leash: Leash, quick: Settings, valkey: Valkey
) -> None:
    with worker(leash, quick) as (process, log):
        most = 0
        for kill in range(8):
            sent = asked(quick, "SELECT clock_timestamp()")
            valkey.kill()
            valkey.start()
            heard = f"SELECT count(*) FROM workers WHERE heard_at > '{sent}'"
            until(lambda heard=heard: asked(quick, heard), 60, what="it answers again")
            if kill < 3:  # by now each process has opened what it needs; what follows may be open for a moment
                most = max(most, descriptors(process.pid, quick) + 4)
        until(lambda: descriptors(process.pid, quick) <= most, what=f"it has {most} descriptors at most")
        assert "never retrieved" not in log.read_text()


def test_a_worker_is_on_the_list_while_it_runs_and_answers(leash: Leash, quick: Settings, relais: CommandLine) -> None:
    assert checked(relais) == (1, [])
    asked(quick, f"INSERT INTO workers (name, host, pid) VALUES ('dead', '{socket.gethostname()}', {2**22 - 1})")
    assert checked(relais) == (1, [False])
    with worker(leash, quick) as (process, _):
        assert asked(quick, "SELECT array_agg(pid) FROM workers") == [process.pid]
        done = relais("worker", "--check", "--here")
        assert (done.code, done.out.split(" in ")[0]) == (0, f"{registry.node(process.pid)} answered")
        asked(quick, "INSERT INTO workers (name, host, pid) VALUES ('elsewhere', 'another', 1)")
        assert checked(relais) == (1, [False, True])
        assert relais("worker", "--check", "--here").code == 0
        shown = {each["pid"]: each["age"] for each in json.loads(relais("status", "--json").out)["workers"]}
        assert shown[process.pid] < 5
        assert "canaries" in relais("status").out
        os.kill(process.pid, signal.SIGTERM)
        assert until(lambda: process.poll() is not None, 20, what="it stops")
        assert process.poll() == 0
    assert asked(quick, "SELECT array_agg(name) FROM workers") == ["elsewhere"]


@pytest.mark.timeout(120)
def test_one_that_answers_and_takes_no_orders_is_found_out(leash: Leash, quick: Settings, relais: CommandLine) -> None:
    def deaf() -> bool:
        return relais("worker", "--check", "--timeout", "5s").code == 1

    with worker(leash, quick) as (_, log), kept_out(above(quick.need("database_url"))):
        accept(quick, 3)
        until(deaf, 30, every=0.5, what="it is found out")
        assert checked(relais) == (1, [True])
        done = relais("worker", "--check", "--timeout", "5s")
        assert "answers and takes no orders, for" in done.out
        shown = relais("status", "--check")
        assert (shown.code, "takes no orders since" in " ".join(shown.out.split())) == (1, True)
        assert "some wait in the queues" in log.read_text()
    with worker(leash, quick):
        until(lambda: asked(quick, "SELECT EXISTS (SELECT FROM attempts)"), 30, what="it takes them")
        assert asked(quick, "SELECT bool_and(deaf_since IS NULL) FROM workers")


@contextmanager
def frozen_pool(process: Process, app: Any) -> Iterator[None]:
    """Connected, consuming, and nothing is done."""
    children = psutil.Process(process.pid).children()
    for child in children:
        child.suspend()
    yield
    for child in children:
        child.resume()


@contextmanager
def frozen(process: Process, app: Any) -> Iterator[None]:
    """Connected, and that is all."""
    os.kill(process.pid, signal.SIGSTOP)
    yield
    os.kill(process.pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_one_that_is_connected_and_consumes_nothing_is_silent(
    leash: Leash, quick: Settings, relais: CommandLine
) -> None:
    app = create_app(quick)
    with worker(leash, quick) as (process, log):
        for ails in (frozen_pool, frozen):
            with ails(process, app):
                assert checked(relais) == (1, [False]), ails
                if ails is frozen_pool:
                    until(lambda: "consumes nothing" in log.read_text(), 15, what="it hears its own silence")
            until(lambda: checked(relais) == (0, [True]), 20, what=f"well again after {ails}")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_stores_out_of_reach_say_nothing_about_workers(
    leash: Leash, quick: Settings, relais: CommandLine, valkey: Valkey
) -> None:
    with worker(leash, quick):
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            away = relais("worker", "--check", "--timeout", "1s")
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        assert (away.code, "Redis is out of reach" in away.err) == (2, True)
        until(lambda: checked(relais) == (0, [True]), 20, what="it goes on by itself")
        name = asked(quick, "SELECT current_database()")
        asked(quick, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        away = relais("worker", "--check", "--timeout", "1s")
        assert (away.code, "read-only" in away.err) == (2, True)
    away = relais("worker", "--check", RELAIS_DATABASE_URL="postgresql://u:p@127.0.0.1:1/x")
    assert (away.code, "out of reach" in away.err) == (2, True)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_systemd_hears_of_readiness_of_life_and_of_the_stop(leash: Leash, quick: Settings, data_dir: Path) -> None:
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(data_dir / "notify"))
        manager.setblocking(False)

        def hears(news: bytes) -> bool:
            try:
                while True:
                    heard.append(manager.recv(64))
            except BlockingIOError:
                return news in heard

        with worker(leash, quick, NOTIFY_SOCKET=str(data_dir / "notify")) as (process, _):
            until(lambda: hears(b"WATCHDOG=1"), 10)
            assert heard[0] == b"READY=1"
            with frozen_pool(process, None):
                until(
                    lambda: not heard.clear() and not hears(b"WATCHDOG=1"), 20, every=2.0, what="the watchdog starves"
                )
            heard.clear()
            until(lambda: hears(b"WATCHDOG=1"), 10, what="it is fed again")
            os.kill(process.pid, signal.SIGTERM)
            until(lambda: hears(b"STOPPING=1"), 10)


def test_what_is_heard_of_each_host_and_what_has_gone(quick: Settings) -> None:
    asked(
        quick,
        "INSERT INTO workers SELECT name, host, 1, now() - age, now() - age, now() - answer FROM (VALUES "
        "('a', 'one', interval '1 h', interval '5 s'), ('b', 'one', interval '90 s', NULL), "
        "('c', 'two', interval '1 min', '1 s'), ('d', 'two', interval '11 min', NULL), "
        "('e', 'two', interval '1 h', '11 min')) AS t (name, host, age, answer)",
    )

    async def look() -> list[tuple[str, int, int]]:
        engine = connect(quick.need("database_url"))
        async with engine.connect() as connection:
            await registry.purge(connection)
            found = await registry.liveness(connection)
        await engine.dispose()
        return [(row["host"], row["workers"], int(row["age"])) for row in found]

    assert asyncio.run(look()) == [("one", 2, 90), ("two", 1, 1)]


def test_silence_counts_while_it_could_have_been_broken() -> None:
    now = 0.0
    hearing = Hearing(30, 5, begin=20, clock=lambda: now)
    first = datetime(2026, 1, 5, tzinfo=UTC)

    def ask(until: float, say: Callable[[], None]) -> bool:
        nonlocal now
        while now < until:
            now += 5
            say()
        return hearing.hung

    assert not ask(50, lambda: hearing.asked(None))
    assert ask(60, lambda: hearing.asked(None))  # never a word
    assert not ask(65, lambda: hearing.asked(first))
    assert not ask(95, lambda: hearing.asked(first))
    assert not ask(200, hearing.unasked)  # an outage
    assert not ask(230, lambda: hearing.asked(first))
    assert ask(240, lambda: hearing.asked(first))
    now += 100  # whoever listens was away itself
    assert not ask(now + 5, lambda: hearing.asked(first))
    assert not ask(now + 300, lambda: hearing.asked(first + timedelta(seconds=now)))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_keys_are_left_by_workers_that_are_gone(leash: Leash, quick: Settings, redis_url: str) -> None:
    """Twenty that stop or are killed, each with a canary on its way. (What Celery's gossip binds, kombu sweeps.)"""
    publisher = Publisher(create_app(quick), quick)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:

        def waits(node: str) -> bool:
            publisher.canary(node, datetime.now(UTC), 2)
            return bool(client.llen(f"relais.canary.{node}"))

        for number in range(20):
            with worker(leash, quick) as (process, _):
                if number % 2:
                    os.kill(process.pid, signal.SIGSTOP)
                    until(partial(waits, registry.node(process.pid)), what="a canary waits")
                    process.kill()
                    until(lambda gone=process: gone.poll() is not None)
        until(lambda: not client.keys("relais.canary.*"), 10, what="what waited for the killed expires")
        left = {key: client.type(key) for key in client.keys("*")}
        assert len(left) < 8, left
        bound = [member for key, kind in left.items() if kind == "set" for member in client.smembers(key)]
        assert not [member for member in bound if "canary" in member], bound
