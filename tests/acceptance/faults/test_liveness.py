"""Workers that are there and do nothing are restarted, by `relais up` and by `relais worker --supervise`; an
outage of journal or Redis restarts nobody; and no order is lost by any of it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest

from config.embedded.leash import Leash
from config.embedded.postgres import Postgres
from config.embedded.process import Process
from config.embedded.valkey import Valkey
from config.settings import Settings
from tests.acceptance.running import Relais, up
from tests.cli import command, environment, running
from tests.dispatching import accept
from tests.liveness import QUICK, asked, fresh, kept_out
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE = 2 * (2 * 1.2 + 2) + 3 * 0.5  # s, what follows from these settings
IMPATIENT = {"RELAIS_CANARY_EVERY": "0.5", "RELAIS_BATCH_BUDGET": "2", "RELAIS_WORKER_CONCURRENCY": "2"}


@pytest.fixture
def relais(leash: Leash) -> Iterator[Relais]:
    with up(leash, **IMPATIENT) as running:
        yield running


Harm = Callable[[int, str], AbstractContextManager[None]]


@contextmanager
def frozen_pool(pid: int, owner_url: str) -> Iterator[None]:
    for child in psutil.Process(pid).children():
        child.suspend()
    yield


@contextmanager
def frozen(pid: int, owner_url: str) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    yield


def deaf(pid: int, owner_url: str) -> AbstractContextManager[None]:
    """It goes on answering its canaries."""
    return kept_out(owner_url)


WAYS = pytest.mark.parametrize("harm", [frozen_pool, frozen, deaf])


@WAYS
def test_up_restarts_a_worker_that_consumes_nothing(relais: Relais, harm: Harm) -> None:
    ids = relais.submit(50)
    relais.delivered_once(ids)
    before = relais.pid("worker")
    family = [before, *relais.worker_children()]
    with harm(before, relais.endpoints["owner_url"]):
        ids += relais.submit(50)
        relais.restarted("worker", before, timeout=PATIENCE + 30)
    relais.delivered_once(ids, timeout=60)
    assert not [pid for pid in family if psutil.pid_exists(pid)]
    assert '"event":"hangs","child":"worker"' in (relais.data_dir / "up.log").read_text()


def test_an_outage_restarts_nobody(relais: Relais) -> None:
    """Neither of Redis nor of the journal, gone or frozen for longer than a worker's silence is borne."""
    before = relais.pid("worker")
    ids = relais.submit(20)
    for store in ("valkey", "postgres"):
        relais.kill(store, signal.SIGSTOP)
        held = time.monotonic() + PATIENCE * 1.5
        until(lambda until=held: time.monotonic() > until, PATIENCE * 2, every=0.5)
        relais.kill(store, signal.SIGCONT)
        ids += relais.submit(20)
        relais.delivered_once(ids)
        assert relais.pid("worker") == before, store


def test_orders_go_on_while_redis_is_killed_again_and_again(relais: Relais) -> None:
    """A worker that exits at a bad moment comes back."""
    ids = relais.submit(20)
    for _ in range(10):
        before = relais.kill("valkey")
        ids += relais.submit(10)
        relais.restarted("valkey", before)
    relais.delivered_once(ids)


@pytest.fixture
def quick(settings: Settings) -> Settings:
    # Celery's own limit, which follows from the lease, would replace a frozen process before the worker is judged.
    return settings.replace(**{**QUICK, "lease": 60.0})


def worker_of(settings: Settings) -> int:
    """The pid of the one worker on the list that has answered lately, or 0."""
    return int(asked(settings, "SELECT max(pid) FROM workers") or 0) if fresh(settings) else 0


@WAYS
def test_supervise_restarts_what_hangs_and_what_exits(leash: Leash, quick: Settings, harm: Harm) -> None:
    with running(leash, "worker", command("worker", "--supervise"), environment(quick), ready="ready.") as (
        process,
        log,
    ):
        first = until(lambda: worker_of(quick), 40, what="the worker answers")
        assert first != process.pid
        with harm(first, quick.need("database_url")):
            accept(quick, 3)
            second = until(lambda: worker_of(quick) not in (0, first) and worker_of(quick), 90, what="another one")
        assert f'"event":"hangs","child":"worker","pid":{first}' in log.read_text()
        os.kill(second, signal.SIGKILL)
        third = until(lambda: worker_of(quick) not in (0, second) and worker_of(quick), 60, what="a third")
        stops(process, third)
    assert asked(quick, "SELECT count(*) FROM workers") == 0


def stops(process: Process, worker: int) -> None:
    """Told to stop, it tells the worker and exits as that does, leaving nothing."""
    family = [each.pid for each in psutil.Process(process.pid).children(recursive=True)]
    assert worker in family
    os.kill(process.pid, signal.SIGTERM)
    until(lambda: process.poll() is not None, 40, what="it stops")
    assert process.poll() == 0
    until(lambda: not any(psutil.pid_exists(pid) for pid in family), what="nothing is left")


def test_supervise_leaves_nothing_when_it_is_killed(leash: Leash, quick: Settings) -> None:
    with running(leash, "worker", command("worker", "--supervise"), environment(quick), ready="ready.") as (
        process,
        _,
    ):
        worker = until(lambda: worker_of(quick), 40, what="the worker answers")
        process.kill()
        until(lambda: not psutil.pid_exists(worker), 30, what="the worker ends")


def test_supervise_restarts_nobody_for_an_outage(
    leash: Leash, quick: Settings, valkey: Valkey, postgres: Postgres, data_dir: Path
) -> None:
    with running(leash, "worker", command("worker", "--supervise"), environment(quick), ready="ready.") as (_, log):
        first = until(lambda: worker_of(quick), 40, what="the worker answers")
        for store in (valkey, postgres):
            pids = [store.pid, *(each.pid for each in psutil.Process(store.pid).children())]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                held = time.monotonic() + 12
                until(lambda until=held: time.monotonic() > until, 20, every=0.5)
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
            until(lambda: worker_of(quick), 30, what="the worker answers again")
        assert worker_of(quick) == first
        assert "hangs" not in log.read_text()
