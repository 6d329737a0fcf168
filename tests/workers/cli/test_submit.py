"""`relais submit` against a real intake: every line has its answer, and no line costs another."""

import gzip
import json
import os
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process
from config.settings import Settings
from tests.cli import CommandLine, clean_environment, command, environment, running
from tests.waiting import until
from workers.cli.commands.intake.submit import _foreseen
from workers.cli.files.formats import OrdersFile
from workers.cli.files.send import SubmitCounts

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
    assert {k: report[k] for k in ("orders", "malformed", "conflict", "forbidden", "spooled")} == {
        "orders": 204,
        "malformed": 2,
        "conflict": 1,
        "forbidden": 0,
        "spooled": 0,
    }
    assert report["accepted"] + report["repeated"] == 201
    assert [(row["line"], row["kind"]) for row in report["not_taken"]] == [
        (101, "malformed"),
        (103, "malformed"),
        (204, "conflict"),
    ]
    assert "reference" in report["not_taken"][1]["reason"]
    refused = relais("submit", str(file), "--json", RELAIS_API_KEY="wrong")
    report = json.loads(refused.out)
    assert (refused.code, report["spooled"], report["accepted"]) == (2, 201, 0)
    assert "refuses the API key" in refused.err
    again = relais("submit", str(file))
    assert (again.code, "0 accepted, 201 repeated" in again.out) == (1, True)
    assert json.loads(relais("audit", "--json").out)["accepted"] == 200


def test_a_pipe_is_read_to_its_end_and_ctrl_c_needs_no_end(relais: CommandLine, intake: None) -> None:
    done = subprocess.run(
        command("submit", "-", "--json"),
        input="\n".join(orders(3)),
        env=clean_environment(relais.env),
        capture_output=True,
        text=True,
        check=False,
    )
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
        said = submit.stderr.read()
    assert said.splitlines() == [
        "relais: interrupted: 1 order is in Relais, 0 in the spool, perhaps a few more. "
        "Submit the file again: nothing is taken twice"
    ]


def test_a_csv_that_is_packed_goes_in_and_what_is_no_file_of_orders_is_said_once(
    relais: CommandLine, intake: None, tmp_path: Path
) -> None:
    file = tmp_path / "orders.csv.gz"
    rows = [f"P{n};{n};3400937318044;1" for n in range(700)]
    file.write_bytes(
        gzip.compress("\n".join(["Pharmacie;Référence;CIP;Qté", *rows, "P7;B;3400937318044;many"]).encode())
    )
    done = relais("submit", str(file))
    assert (done.code, "701 orders: 700 accepted, 0 repeated, 0 conflict, 1 malformed" in done.out) == (1, True)
    assert "702" in done.out, "the line of the one that was refused"
    assert (
        "Read as CSV, Pharmacie as pharmacy, Référence as reference, CIP as product, Qté as quantity of gzip"
        in done.err
    )
    pretty = tmp_path / "orders.json"
    pretty.write_text(json.dumps(json.loads(orders(1)[0]), indent=2))
    refused = relais("submit", str(pretty))
    assert (refused.code, refused.out) == (2, "")
    what = "JSON over several lines, and one order a line is needed (`jq -c . FILE | relais submit -`)"
    assert refused.err == f"relais: {pretty} is {what}\n"


def test_how_many_there_will_be_is_foreseen_also_of_what_is_packed() -> None:
    result, packed = SubmitCounts(Counter(accepted=100), size=5_000), OrdersFile(0, read=1_000, text=10_000)
    assert _foreseen(result, packed, 4_000) == 800
    assert _foreseen(result, OrdersFile(0, read=5_000, text=5_000), 5_000) == 100
    assert _foreseen(result, packed, None) is None


