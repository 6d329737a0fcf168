"""Minutes of chaos: anything that can be killed is, at random, while orders flow. Run by `make test-all`."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
import redis

from config.embedded.leash import Leash
from config.redis_keys import SPILL_RECORDS
from tests.acceptance.running import Relais, load, up
from tests.soak.intrusions import FLUSH
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(900)]

SECONDS = 120.0
ORDERS = 12_000
ACTS = ["worker", "child", "valkey", "flush", "postgres", "api", "down", "errors", "die", "fit", "fit"]


@pytest.fixture
def relais(leash: Leash) -> Iterator[Relais]:
    with up(leash) as running:
        yield running


def harm(relais: Relais, choose: random.Random) -> str:
    """Do one random bad thing, and say what it was."""
    act = choose.choice(ACTS)
    if act in ("worker", "valkey", "postgres", "api"):
        pid = relais.pid(act)
        if pid and psutil.pid_exists(pid):
            os.kill(pid, signal.SIGQUIT if act == "postgres" else signal.SIGKILL)
    elif act == "child":
        worker = relais.pid("worker")
        for child in psutil.Process(worker).children()[:1] if worker and psutil.pid_exists(worker) else []:
            child.kill()
    elif act == "flush":
        with redis.Redis.from_url(relais.endpoints["redis_urls"]["admin"], socket_timeout=2) as client:
            try:
                client.eval(FLUSH, 1, SPILL_RECORDS)  # who deletes orders of the spill deletes orders
            except redis.exceptions.RedisError:
                return "flush (Redis is out)"
    else:
        knobs = {"down": {"down": True}, "errors": {"error_rate": 0.5}, "die": {"die_before_answer": 0.3}, "fit": {}}
        relais.dial(**knobs[act])
    return act


@pytest.mark.parametrize("seed", [1, 2])
def test_two_minutes_of_chaos_lose_nothing_and_double_nothing(relais: Relais, seed: int) -> None:
    choose = random.Random(seed)
    done: list[str] = []
    with load(relais, ORDERS, patience=300) as ids:
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            done.append(harm(relais, choose))
            threading.Event().wait(choose.uniform(1, 4))
        relais.dial()
    until(lambda: all(relais.pid(name) for name in ("api", "worker", "valkey", "postgres")), 90, what="all is up again")
    relais.delivered_once(ids, timeout=240)
    assert len(done) > 20
