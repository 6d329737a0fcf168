"""`relais submit` against a real intake: every line has its answer, and no line costs another."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process
from config.settings import Settings
from tests.cli import CommandLine, clean_environment, command, environment, running
from tests.waiting import until

ORDER = {"lines": [{"product": "3400937318044", "quantity": 2}]}


def orders(count: int, tag: str = "R") -> list[str]:
    return [json.dumps({"pharmacy": f"P{i % 7}", "reference": f"{tag}{i}", **ORDER}) for i in range(count)]


def api(leash: Leash, settings: Settings, port: int) -> AbstractContextManager[tuple[Process, Path]]:
    return running(leash, "api", command("api", "--port", str(port)), environment(settings))


@pytest.fixture
def relais(settings: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line of a front end: it knows the intake and its key."""
    line = CommandLine(capsys, environment(settings))
    key = line("client", "add", "front").out.strip()
    line.env |= {"RELAIS_API_URL": f"http://127.0.0.1:{choose()}", "RELAIS_API_KEY": key}
    return line


@pytest.fixture
def intake(leash: Leash, settings: Settings, relais: CommandLine) -> Iterator[None]:
    with api(leash, settings, int(relais.env["RELAIS_API_URL"].rpartition(":")[2])):
        yield


def test_every_line_is_answered_and_a_bad_one_costs_no_good_one(
    relais: CommandLine, intake: None, tmp_path: Path
) -> None:
    file = tmp_path / "orders.ndjson"
    good, other = orders(200), json.dumps({"pharmacy": "P0", "reference": "R0", **ORDER, "priority": "urgent"})
    lines = [*good[:100], "nonsense", "", '{"pharmacy":"P1","lines":[]}', *good[100:], other, good[0]]
    file.write_text("\n".join(lines))
    done = relais("submit", str(file), "--json")
    report = json.loads(done.out)
    assert done.code == 1
    assert {k: report[k] for k in ("orders", "malformed", "conflict", "failed")} == {
        "orders": 204, "malformed": 2, "conflict": 1, "failed": 0,
    }  # fmt: skip
    assert report["accepted"] + report["repeated"] == 201
    assert [(row["line"], row["kind"]) for row in report["not_taken"]] == [
        (101, "malformed"), (103, "malformed"), (204, "conflict"),
    ]  # fmt: skip
    assert "reference" in report["not_taken"][1]["reason"]
    refused = relais("submit", str(file), "--json", RELAIS_API_KEY="wrong")
    assert (refused.code, json.loads(refused.out)["orders"]) == (2, 0)
    assert "refuses the API key" in refused.err
    again = relais("submit", str(file))
    assert (again.code, "0 accepted, 201 repeated" in again.out) == (1, True)
    assert json.loads(relais("audit", "--json").out)["accepted"] == 200


def test_a_pipe_is_read_to_its_end_and_ctrl_c_needs_no_end(relais: CommandLine, intake: None) -> None:
    done = subprocess.run(
        command("submit", "-", "--json"), input="\n".join(orders(3)), env=clean_environment(relais.env),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, json.loads(done.stdout)["accepted"]) == (0, 3)
    submit = subprocess.Popen(
        command("submit", "-"),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(relais.env),
        text=True,
    )
    with submit:
        assert submit.stdin is not None
        assert submit.stderr is not None
        submit.stdin.write(orders(1, "pipe")[0] + "\n")
        submit.stdin.flush()
        until(lambda: json.loads(relais("status", "--json").out)["backlog"] == 4, 20)
        submit.send_signal(signal.SIGINT)
        assert submit.wait(10) == 130
        assert "Traceback" not in submit.stderr.read()


def test_without_an_intake_it_tries_for_its_patience_and_exits_2(relais: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "orders.ndjson"
    file.write_text("\n".join(orders(5)))
    done = relais("submit", str(file), "--patience", "0.3")
    assert (done.code, "out of reach" in done.err) == (2, True)
    assert relais("submit", str(tmp_path / "none")).code == 2
    assert relais("submit", str(file), RELAIS_API_KEY="").code == 2
    assert "is no URL" in relais("submit", str(file), RELAIS_API_URL="intake").err


def test_it_outlives_a_restart_of_the_intake(
    relais: CommandLine, leash: Leash, settings: Settings, tmp_path: Path
) -> None:
    file, port = tmp_path / "orders.ndjson", int(relais.env["RELAIS_API_URL"].rpartition(":")[2])
    file.write_text("\n".join(orders(1500)))
    with api(leash, settings, port) as (first, _):
        submit = subprocess.Popen(
            command("submit", str(file), "--json"),
            stdout=subprocess.PIPE,
            env=clean_environment(relais.env),
            text=True,
        )
        until(lambda: json.loads(relais("status", "--json").out)["backlog"] > 20, 20)
        os.kill(first.pid, signal.SIGKILL)
        first.end()
    with api(leash, settings, port), submit:
        out, _ = submit.communicate(timeout=60)
    report = json.loads(out)
    assert submit.returncode == 0
    assert report["accepted"] + report["repeated"] == 1500
    assert json.loads(relais("audit", "--json").out)["accepted"] == 1500


def test_memory_does_not_grow_with_the_file(relais: CommandLine) -> None:
    submit = subprocess.Popen(
        command("submit", "-", "--json"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False,
        env=clean_environment(relais.env),
    )  # fmt: skip
    assert submit.stdin is not None
    for _ in range(50):
        submit.stdin.write(b"x" * (3 * 1024 * 1024) + b"\n")
    most = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{submit.pid}/status").read_text())
    out, _ = submit.communicate(timeout=60)
    assert json.loads(out)["malformed"] == 50
    assert most is not None
    assert int(most[1]) < 120 * 1024
