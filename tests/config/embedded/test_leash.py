"""What is on the leash ends with its holder, whatever the holder's death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from config.embedded.leash import Leash
from config.embedded.marks import Mark, birth, children, end, find
from config.embedded.process import Process, Program, module_env
from tests.waiting import until

SLEEPS = "import signal; print('up', flush=True); signal.pause()"

# Logs its end before it goes; the first one lingers, so that the order shows.
LOGS_ITS_END = """
import signal, sys, time
def stop(*_):
    with open(sys.argv[1], "a") as file:
        file.write(sys.argv[2] + "\\n")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
signal.pause()
"""

HOLDER = """
import sys
from pathlib import Path
from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from config.embedded.valkey import Valkey
leash = Leash()
path = Path(sys.argv[1])
for server in (Postgres(path, choose(), {"shared_buffers": "16MB"}), Valkey(path, choose())):
    server.start(leash)
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Process]:
    """A process to put on a leash."""
    process = sleeper(tmp_path)
    yield process
    process.end(grace=0)


def sleeper(tmp_path: Path, name: str = "sleeper", rank: int = 0, code: str = SLEEPS, *args: str) -> Process:
    program = Program(name, (sys.executable, "-c", code, *args), tmp_path / f"{name}.log")
    process = Process(program, rank)
    until(lambda: "up" in program.log.read_text())
    return process


def test_closing_the_leash_ends_what_is_held_last_first(tmp_path: Path) -> None:
    order = tmp_path / "order"
    processes = [
        sleeper(tmp_path, name, rank, LOGS_ITS_END, str(order), name)
        for name, rank in (("third", 0), ("first", 2), ("second", 1))
    ]
    with Leash() as leash:
        for process in processes:
            leash.hold(process.mark)
    assert order.read_text().split() == ["first", "second", "third"]
    assert [process.poll() for process in processes] == [0, 0, 0]


def test_what_was_dropped_is_left_alone(held: Process) -> None:
    with Leash() as leash:
        leash.hold(held.mark)
        leash.drop(held.mark)
    assert held.poll() is None


def test_a_foreign_process_with_the_same_pid_is_left_alone(held: Process) -> None:
    with Leash() as leash:
        leash.hold(Mark("recycled", held.pid, held.mark.born + "0"))
    assert held.poll() is None


def test_a_watchdog_that_was_killed_is_replaced_and_told_everything(held: Process) -> None:
    with Leash() as leash:
        leash.hold(held.mark)
        first = leash.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: psutil.Process(first).status() == psutil.STATUS_ZOMBIE)
        leash.check()
        assert leash.pid != first
    assert held.poll() == -signal.SIGTERM


def test_the_watchdog_outlives_the_signals_of_a_terminal(held: Process) -> None:
    with Leash() as leash:
        leash.hold(held.mark)
        pid = leash.pid
        assert pid is not None
        until(lambda: "SIGINT" in ignored(pid))
        for each in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(pid, each)
        leash.check()
        assert leash.pid == pid
        assert os.getsid(pid) == pid


def ignored(pid: int) -> set[str]:
    """The signals that a process ignores; everything where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return {each.name for each in signal.Signals}
    mask = int(next(line for line in status.read_text().splitlines() if line.startswith("SigIgn")).split()[1], 16)
    return {each.name for each in signal.Signals if mask >> (each.value - 1) & 1}


def test_sigkill_of_the_holder_ends_postgres_and_valkey(data_dir: Path, leash: Leash) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=module_env()
    ) as holder:
        mine = Mark("holder", holder.pid, birth(holder.pid))
        leash.hold(mine)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        family = children(holder.pid)
        assert len(family) > 3
        holder.kill()
    until(lambda: not any(find(mark) for mark in family), timeout=30, what="nothing is left")
    leash.drop(mine)
    log = (data_dir / "logs/postgres.log").read_text()
    assert "received fast shutdown request" in log
    assert "database system is shut down" in log


def test_a_holder_that_never_held_anything_leaves_no_watchdog() -> None:
    with Leash() as leash:
        assert leash.pid is None
    with Leash() as leash:
        leash.check()
        mark = Mark("watchdog", leash.pid or 0, birth(leash.pid or 0))
    assert find(mark) is None
    end(mark)
