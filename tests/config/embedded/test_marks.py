"""A process is known by pid and birth, and ends with what is left of its session."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from config.embedded import process as process_module
from config.embedded.marks import Mark, birth, children, end, find, kill_session
from config.embedded.process import Process, Program
from tests.waiting import until

SLEEPS = "import signal; print('up', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
PARENT = (
    "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); "
    "import signal; print('up', flush=True); signal.pause()"
)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Process]]:
    """Processes to be ended after the test."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.end(grace=0)


def start(started: list[Process], tmp_path: Path, code: str, grace: float = 5.0) -> Process:
    program = Program("child", (sys.executable, "-c", code), tmp_path / f"{len(started)}.log", grace=grace)
    started.append(process := Process(program))
    until(lambda: "up" in program.log.read_text())
    return process


def test_a_mark_finds_its_process_and_survives_json(started: list[Process], tmp_path: Path) -> None:
    process = start(started, tmp_path, SLEEPS)
    found = find(Mark.from_json(process.mark.as_json()))
    assert found is not None
    assert found.pid == process.pid


def test_the_same_pid_with_another_birth_is_another_process(started: list[Process], tmp_path: Path) -> None:
    process = start(started, tmp_path, SLEEPS)
    stranger = dataclasses.replace(process.mark, born=process.mark.born + "0")
    assert find(stranger) is None
    end(stranger)
    kill_session(stranger)
    assert process.poll() is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux counts a process's start from its boot")
@pytest.mark.parametrize("step", [18, -18, 86_400, -86_400])
def test_a_step_of_the_clock_makes_no_stranger_of_a_process(
    started: list[Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """What psutil adds a process's ticks to is the time of boot, which moves with the wall clock."""
    process = start(started, tmp_path, PARENT)
    (child,) = children(process.pid)
    boot_time = psutil._pslinux.boot_time
    before = psutil.Process(process.pid).create_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot_time() + step)
    assert psutil.Process(process.pid).create_time() == pytest.approx(before + step, abs=1)
    assert find(process.mark) is not None
    assert find(child) is not None
    end(process.mark)
    assert process.poll() == -signal.SIGTERM
    until(lambda: find(child) is None)


def test_children_that_come_and_go_hide_none_that_stays(started: list[Process], tmp_path: Path) -> None:
    stays = PARENT.rpartition("; signal.pause()")[0]
    process = start(started, tmp_path, f"{stays}\nwhile True: subprocess.run(['sleep', '0.01'])")
    seen = [{each.pid for each in children(process.pid)} for _ in range(500)]
    assert set.intersection(*seen) != set()
    assert len(set.union(*seen)) > 1, "others came and went"


def test_a_child_of_ours_is_ended_by_its_handle(started: list[Process], tmp_path: Path) -> None:
    process = start(started, tmp_path, SLEEPS)
    process.mark = dataclasses.replace(process.mark, born="")
    assert find(process.mark) is None
    process.end()
    assert process.poll() == -signal.SIGTERM


def test_what_cannot_be_ended_is_told_and_not_waited_for(
    started: list[Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = start(started, tmp_path, SLEEPS)
    monkeypatch.setattr(process_module, "REAPED", 0.1)
    process.sweep()
    assert process.poll() is None
    (record,) = caplog.records
    assert (record.message, record.__dict__["pid"]) == ("cannot be ended", process.pid)


def test_a_zombie_is_dead() -> None:
    popen = subprocess.Popen([sys.executable, "-c", ""])
    mark = Mark("zombie", popen.pid, birth(popen.pid))
    until(lambda: psutil.Process(popen.pid).status() == psutil.STATUS_ZOMBIE)
    assert find(mark) is None
    popen.wait()


def test_a_process_ends_at_the_first_signal_that_it_heeds(started: list[Process], tmp_path: Path) -> None:
    process = start(started, tmp_path, SLEEPS)
    process.end()
    assert process.poll() == -signal.SIGTERM


def test_a_process_that_heeds_no_signal_is_killed_after_its_grace(started: list[Process], tmp_path: Path) -> None:
    process = start(started, tmp_path, DEAF)
    process.end(grace=0.2)
    assert process.poll() == -signal.SIGKILL


def test_hurry_cuts_the_grace_short(started: list[Process], tmp_path: Path) -> None:
    process = start(started, tmp_path, DEAF, grace=60)
    hurry = threading.Event()
    hurry.set()
    began = time.monotonic()
    process.end(hurry=hurry)
    assert process.poll() == -signal.SIGKILL
    assert time.monotonic() - began < 10


def test_what_a_killed_leader_leaves_in_its_session_is_killed(started: list[Process], tmp_path: Path) -> None:
    process = start(started, tmp_path, PARENT)
    (orphan,) = children(process.pid)
    process.kill()
    until(lambda: find(process.mark) is None)
    assert find(orphan) is not None
    process.sweep()
    until(lambda: find(orphan) is None)


def test_a_session_whose_leader_lives_is_left_alone(started: list[Process], tmp_path: Path) -> None:
    process = start(started, tmp_path, PARENT)
    (child,) = children(process.pid)
    kill_session(process.mark)
    assert find(child) is not None


def test_a_process_leads_a_session_of_its_own(started: list[Process], tmp_path: Path) -> None:
    process = start(started, tmp_path, SLEEPS)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
