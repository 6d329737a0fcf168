"""A process is known by pid and creation time, and ends with what is left of its session."""

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

from config.embedded.marks import Mark, children, creation, end, find, kill_session
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


def test_the_same_pid_with_another_creation_time_is_another_process(started: list[Process], tmp_path: Path) -> None:
    process = start(started, tmp_path, SLEEPS)
    stranger = dataclasses.replace(process.mark, created=process.mark.created - 3600)
    assert find(stranger) is None
    end(stranger)
    kill_session(stranger)
    assert process.poll() is None


def test_a_zombie_is_dead() -> None:
    popen = subprocess.Popen([sys.executable, "-c", ""])
    mark = Mark("zombie", popen.pid, creation(popen.pid))
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