def test_without_an_intake_every_order_is_safe_in_the_spool_and_it_says_so(
    relais: CommandLine, leash: Leash, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "orders.ndjson"
    file.write_text("\n".join([*orders(500), "nonsense", orders(1)[0]]))
    done = relais("submit", str(file), "--patience", "0", "--json")
    report = json.loads(done.out)
    assert {k: report[k] for k in ("orders", "accepted", "repeated", "spooled", "malformed")} == {
        "orders": 502,
        "accepted": 0,
        "repeated": 0,
        "spooled": 501,
        "malformed": 1,
    }
    assert (done.code, report["not_taken"][0]["line"]) == (1, 501)
    file.write_text("\n".join(orders(500)))
    done = relais("submit", str(file), "--patience", "0")
    assert (done.code, "500 spooled" in done.out) == (0, True)
    assert f"500 orders are safe in the spool {settings.files.data_dir}/spool.db" in done.err
    assert "Connection refused" in done.err
    with api(leash, settings, int(relais.env["RELAIS_API_URL"].rpartition(":")[2])):
        report = json.loads(relais("submit", str(file), "--json").out)
        assert (report["accepted"], report["spooled"]) == (500, 0)  # by way of the spool, where they were in front
    assert json.loads(relais("audit", "--json").out)["accepted"] == 500


def test_what_stops_it_is_one_sentence_and_exit_2(relais: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "orders.ndjson"
    file.write_text("\n".join(orders(5)))
    assert relais("submit", str(tmp_path / "none")).code == 2
    assert relais("submit", str(file), RELAIS_API_KEY="").code == 2
    assert "is no URL" in relais("submit", str(file), RELAIS_API_URL="intake").err
    full = relais("submit", str(file), "--json", RELAIS_SPOOL_ORDERS="3")
    assert (full.code, json.loads(full.out)["spooled"]) == (2, 3)
    assert "is full" in full.err
    (tmp_path / "garbage").write_text("garbage" * 1000)
    broken = relais("submit", str(file), "--spool", str(tmp_path / "garbage"))
    assert (broken.code, "damaged" in broken.err) == (2, True)


def test_it_outlives_a_restart_of_the_intake(relais: CommandLine, leash: Leash, settings: Settings) -> None:
    port, lines = int(relais.env["RELAIS_API_URL"].rpartition(":")[2]), orders(1500)
    submit = subprocess.Popen(
        command("submit", "-", "--json", "--patience", "60"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environment(relais.env),
        text=True,
    )
    assert submit.stdin is not None
    with api(leash, settings, port) as (first, _):
        submit.stdin.write("\n".join(lines[:700]) + "\n")
        submit.stdin.flush()
        until(lambda: json.loads(relais("status", "--json").out)["backlog"] > 20, 20)
        os.kill(first.pid, signal.SIGKILL)
        first.end()
    submit.stdin.write("\n".join(lines[700:]) + "\n")
    submit.stdin.flush()
    until(lambda: json.loads(relais("spool", "status", "--json").out)["waiting"] >= 800, 20)
    with api(leash, settings, port), submit:
        out, _ = submit.communicate(timeout=60)
    report = json.loads(out)
    assert submit.returncode == 0
    assert report["accepted"] + report["repeated"] == 1500
    assert json.loads(relais("audit", "--json").out)["accepted"] == 1500


def test_memory_does_not_grow_with_the_file(relais: CommandLine) -> None:
    submit = subprocess.Popen(
        command("submit", "-", "--json"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=False,
        env=clean_environment(relais.env),
    )
    assert submit.stdin is not None
    for _ in range(50):
        submit.stdin.write(b"x" * (3 * 1024 * 1024) + b"\n")
    most = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{submit.pid}/status").read_text())
    out, _ = submit.communicate(timeout=60)
    assert json.loads(out)["malformed"] == 50
    assert most is not None
    assert int(most[1]) < 120 * 1024


def test_the_spool_is_looked_at_emptied_and_written_out(
    relais: CommandLine, leash: Leash, settings: Settings, tmp_path: Path
) -> None:
    relais.env["RELAIS_SPOOL"] = spool = str(tmp_path / "front.db")
    file, out = tmp_path / "orders.ndjson", tmp_path / "refused.ndjson"
    missing = relais("spool", "status")
    assert (missing.code, missing.err) == (2, f"relais: there is no spool {spool}\n")
    file.write_text("\n".join(orders(5)))
    assert relais("submit", str(file), "--patience", "0").code == 0
    changed = json.dumps({"pharmacy": "P3", "reference": "R3", **ORDER, "priority": "urgent"})
    file.write_text(changed)
    assert relais("submit", str(file), "--patience", "0").code == 0

    status = json.loads(relais("spool", "status", "--json").out)
    assert (status["spool"], status["waiting"], status["refused"]) == (spool, 6, 0)
    assert status["oldest"].endswith("Z")
    exported = relais("spool", "export").out.splitlines()
    assert [json.loads(line)["reference"] for line in exported] == ["R0", "R1", "R2", "R3", "R4", "R3"]
    away = relais("spool", "flush", "--patience", "0")
    assert (away.code, "not one order was handed over, 6 still wait: no connection" in away.err) == (1, True)

    with api(leash, settings, int(relais.env["RELAIS_API_URL"].rpartition(":")[2])):
        wrong = relais("spool", "flush", "--json", "--patience", "60", RELAIS_API_KEY="wrong")
        assert (wrong.code, json.loads(wrong.out)["waiting"]) == (1, 6)
        flushed = relais("spool", "flush", "--json")
        assert flushed.code == 1
        assert json.loads(flushed.out) == {
            "accepted": 5,
            "repeated": 0,
            "conflict": 1,
            "malformed": 0,
            "forbidden": 0,
            "unsendable": 0,
            "waiting": 0,
            "refused": 1,
            "trouble": None,
        }
        assert relais("spool", "flush").code == 0
    (refusal,) = json.loads(relais("spool", "status", "--json").out)["refusals"]
    assert (refusal["pharmacy"], refusal["reference"], refusal["kind"]) == ("P3", "R3", "conflict")
    assert "other content" in relais("spool", "status").out

    assert relais("spool", "export", "--refused", "--remove").code == 2
    assert relais("spool", "export", "--refused", "--remove", "--to", str(out)).code == 0
    assert json.loads(out.read_text()) == json.loads(changed)
    assert out.stat().st_mode & 0o777 == 0o600
    assert relais("spool", "export", "--to", str(out)).code == 2, "it overwrites nothing"
    assert json.loads(relais("spool", "status", "--json").out)["refused"] == 0


class Refusing(BaseHTTPRequestHandler):
    """A proxy with a limit of its own."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.says)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy(relais: CommandLine) -> Iterator[HTTPServer]:
    """It stands where the intake should be, and says the status that the test sets."""
    server = HTTPServer(("127.0.0.1", int(relais.env["RELAIS_API_URL"].rpartition(":")[2])), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_a_proxy_does_not_let_through_is_set_aside_and_a_flush_without_progress_says_so(
    relais: CommandLine, proxy: HTTPServer, tmp_path: Path
) -> None:
    file = tmp_path / "orders.ndjson"
    file.write_text("\n".join(orders(3)))
    proxy.says = 502  # type: ignore[attr-defined]
    done = relais("submit", str(file), "--patience", "1")
    assert (done.code, "3 spooled" in done.out) == (0, True)
    stuck = relais("spool", "flush", "--patience", "1")
    said = "relais: not one order was handed over, 3 still wait: it answered 502"
    assert (stuck.code, stuck.err.splitlines()[-1]) == (1, said)

    proxy.says = 413  # type: ignore[attr-defined]
    flushed = relais("spool", "flush")
    assert (flushed.code, "3 unsendable, 0 still waiting" in flushed.out) == (1, True)
    refusals = json.loads(relais("spool", "status", "--json").out)["refusals"]
    assert [(each["reference"], each["kind"]) for each in refusals] == [(f"R{i}", "unsendable") for i in range(3)]

    file.write_text("\n".join(orders(2, "S")))
    report = json.loads((done := relais("submit", str(file), "--json")).out)
    assert (done.code, report["unsendable"], report["spooled"]) == (1, 2, 0)
    assert [(each["line"], each["kind"]) for each in report["not_taken"]] == [(1, "unsendable"), (2, "unsendable")]
    assert "bytes do not get to the intake: it answered 413" in report["not_taken"][0]["reason"]


def test_two_processes_flush_one_spool_and_nothing_is_taken_twice(
    relais: CommandLine, leash: Leash, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "orders.ndjson"
    file.write_text("\n".join(orders(3000)))
    assert relais("submit", str(file), "--patience", "0").code == 0
    with api(leash, settings, int(relais.env["RELAIS_API_URL"].rpartition(":")[2])):
        flushing = [
            subprocess.Popen(
                command("spool", "flush", "--json"),
                stdout=subprocess.PIPE,
                text=True,
                env=clean_environment(relais.env),
            )
            for _ in range(2)
        ]
        reports = [json.loads(process.communicate(timeout=60)[0]) for process in flushing]
    assert [process.returncode for process in flushing] == [0, 0]
    assert sum(report["accepted"] for report in reports) == 3000
    assert sum(report["repeated"] for report in reports) == 0
    assert json.loads(relais("audit", "--json").out)["accepted"] == 3000
