"""Workers that die, or seem to, at the default lease of a minute: delivery goes on, and nothing takes effect twice."""

import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from config.embedded.leash import Leash
from config.embedded.marks import Mark, birth
from tests.acceptance.running import Relais, load, sql, up
from tests.waiting import until
from workers.trust.life import LIFE_LOCK

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

DEFAULTS = {
    "RELAIS_ERP_TIMEOUT": "10",
    "RELAIS_BATCH_BUDGET": "30",
    "RELAIS_LEASE": "60",
    "RELAIS_CLAIM_PATIENCE": "5",
}


@pytest.fixture(scope="module")
def relais(leash: Leash) -> Iterator[Relais]:
    with up(leash, **DEFAULTS) as running:
        yield running


def test_after_sigkill_of_a_whole_worker_delivery_goes_on_long_before_the_lease_ends(
    relais: Relais, leash: Leash
) -> None:
    second = relais.another_worker(lambda pid: leash.hold(Mark("another worker", pid, birth(pid), grace=20)))
    try:
        until(lambda: sql(relais, "SELECT count(*) FROM workers")[0][0] == 2, 60, what="two workers")
        relais.dial(latency_ms=300)
        ids = relais.submit(600)
        until(lambda: caught(relais), 30, what="it holds orders")
        kill_whole(relais)
        (killed,) = sql(relais, "SELECT now()")[0]
        relais.delivered_once(ids)
        taken = f"SELECT count(*), max(ended_at - '{killed}') FROM attempts WHERE outcome = 'lease_expired'"
        orders, after = sql(relais, taken)[0]
        assert orders > 0, "it had orders in hand"
        assert after.total_seconds() < 30
    finally:
        second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 0


def test_after_sigkill_of_the_only_worker_its_spare_delivers(relais: Relais) -> None:
    """How soon depends on how busy the machine is, for which the bound leaves room; that it is the spare does not."""
    relais.delivered_once(relais.submit(10))
    spare = until(lambda: standing_by(relais), 60, what="a spare waits")
    until(lambda: psutil.Process(spare).memory_info().rss > 90 << 20, 60, what="it has loaded what a worker needs")
    kill_whole(relais)
    began = time.monotonic()
    relais.delivered_once(relais.submit(20))
    took = time.monotonic() - began
    assert relais.pid("worker") == spare
    assert took < 30, took
    until(lambda: standing_by(relais), 60, what="another waits")


def standing_by(relais: Relais) -> int:
    """The pid of the worker's spare, or 0."""
    waiting = [each for each in psutil.Process(relais.process.pid).children() if "--standby" in each.cmdline()]
    return next((each.pid for each in waiting if each.pid != relais.pid("worker")), 0)


def holds(relais: Relais) -> bool:
    """Whether a process of the worker's pool has claimed something."""
    pids = ", ".join(map(str, relais.worker_children()))
    query = f"""SELECT count(*) FROM processes p JOIN deliveries d ON d.state = 'delivering'
      AND left(CAST(d.lease AS text), 8) = lpad(to_hex(p.number), 8, '0') WHERE pid IN ({pids})"""
    return int(sql(relais, query)[0][0]) > 0


def caught(relais: Relais) -> bool:
    """Whether the whole worker stands still with orders in hand; else it goes on."""
    signal_whole(relais, signal.SIGSTOP)
    if not (held := holds(relais)):
        signal_whole(relais, signal.SIGCONT)
    return held


def kill_whole(relais: Relais) -> None:
    signal_whole(relais, signal.SIGKILL)


def signal_whole(relais: Relais, number: int) -> None:
    main = psutil.Process(relais.pid("worker"))
    for process in (main, *main.children(recursive=True)):
        process.send_signal(number)


@pytest.mark.slow
def test_wires_that_are_cut_double_nothing_at_an_erp_without_idempotency(leash: Leash) -> None:
    with up(leash, **DEFAULTS, RELAIS_ERP_IDEMPOTENT="false") as relais:
        relais.dial(idempotent=False, latency_ms=200)
        with load(relais, 1500) as ids:
            for round_ in range(1, 6):
                until(lambda: sql(relais, "SELECT 1 FROM deliveries WHERE state = 'delivering'"), 30, what=f"{round_}")
                cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'relais life'"
                assert sql(relais, cut), "there were sessions to cut"
                until(lambda: all_seen(relais), 30, what="all are there again")
        relais.delivered_once(ids)
        assert sql(relais, "SELECT count(*) FROM attempts WHERE outcome = 'lease_expired'")[0][0] == 0, "nobody died"
        assert {pid for (pid,) in sql(relais, "SELECT pid FROM processes")} >= {*relais.worker_children()}


def all_seen(relais: Relais) -> bool:
    query = f"SELECT count(*) = (SELECT count(*) FROM processes) FROM pg_locks WHERE classid = {LIFE_LOCK} AND granted"
    return bool(sql(relais, query)[0][0])
