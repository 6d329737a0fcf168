"""The demo, shortened: it plays, it balances, it leaves nothing running; and its ledger misses nothing."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from config.embedded.leash import Leash
from config.embedded.marks import Mark, birth
from orders.states import Reason
from tests.acceptance.running import left_running
from tests.waiting import until
from tests.workers.cli.json_shapes import faults_of
from workers.demo.ledger import DemoLedger, Promise, Row, balance
from workers.erp.sim import Effect
from workers.proof import audit

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

DEMO = ["-m", "workers.cli"]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(leash: Leash, tmp_path: Path) -> Iterator[Start]:
    """Start a demo whose output goes to files in `tmp_path`; it ends with the test."""
    running = []

    def begin(*arguments: str, code: Sequence[str] = DEMO, **env: str) -> "subprocess.Popen[bytes]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RELAIS_")}
        with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, *code, *arguments],
                env={**kept, **env},
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
            )
        running.append(process)
        leash.hold(Mark("relais demo", process.pid, birth(process.pid), grace=30))
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_the_weekend_in_short(start: Start, data_dir: Path, tmp_path: Path) -> None:
    options = ("--orders", "400", "--seconds", "12", "--json")
    code = start("--data-dir", str(data_dir), "demo", *options, FORCE_COLOR="1").wait(200)
    story = (tmp_path / "err").read_text()
    assert code == 0, story
    ledger = json.loads((tmp_path / "out").read_text())
    assert faults_of("demo", ledger) == []
    assert ledger["balanced"]
    assert ledger["promised"] == ledger["accepted"] == 400
    assert ledger["dead"] == {"expired": 5, "invalid": 5}
    assert ledger["delivered"] == ledger["effects"] == 390
    assert (ledger["backlog"], ledger["duplicates"], ledger["lost"], ledger["altered"]) == (0, 0, 0, 0)
    assert ledger["attempts_of_the_outage"] == 0
    assert ledger["sent_again_and_recognised"] > 0
    assert ledger["references_reused_and_refused"] == 1
    assert "Sat 19 Oct 11:40" in story
    assert "\x1b" not in story, "no control codes off a terminal"
    assert story.isascii()
    assert (data_dir / "erp-sim.jsonl").exists(), "a directory that was given stays"
    refusals = "NoPermission|NOPERM|InsufficientPrivilege|permission denied"
    for log in (data_dir / "logs").iterdir():
        assert re.search(refusals, log.read_text(errors="replace")) is None, f"a part was refused something: {log}"
    assert left_running(data_dir) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(start: Start, tmp_path: Path, how: signal.Signals) -> None:
    process = start("demo", "--orders", "400", "--seconds", "40", TMPDIR=str(tmp_path))
    tmp_path.chmod(0o711)  # PostgreSQL runs as another user where we are root
    until(lambda: b"The attack" in (tmp_path / "out").read_bytes(), 90, what="the second act")
    process.send_signal(how)
    assert process.wait(60) == 130
    assert left_running(tmp_path) == []
    assert list(tmp_path.glob("relais-demo-*")) == []


@pytest.mark.slow
def test_an_act_that_does_not_happen_is_a_failure(start: Start, data_dir: Path, tmp_path: Path) -> None:
    code = (
        "import sys, workers.demo, workers.demo.simulated as story; from pathlib import Path; story.DOWN = story.FIT;"
    )
    code += "sys.exit(workers.demo.run(orders=300, seconds=10, data_dir=Path(sys.argv[1])))"
    assert start(str(data_dir), code=["-c", code]).wait(200) == 1
    assert "the circuit opened" in (tmp_path / "out").read_text()
    assert left_running(data_dir) == []


def test_a_directory_with_data_is_not_touched(start: Start, tmp_path: Path) -> None:
    assert start("--data-dir", str(tmp_path), "demo").wait(60) == 2
    assert sorted(each.name for each in tmp_path.iterdir()) == ["err", "out"]


# The ledger alone: three accounts, one of which says something else.

FINE, DEAD = UUID(int=1), UUID(int=2)
PROMISES = {FINE: Promise(b"fine"), DEAD: Promise(b"dead", Reason.EXPIRED)}
ROWS = {FINE: Row(b"fine", "delivered", None, 1, 0), DEAD: Row(b"dead", "dead", "expired", 0, 0)}
PROVEN = audit.Ledger(accepted=2, backlog=0, delivered=1, dead=1, cancelled=0, discarded=0, faults=())


def effect(order: UUID, digest: bytes) -> Effect:
    return {
        "id": str(order),
        "digest": digest.hex(),
        "received_at": "",
        "reference": "",
        "pharmacy": "",
        "order_reference": "",
        "lines": [],
    }


EFFECTS = [effect(FINE, b"fine")]


def drawn(**changed: Any) -> DemoLedger:
    accounts = {"promises": PROMISES, "proven": PROVEN, "rows": ROWS, "effects": EFFECTS, **changed}
    return balance(**accounts)


def test_accounts_that_agree_balance() -> None:
    ledger = drawn()
    assert ledger.balanced
    assert (ledger.delivered, ledger.effects, ledger.dead, ledger.lost) == (1, 1, {"expired": 1}, 0)


def test_a_dead_letter_that_somebody_gave_up_is_one_still() -> None:
    rows = {**ROWS, DEAD: Row(b"dead", "discarded", "expired", 0, 0)}
    ledger = drawn(rows=rows, proven=replace(PROVEN, dead=0, discarded=1), given_up={DEAD})
    assert ledger.balanced
    assert ledger.dead == {"expired": 1}


def test_an_attempt_that_ended_with_its_worker_is_not_the_outages() -> None:
    assert drawn(rows={**ROWS, FINE: Row(b"fine", "delivered", None, 2, 1)}).balanced


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"effects": []}, "lost"),
        ({"rows": {**ROWS, FINE: Row(b"fine", "accepted", None, 0, 0)}}, "lost"),
        ({"effects": EFFECTS * 2}, "more than once"),
        ({"effects": [*EFFECTS, effect(UUID(int=3), b"whose?")]}, "nobody was told"),
        ({"effects": [*EFFECTS, effect(DEAD, b"dead")]}, "unfit"),
        ({"effects": [effect(FINE, b"other")]}, "altered"),
        ({"rows": {**ROWS, FINE: Row(b"other", "delivered", None, 1, 0)}}, "altered"),
        ({"rows": {DEAD: ROWS[DEAD]}}, "not in the journal"),
        ({"rows": {**ROWS, UUID(int=3): Row(b"", "delivered", None, 1, 0)}}, "nobody was told"),
        ({"rows": {**ROWS, FINE: Row(b"fine", "dead", "refused", 1, 0)}}, "not the dead letter"),
        ({"rows": {**ROWS, DEAD: Row(b"dead", "delivered", None, 1, 0)}}, "not the dead letter"),
        ({"rows": {**ROWS, DEAD: Row(b"dead", "dead", "invalid", 0, 0)}}, "not the dead letter"),
        ({"rows": {**ROWS, FINE: Row(b"fine", "delivered", None, 2, 0)}}, "by the outage"),
        ({"rows": {**ROWS, FINE: Row(b"fine", "delivered", None, 4, 3)}}, "needed 4 attempts"),
        ({"proven": audit.Ledger(2, 1, 0, 1, 0, 0, ())}, "still in the backlog"),
        ({"proven": audit.Ledger(2, 0, 0, 1, 1, 0, ())}, "nobody asked"),
        ({"rows": {**ROWS, DEAD: Row(b"dead", "discarded", "expired", 0, 0)}}, "given up, and nobody asked"),
        ({"given_up": {DEAD}}, "given up, and nobody asked"),
        ({"proven": audit.Ledger(3, 0, 1, 1, 0, 0, ("orders without a delivery: 1",))}, "without a delivery"),
        ({"before": 3}, "attempts that the outage cost before the replay: 3"),
        ({"surprises": ["an order was answered 500"]}, "answered 500"),
    ],
)
def test_whatever_differs_is_named(changed: dict[str, Any], what: str) -> None:
    ledger = drawn(**changed)
    assert not ledger.balanced
    assert what in " ".join(ledger.faults)
