"""Orders in dead hands: taken back long before their lease ends where the death is certain, and else not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from config.embedded.marks import birth
from config.redis_keys import NORMAL as NORMALS
from config.redis_keys import queue_of
from config.settings import Settings
from tests.dispatching import accept, depth, dispatching, on_journal
from tests.waiting import until
from workers.trust.life import LIFE_LOCK
from workers.trust.processes import machine, runs

NORMAL = queue_of(NORMALS, "erp")

# A process of a worker: it claims what it is told, and holds it until it is killed or buried.
PROGRAM = """
import asyncio, sys
from uuid import UUID
from config.settings import Settings
from orders.journal import connect
from workers.delivery.claim import claim
from workers.trust.life import ProcessLife, end_process

async def main(url, ids):
    life = ProcessLife(url, end_process)
    lease = await life.lease()
    if ids:
        await claim(connect(url), ids, Settings(_env_file=None, lease=600.0), lease)
    print(lease, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1], [UUID(each) for each in sys.argv[2:]]))
"""


@contextmanager
def holding(settings: Settings, *ids: object) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", PROGRAM, settings.need("database_url"), *map(str, ids)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().strip(), "it holds what it claimed"
            yield process
        finally:
            process.kill()


@pytest.fixture
def patient(settings: Settings) -> Settings:
    return settings.replace(lease=600.0, claim_patience=600.0, worker_concurrency=4)


def popped(settings: Settings, count: int) -> list[Any]:
    """Orders that were dispatched, in a message that somebody has taken from the queue."""
    accept(settings, count)
    until(lambda: states(settings) == {"dispatched": count})
    pop(settings)
    return [row[0] for row in on_journal(settings, "SELECT order_id FROM deliveries")]


def pop(settings: Settings) -> None:
    with redis.Redis.from_url(settings.need("redis_url")) as client:
        until(lambda: client.delete(NORMAL), what="a message")


def states(settings: Settings) -> dict[str, int]:
    return dict(tuple(row) for row in on_journal(settings, "SELECT state, count(*) FROM deliveries GROUP BY state"))


def numbers(settings: Settings, process: subprocess.Popen[str]) -> list[int]:
    return [row[0] for row in on_journal(settings, f"SELECT number FROM processes WHERE pid = {process.pid}")]


def session(settings: Settings, number: int) -> int | None:
    """The pid of PostgreSQL's that holds the lock of a process, in this database."""
    query = f"""SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = {LIFE_LOCK} AND objid = {number}
      AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    return next((row[0] for row in on_journal(settings, query)), None)


def cut(settings: Settings, number: int) -> int:
    pid = session(settings, number)
    assert pid is not None
    on_journal(settings, f"SELECT pg_terminate_backend({pid})")
    return pid


def test_what_a_killed_process_had_claimed_goes_out_again_at_once(patient: Settings) -> None:
    with dispatching(patient):
        ids = popped(patient, 3)
        with holding(patient, *ids) as process:
            assert states(patient) == {"delivering": 3}
            process.kill()
            until(lambda: states(patient) == {"dispatched": 3}, what="dispatched again")
        until(lambda: numbers(patient, process) == [], what="it is buried")
    tried = on_journal(patient, "SELECT outcome, detail, ended_at - started_at < interval '1 min' FROM attempts")
    assert [tuple(row) for row in tried] == [("lease_expired", "the worker that had it died", True)] * 3
    kept = on_journal(patient, "SELECT DISTINCT attempts, unsure, error FROM deliveries")
    assert [tuple(row) for row in kept] == [(1, True, "the worker that had it died")]


def test_what_a_killed_process_had_popped_goes_out_again_at_once(patient: Settings, redis_url: str) -> None:
    with dispatching(patient), holding(patient) as process:
        popped(patient, 3)
        process.kill()
        until(lambda: depth(redis_url, NORMAL) > 0, what="dispatched again")


def test_a_poll_in_dead_hands_goes_out_again_at_once(patient: Settings, redis_url: str) -> None:
    with dispatching(patient):
        ids = popped(patient, 1)
        with holding(patient, *ids) as process:
            on_journal(patient, "UPDATE deliveries SET state = 'submitted', lease = NULL, due_at = now()")
            pop(patient)
            process.kill()
            until(lambda: depth(redis_url, NORMAL) == 1, what="another one does")


def test_a_cut_wire_is_no_death(patient: Settings) -> None:
    with dispatching(patient):
        ids = popped(patient, 3)
        with holding(patient, *ids) as process:
            (number,) = numbers(patient, process)
            (lease,) = on_journal(patient, "SELECT DISTINCT lease FROM deliveries")[0]
            before = cut(patient, number)
            until(lambda: session(patient, number) not in (None, before), what="it has its lock again")
            accept(patient, 1)
            until(lambda: states(patient) == {"delivering": 3, "dispatched": 1}, what="the leader has made a round")
            assert {row[0] for row in on_journal(patient, "SELECT lease FROM deliveries WHERE lease IS NOT NULL")} == {
                lease
            }
            assert numbers(patient, process) == [number]


def test_a_frozen_process_of_this_machine_is_not_dead_even_without_its_session(patient: Settings) -> None:
    with dispatching(patient):
        ids = popped(patient, 1)
        with holding(patient, *ids) as process:
            (number,) = numbers(patient, process)
            process.send_signal(signal.SIGSTOP)
            cut(patient, number)
            with holding(patient) as other:
                other.kill()
                until(lambda: numbers(patient, other) == [], what="the leader has looked who is dead")
            assert (states(patient), session(patient, number)) == ({"delivering": 1}, None)
            process.send_signal(signal.SIGCONT)
            until(lambda: session(patient, number) is not None, what="it has its lock again")
            assert numbers(patient, process) == [number]


def test_a_process_elsewhere_that_is_silent_loses_its_claims_and_ends(patient: Settings) -> None:
    asks_first = patient.replace(erp_idempotent=False, erp_timeout=300.0)
    with dispatching(asks_first):
        ids = popped(asks_first, 1)
        with holding(asks_first, *ids) as process:
            (number,) = numbers(asks_first, process)
            on_journal(asks_first, "UPDATE processes SET machine = 'elsewhere'")
            process.send_signal(signal.SIGSTOP)
            cut(asks_first, number)
            until(lambda: numbers(asks_first, process) == [], what="it is buried")
            (wait,) = on_journal(asks_first, "SELECT due_at - now() FROM deliveries WHERE state = 'accepted'")[0]
            assert 250 < wait.total_seconds() <= 300, "what is on its way to the ERP may take its time-out"
            process.send_signal(signal.SIGCONT)
            assert process.wait(20) == os.EX_TEMPFAIL


def test_who_dies_twice_with_an_order_costs_it_a_pause(patient: Settings) -> None:
    slow = patient.replace(retry_after=300.0)
    with dispatching(slow):
        ids = popped(slow, 1)
        with holding(slow, *ids) as first:
            first.kill()
            until(lambda: states(slow) == {"dispatched": 1}, what="at once")
            pop(slow)
        with holding(slow, *ids) as second:
            second.kill()
            until(lambda: states(slow) == {"accepted": 1}, what="taken back")
        (wait,) = on_journal(slow, "SELECT due_at - now() FROM deliveries")[0]
        assert 250 < wait.total_seconds() <= 300


def test_a_process_is_known_by_its_beginning() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        born = birth(child.pid)
        assert runs(child.pid, born)
        assert not runs(child.pid, f"{born}1"), "another one has its pid"
        child.kill()
        until(lambda: not runs(child.pid, born), what="a zombie is dead")
    assert not runs(child.pid, born)
    assert machine() == machine()
