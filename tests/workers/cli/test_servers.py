"""The servers that `relais` starts: ready when they say so, gone when they are told to, closed to strangers."""

import json
import os
import signal
import socket
import subprocess
import threading

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from tests.cli import CommandLine, asked, clean_environment, command, environment, running
from tests.machines.roles import above
from tests.waiting import until


def test_the_intake_says_when_it_is_ready_and_stops_gently(
    leash: Leash, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    relais, port = CommandLine(capsys, environment(settings)), choose()
    key = relais("client", "add", "front").out.strip()
    url = f"http://127.0.0.1:{port}"
    with running(leash, "api", command("api", "--port", str(port)), environment(settings)) as (process, log):
        assert f'"event":"ready","url":"{url}"' in log.read_text()
        status, body = asked(f"{url}/readyz")
        told = json.loads(body)
        assert (status, told["status"], told["mode"]) == (200, "ready", "journal")
        assert told["since"] >= told["journal_answered_at"]
        assert relais("api", "--port", str(port)).code == 2
        answers: list[int] = []

        def post() -> None:
            """One order after another on one connection, until the intake is gone."""
            for number in range(100_000):
                line = {"product": "3400937318044", "quantity": 1}
                body = {"pharmacy": "P1", "reference": f"R{number}", "lines": [line]}
                try:
                    code, _ = asked(f"{url}/orders", None, json.dumps(body).encode(), Authorization=f"Bearer {key}")
                except OSError:
                    return
                answers.append(code)

        front = threading.Thread(target=post)
        front.start()
        until(lambda: len(answers) > 5)
        os.kill(process.pid, signal.SIGTERM)
        front.join(20)
        assert until(lambda: process.poll() is not None, 20)
        assert process.poll() == 0
    assert set(answers) == {202}
    accepted = json.loads(relais("audit", "--json").out)["accepted"]
    assert len(answers) <= accepted <= len(answers) + 1
    assert not front.is_alive()


def test_the_console_says_when_it_is_ready_and_stops_at_once(
    leash: Leash, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    relais, port = CommandLine(capsys, environment(settings)), choose()
    url = f"http://127.0.0.1:{port}"
    with running(leash, "console", command("console", "--port", str(port)), environment(settings)) as (process, log):
        assert f'"event":"ready","url":"{url}"' in log.read_text()
        assert asked(f"{url}/healthz") == (200, b'{"status":"ok"}')
        taken = relais("console", "--port", str(port))
        assert (taken.code, f"cannot listen on 127.0.0.1:{port}" in taken.err) == (2, True)
        os.kill(process.pid, signal.SIGTERM)
        assert until(lambda: process.poll() is not None, 10)
        assert process.poll() == 0


def test_flower_shows_dispatches_to_those_who_have_the_password(leash: Leash, settings: Settings) -> None:
    port = choose()
    with running(leash, "flower", command("flower", "--port", str(port)), environment(settings)) as (process, log):
        made_up = log.read_text().split("user and password ")[1].split(",")[0]
        url = f"http://127.0.0.1:{port}"
        for page in ("/", "/tasks", "/api/workers", "/api/tasks"):
            assert asked(url + page)[0] == 401
            assert asked(url + page, "relais:wrong")[0] == 401
        assert asked(f"{url}/healthcheck") == (200, b"OK")
        code, page = asked(f"{url}/tasks", made_up)
        assert (code, b"tasks" in page.lower()) == (200, True)
        assert asked(f"{url}/api/tasks?limit=5", made_up) == (200, b"{}")
        assert asked(f"{url}/api/task/send-task/relais.deliver", made_up, b"{}")[0] == 403
        os.kill(process.pid, signal.SIGTERM)
        assert until(lambda: process.poll() is not None, 20)
        assert process.poll() == 0


def test_flower_takes_its_password_from_the_environment(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    relais = CommandLine(capsys, environment(settings))
    wrong = relais("flower", RELAIS_FLOWER_AUTH="nocolon")
    assert (wrong.code, "nocolon" in wrong.err) == (2, False)
    with socket.create_server(("127.0.0.1", 0)) as held:
        argv = command("flower", "--port", str(held.getsockname()[1]))
        taken = subprocess.run(
            argv, env=clean_environment(relais.env), capture_output=True, text=True, check=False, timeout=60
        )
    assert (taken.returncode, f"it is taken by process {os.getpid()} (" in taken.stderr) == (2, True)


def test_a_worker_with_a_bad_catalogue_does_not_start(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    relais = CommandLine(capsys, environment(settings) | {"RELAIS_ERP_URL": "http://127.0.0.1:1"})
    catalogue = settings.files.data_dir / "catalogue.csv"
    catalogue.write_text("cip13,label,withdrawn,max_quantity\n12,Doliprane,0,\n")
    done = relais("worker", RELAIS_CATALOGUE=str(catalogue))
    assert (done.code, "line 2, cip13" in done.err) == (2, True)


def test_ctrl_c_leaves_a_replay_going(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    relais = CommandLine(capsys, environment(settings))
    body = {"pharmacy": "P1", "reference": "R1", "lines": [{"product": "3400937318044", "quantity": 1}]}
    _journal(settings, body)
    replay = subprocess.Popen(
        command("replay", "--because", "a test", "--yes"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(environment(settings)),
    )
    with replay:
        assert replay.stderr is not None
        assert "no worker" in replay.stderr.readline()
        replay.send_signal(signal.SIGINT)
        assert replay.wait(15) == 130
        assert "goes on without it" in replay.stderr.read()
    assert json.loads(relais("audit", "--json").out)["backlog"] == 1


def _journal(settings: Settings, body: dict[str, object]) -> None:
    import asyncio

    from orders.intake.group_commit import Intake
    from orders.journal import connect
    from orders.model import parse

    async def accept() -> None:
        engine = connect(above(settings.need("database_url")))
        await Intake(engine, settings.erp.backend).accept(parse(json.dumps(body).encode()), "test")
        await engine.dispose()

    asyncio.run(accept())
