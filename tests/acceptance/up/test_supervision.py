"""`relais up` with small children: real PostgreSQL and Valkey, real signals, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from config.embedded.leash import Leash
from config.embedded.marks import find
from config.settings import ENDPOINTS
from tests.acceptance.supervised import Up, answers, nothing_left, query
from tests.constants.turned import turned
from tests.machines.clock import Clock
from tests.machines.servers import seed
from tests.waiting import until

pytestmark = pytest.mark.acceptance

# `relais up` with two children of a few lines: one that heeds SIGTERM and one that need not.
SMALL_UP = """
import sys
from pathlib import Path
from config.embedded.process import Program
from config.embedded.ready import ReadyLine
from config.embedded.child import Backoff, Child
from config.settings import Settings
from workers.up import run as up

CODE = "import signal; {deaf}; print('ready', flush=True)\\nwhile True: signal.pause()"

def children(stack):
    logs = stack.settings.files.data_dir / "logs"
    deaf = {"heeds": "0", "deaf": "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if "deaf" in sys.argv else "0"}
    for name, does in deaf.items():
        program = Program(name, (sys.executable, "-c", CODE.format(deaf=does)), logs / f"{name}.log", grace=300)
        line = ReadyLine(program.log)
        yield Child(program, line, line.begin)

if "stepped" in sys.argv:  # what a step of the wall clock by a day is to psutil
    import psutil
    booted = psutil._pslinux.boot_time
    psutil._pslinux.boot_time = lambda: booted() + 86400

original = up.up
up.up = lambda settings, **more: original(settings, children=children, backoff=Backoff(first=0.1), **more)
sys.exit(up.run(Settings(data_dir=Path(sys.argv[1]), _env_file=None)))
"""


@pytest.fixture
def start(data_dir: Path, leash: Leash) -> Iterator[Callable[..., Up]]:
    """Starts a `relais up` on the test's data directory, with a journal that is there already unless told otherwise."""
    runs: list[Up] = []

    def start(*words: str, initdb: bool = False) -> Up:
        if not (initdb or (data_dir / "postgres").exists()):
            seed(data_dir)
        runs.append(up := Up(data_dir, leash, [sys.executable, "-c", SMALL_UP, str(data_dir), *words]))
        return up

    yield start
    for up in reversed(runs):
        up.close()


def keep(offered: dict[str, Any]) -> None:
    """Put something into the journal and the queue."""
    query(offered["owner_url"], "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (42)")
    with redis.Redis.from_url(offered["redis_urls"]["admin"]) as client:
        client.set("kept", "42")


def assert_kept(offered: dict[str, Any]) -> None:
    assert query(offered["owner_url"], "SELECT n FROM kept") == 42
    with redis.Redis.from_url(offered["redis_urls"]["admin"], decode_responses=True) as client:
        assert client.get("kept") == "42"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_stops_all_in_order_and_the_next_run_finds_data_and_ports(
    start: Callable[..., Up], number: int
) -> None:
    first = start()
    offered = first.ready()
    assert first.names() == {"postgres", "valkey", "heeds", "deaf"}
    assert stat.S_IMODE((first.data_dir / ENDPOINTS).stat().st_mode) == 0o600
    keep(offered)
    family = first.family()
    first.signal(number)
    assert first.exit_code() == 0, first.said()
    nothing_left(family, timeout=5)
    assert not (first.data_dir / ENDPOINTS).exists()
    stops = re.findall(r'"event":"stopped","child":"([^"]+)"', first.said())
    assert stops == ["deaf", "heeds", "valkey", "postgres"]
    if number == signal.SIGINT:
        again = start().ready()
        assert (again["database_url"], again["redis_url"]) == (offered["database_url"], offered["redis_url"])
        assert_kept(again)


def test_sigkill_of_up_leaves_nothing_and_the_next_run_finds_the_data(start: Callable[..., Up]) -> None:
    first = start()
    keep(first.ready())
    family = first.family()
    first.signal(signal.SIGKILL)
    first.exit_code()
    nothing_left(family)
    assert_kept(start().ready())


@pytest.mark.parametrize("words", [(), ("stepped",)], ids=["", "a day later by the clock"])
def test_sigkill_of_up_and_watchdog_is_cleaned_up_by_the_next_run(start: Callable[..., Up], words: list[str]) -> None:
    first = start()
    keep(first.ready())
    family, watchdog = first.family(), first.watchdog()
    for pid in (watchdog, first.process.pid):
        os.kill(pid, signal.SIGKILL)
    first.exit_code()
    survivors = [mark for mark in family if mark.pid != watchdog and find(mark)]
    assert len(survivors) > 4
    second = start(*words)
    offered = second.ready()
    assert not any(find(mark) for mark in survivors)
    assert "ending a survivor" in second.said()
    assert_kept(offered)


def test_sigkill_of_up_right_before_the_next_run(start: Callable[..., Up]) -> None:
    first = start()
    keep(first.ready())
    first.signal(signal.SIGKILL)
    first.exit_code()
    assert_kept(start().ready())


def test_a_second_up_on_the_same_directory_says_who_holds_it(start: Callable[..., Up]) -> None:
    first = start()
    first.ready()
    second = start()
    assert second.exit_code() == 2
    assert f"in use by process {first.process.pid}, started" in " ".join(second.said().split())
    assert first.ready()
    assert first.process.poll() is None


def test_whatever_is_killed_comes_back_with_its_data_though_the_clock_stands_still(
    start: Callable[..., Up], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(data_dir)
    clock = Clock(data_dir)
    with monkeypatch.context() as here:
        for name, value in {**turned(), **clock.env}.items():
            here.setenv(name, value)
        up = start()
    offered = up.ready()
    keep(offered)
    clock.stop()
    before = {name: up.pid(name) for name in ("postgres", "valkey", "heeds")}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(name in up.names() and up.pid(name) != pid for name, pid in before.items()), timeout=30)
    until(lambda: answers(offered["database_url"], "SELECT 1"), timeout=30)
    assert_kept(offered)
    up.signal(signal.SIGINT)
    assert up.exit_code() == 0, up.said()


@pytest.mark.parametrize("name", ["postgres", "valkey", "heeds"])
def test_what_is_killed_while_up_starts_comes_back(start: Callable[..., Up], name: str) -> None:
    up = start()
    until(lambda: (up.data_dir / "run.json").exists() and name in up.names(), timeout=60)
    before = up.pid(name)
    os.kill(before, signal.SIGKILL)
    offered = up.ready()
    until(lambda: name in up.names() and up.pid(name) != before, timeout=30, what="another runs")
    keep(offered)
    up.signal(signal.SIGINT)
    assert up.exit_code() == 0, up.said()


def test_a_second_ctrl_c_does_not_wait_for_the_deaf(start: Callable[..., Up]) -> None:
    up = start("deaf")
    up.ready()
    family = up.family()
    up.signal(signal.SIGINT)
    until(lambda: not (up.data_dir / ENDPOINTS).exists())
    up.signal(signal.SIGINT)
    assert up.exit_code(timeout=30) == 0, up.said()
    nothing_left(family, timeout=5)


def test_ctrl_c_while_it_starts_leaves_nothing(start: Callable[..., Up]) -> None:
    up = start(initdb=True)
    until(lambda: (up.data_dir / "run.json").exists() and "postgres" in up.names(), timeout=60)
    family = up.family()
    up.signal(signal.SIGINT)
    assert up.exit_code() == 0, up.said()
    until(lambda: not any(find(mark) for mark in family))
    assert not (up.data_dir / ENDPOINTS).exists()


def test_a_damaged_journal_is_told_in_a_few_lines(start: Callable[..., Up], data_dir: Path) -> None:
    (data_dir / "postgres" / "data").mkdir(parents=True)
    up = start()
    assert up.exit_code() == 1
    assert re.search(r"postgres ended with \d before it was ready", " ".join(up.said().split()))
    assert "Traceback" not in up.said()
