"""`make demo-tryton`, shortened: it plays, it balances, and it leaves nothing running."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.running import left_running
from tests.cli import clean_environment

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(500)]


def test_the_weekend_in_short_with_a_tryton(data_dir: Path) -> None:
    argv = [sys.executable, "-m", "tests.conformance.whole.weekend", "--data-dir", str(data_dir)]
    argv += ["--orders", "150", "--seconds", "70", "--json"]
    done = subprocess.run(argv, env=clean_environment({}), capture_output=True, text=True, timeout=450, check=False)
    assert done.returncode == 0, done.stderr
    ledger = json.loads(done.stdout)
    assert ledger["promised"] == ledger["accepted"] == 150
    assert ledger["delivered"] == ledger["effects"] == 140
    assert (ledger["backlog"], ledger["duplicates"], ledger["lost"], ledger["altered"]) == (0, 0, 0, 0)
    assert "that it had acknowledged. They go again." in done.stderr
    assert done.stderr.count("unknown product") == done.stderr.count("short-lived") == 5
    assert left_running(data_dir) == []
