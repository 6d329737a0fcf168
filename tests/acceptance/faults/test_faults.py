"""The promises under fire: one whole Relais, and whatever can be killed is killed while orders flow.

Each test ends with the same proof: every order that was answered 202 took effect at the ERP exactly once, the
journal balances, and no order became a dead letter.
"""

import json
import os
import signal
import threading
from collections.abc import Iterator
from uuid import UUID

import psutil
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.leash import Leash
from config.embedded.marks import Mark, birth
from config.settings import Settings
from orders.queries import orders as order_queries
from tests.acceptance.running import Relais, load, up
from tests.waiting import until
from workers.queue.app import create_app

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

BRISK = {"RELAIS_BATCH_BUDGET": "3", "RELAIS_LEASE": "6"}  # what is lost with a process is rescued soon


@pytest.fixture(scope="module")
def relais(leash: Leash) -> Iterator[Relais]:
    with up(leash, **BRISK) as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(relais: Relais) -> None:
    relais.dial()
    until(lambda: relais.journal(order_queries.backlog_size) == 0, 60, 0.2, "what the last test left is delivered")


def delivered(relais: Relais) -> int:
    return relais.states()["delivered"]


def test_an_order_survives_its_erp(relais: Relais) -> None:
    before = relais.submit(50)
    relais.delivered_once(before)
    relais.dial(down=True)
    during = relais.submit(400)
    until(lambda: relais.circuit() == "open", 20, what="the circuit opened")
    states = relais.states()
    assert states["delivered"] == len(before), "nothing was delivered"
    assert sum(states[state] for state in ("accepted", "dispatched", "delivering")) == len(during)
    relais.dial()
    relais.delivered_once(before + during)
    assert relais.most_attempts() == 1, "the outage cost no attempt"


@pytest.mark.parametrize(
    "knob",
    [
        {"hanging": True},
        {"error_rate": 1.0},
        {"garbage": "html"},
        {"die_before_answer": 0.3},
    ],
)
def test_an_erp_that_fails_in_its_own_way_gets_every_order_once(relais: Relais, knob: dict[str, object]) -> None:
    before = relais.journal(failed)
    relais.dial(**knob)
    ids = relais.submit(120)
    until(lambda: relais.journal(failed) > before, 30, what="attempts met it")
    relais.dial()
    relais.delivered_once(ids)


async def failed(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        query = "SELECT count(*) FROM attempts WHERE outcome <> 'accepted'"
        return int((await connection.execute(text(query))).scalar_one())


def test_an_erp_that_confirms_later_is_polled(relais: Relais) -> None:
    relais.dial(confirm_later=2.0)
    ids = relais.submit(60)
    until(lambda: relais.states()["submitted"] > 0, 20, what="orders are submitted")
    relais.delivered_once(ids)


@pytest.mark.slow
def test_sigkill_of_a_worker_child(relais: Relais) -> None:
    relais.dial(latency_ms=30, latency_sigma=0.5)
    with load(relais, 1500) as ids:
        start = delivered(relais)
        until(lambda: delivered(relais) > start + 50)
        for pid in relais.worker_children():
            os.kill(pid, signal.SIGKILL)
    relais.delivered_once(ids)


@pytest.mark.slow
def test_sigkill_of_the_whole_worker(relais: Relais) -> None:
    relais.dial(latency_ms=30, latency_sigma=0.5)
    with load(relais, 1500) as ids:
        start = delivered(relais)
        until(lambda: delivered(relais) > start + 50)
        children = relais.worker_children()
        before = relais.kill("worker")
        for pid in children:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
        relais.restarted("worker", before)
    relais.delivered_once(ids)


def test_a_worker_frozen_past_its_lease_changes_nothing_when_it_comes_back(relais: Relais) -> None:
    ids: list[UUID] = []
    assert any(came_back(relais, ids) for _ in range(3)), "a worker comes back, to settle what is no longer its own"
    relais.dial()
    relais.delivered_once(ids)


def came_back(relais: Relais, ids: list[UUID]) -> int:
    """How many of the workers that were frozen with orders in their hands come back after these were rescued.

    All have worked before: Celery ends one that it has not heard of four seconds after its start.
    """
    relais.dial()
    until(lambda: ids.extend(relais.submit(40)) or relais.worked() >= {*relais.worker_children()}, 60, what="all work")
    relais.dial(latency_ms=200)
    ids += relais.submit(400)
    until(lambda: relais.states()["delivering"] > 0, what="a worker holds orders")
    frozen = relais.worker_children()
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: relais.states()["delivering"] == 0, 30, what="their leases ran out and they were rescued")
    return sum(thawed(pid) for pid in frozen)


