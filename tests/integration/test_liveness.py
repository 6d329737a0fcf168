"""Whether a worker works: canaries through a real Redis to real workers, and what their silence means."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from config.embedded.leash import Leash
from config.embedded.process import Process
from config.settings import Settings
from tests.acceptance.supervised import query
from tests.cli import CommandLine, command, environment, running
from tests.waiting import until

QUICK = {
    "erp_url": "http://127.0.0.1:1", "canary_every": 0.5, "worker_concurrency": 2,
    "erp_timeout": 0.5, "batch_budget": 0.5, "lease": 3.0,
}  # fmt: skip
PATIENCE = 2 * (0.5 * 1.2 + 2) + 3 * 0.5  # s, what follows from it


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Settings under which a worker is found to hang after `PATIENCE` seconds."""
    return settings.model_copy(update=QUICK)


@pytest.fixture
def relais(quick: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys, environment(quick))


def rows(settings: Settings) -> int:
    return int(query(settings.need("database_url"), "SELECT count(*) FROM workers"))


def age(settings: Settings) -> float | None:
    asked = "SELECT extract(epoch FROM now() - answered_at)::float8 FROM workers"
    found: float | None = query(settings.need("database_url"), asked)
    return found


def checked(relais: CommandLine, timeout: str = "2s") -> tuple[int, list[dict[str, Any]]]:
    done = relais("worker", "--check", "--timeout", timeout, "--json")
    return done.code, json.loads(done.out)["workers"] if done.out else []


def test_a_worker_that_works_answers_and_is_on_the_list_while_it_runs(
    leash: Leash, quick: Settings, relais: CommandLine
) -> None:
    assert relais("worker", "--check").code == 1  # none is there
    with running(leash, "worker", command("worker"), environment(quick)) as (process, log):
        until(lambda: (age(quick) or 99) < 1, what="it answers its own canaries")
        code, (found,) = checked(relais)
        assert (code, found["answered"], found["pid"]) == (0, True, process.pid)
        assert found["seconds"] < 1
        done = relais("worker", "--check", "--here", "--timeout", "2s")
        assert done.out.startswith(f"relais-{process.pid}@{socket.gethostname()} answered in 0.")
        process._popen.send_signal(signal.SIGTERM)
        until(lambda: process.poll() == 0, 20, what="it stops")
    assert rows(quick) == 0