def thawed(pid: int) -> bool:
    """False for a process that Celery has ended meanwhile: one that was still starting, or took too long a time."""
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_frozen_leader_loses_the_lead_to_another_worker(relais: Relais, leash: Leash) -> None:
    frozen = [relais.pid("worker"), *relais.worker_children()]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    second = relais.another_worker(lambda pid: leash.hold(Mark("another worker", pid, birth(pid), grace=20)))
    try:
        relais.delivered_once(relais.submit(200), timeout=60)
    finally:
        assert thawed(frozen[0]), "the leader comes back and leads no more"
        for pid in frozen[1:]:
            thawed(pid)
        second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 0
    relais.delivered_once(relais.submit(50))


def test_sigkill_of_redis_and_the_loss_of_all_it_held(relais: Relais) -> None:
    relais.dial(latency_ms=30, latency_sigma=0.5)
    with load(relais, 1500) as ids:
        start = delivered(relais)
        until(lambda: delivered(relais) > start + 50)
        before = relais.kill("valkey")
        relais.restarted("valkey", before)
        with redis.Redis.from_url(relais.endpoints["redis_urls"]["admin"]) as client:
            until(lambda: answers(client), 10, what="Redis answers again")
            client.flushall()
    relais.delivered_once(ids)


def answers(client: "redis.Redis[bytes]") -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.RedisError:
        return False


def test_flushall_again_and_again(relais: Relais) -> None:
    with load(relais, 1000) as ids, redis.Redis.from_url(relais.endpoints["redis_urls"]["admin"]) as client:
        for _ in range(20):
            client.flushall()
            threading.Event().wait(0.1)
    relais.delivered_once(ids)


def test_intake_does_not_notice_that_redis_is_frozen(relais: Relais) -> None:
    frozen = relais.kill("valkey", signal.SIGSTOP)
    try:
        ids = relais.submit(300)
    finally:
        os.kill(frozen, signal.SIGCONT)
    relais.delivered_once(ids)


def test_forged_and_repeated_messages_change_no_orders_fate(relais: Relais) -> None:
    relais.dial(down=True)
    ids = relais.submit(30)
    until(lambda: relais.circuit() == "open", 20, what="the circuit opened")
    app = create_app(Settings(redis_url=relais.endpoints["redis_urls"]["admin"], _env_file=None))
    for _ in range(5):
        app.tasks["relais.deliver"].apply_async(args=("erp", [str(order_id) for order_id in ids]))
        app.tasks["relais.deliver"].apply_async(args=("erp", ["00000000-0000-7000-8000-000000000000"]))
    relais.dial()
    relais.delivered_once(ids)
    app.close()


def test_postgresql_killed_under_load(relais: Relais) -> None:
    with load(relais, 1500) as ids:
        start = delivered(relais)
        until(lambda: delivered(relais) > start + 50)
        before = relais.kill("postgres", signal.SIGQUIT)  # immediate shutdown: no checkpoint, crash recovery
        relais.restarted("postgres", before)
    relais.delivered_once(ids)


@pytest.mark.slow
def test_the_api_killed_mid_request(relais: Relais) -> None:
    with load(relais, 2000) as ids:
        for _ in range(2):
            start = sum(relais.states().values())
            until(lambda start=start: sum(relais.states().values()) > start + 100)  # type: ignore[misc]
            before = relais.kill("api")
            relais.restarted("api", before)
    assert len(set(ids)) == len(ids), "asking again made no second order"
    relais.delivered_once(ids)


def test_everything_killed_at_once_and_found_again(relais: Relais) -> None:
    relais.dial(down=True)
    ids = relais.submit(300)
    for name in ("api", "worker", "valkey", "postgres"):
        relais.kill(name, signal.SIGQUIT if name == "postgres" else signal.SIGKILL)
    until(lambda: ready(relais), 60, what="the intake is ready again")
    ids += relais.submit(50)
    relais.dial()
    relais.delivered_once(ids)
    until(lambda: relais.proof().chain.unsealed == 0, 30, what="all is sealed")
    proof = relais.proof()
    assert (proof.faults, proof.chain.anchored) == ([], proof.chain.blocks)


def ready(relais: Relais) -> bool:
    try:
        return sum(relais.states().values()) > 0
    except Exception:
        return False


def test_flower_never_shows_what_is_in_an_order(relais: Relais) -> None:
    ids = relais.submit(5)
    relais.delivered_once(ids)
    log = (relais.data_dir / "logs" / "worker.log").read_text() + (relais.data_dir / "logs" / "api.log").read_text()
    assert relais.key not in log
    assert json.dumps("lines")[1:-1] + '":' not in log
