"""`relais up` as a user runs it: every part for real, killed without warning, and no order lost."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from sqlalchemy import text

from config.embedded.leash import Leash
from config.embedded.marks import find
from config.embedded.postgres import Postgres
from config.embedded.process import module
from config.settings import ENDPOINTS
from orders.access import clients, receipt_keys
from orders.journal import connect
from orders.rules.catalogue import demo_catalogue
from tests.acceptance.supervised import Up, nothing_left
from tests.cli import CommandLine
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

PARTS = {"postgres", "valkey", "erp-sim", "exporter", "flower", "console", "worker", "api"}
QUICK = {
    "api_port": "0",
    "flower_port": "0",
    "exporter_port": "0",
    "console_port": "0",
    "erp_sim_port": "0",
    "worker_concurrency": "1",
    "erp_timeout": "2",
    "batch_budget": "3",
    "lease": "6",
    "claim_patience": "1",
}


@pytest.fixture
def start(data_dir: Path, leash: Leash) -> Iterator[Callable[..., Up]]:
    """Starts `relais up` on the test's data directory."""
    runs: list[Up] = []

    def start(**settings: str) -> Up:
        argv = module("workers.cli", "--data-dir", str(data_dir), "up")
        runs.append(up := Up(data_dir, leash, argv, **{**QUICK, **settings}))
        return up

    yield start
    for up in reversed(runs):
        up.close()


class FrontEnd:
    """A pharmacy's front end with an API key of its own."""

    def __init__(self, offered: dict[str, Any]) -> None:
        self.key = asyncio.run(_add_client(offered["owner_url"]))
        self.products = list(demo_catalogue())

    def submit(self, offered: dict[str, Any], reference: str) -> str:
        """Hand over an order; its id, from the 202."""
        lines = [{"product": self.products[0], "quantity": 2}]
        order = {"pharmacy": "P0001", "reference": reference, "lines": lines}
        status, answer = asyncio.run(_ask("POST", f"{offered['api_url']}/orders", self._headers(), order))
        assert status == 202, answer
        return str(json.loads(answer)["id"])

    def state(self, offered: dict[str, Any], order: str) -> str:
        """What the intake says of the order."""
        status, answer = asyncio.run(_ask("GET", f"{offered['api_url']}/orders/{order}", self._headers()))
        assert status == 200, answer
        return str(json.loads(answer)["state"])

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


async def _add_client(url: str) -> str:
    engine = connect(url)
    try:
        return str(await clients.add(engine, "front"))
    finally:
        await engine.dispose()


async def _signers(url: str) -> tuple[set[str | None], set[str]]:
    """The keys that signed receipts, and those that are registered."""
    engine = connect(url)
    try:
        async with engine.connect() as connection:
            found = {row[0] for row in await connection.execute(text("SELECT key_id FROM receipts"))}
        return found, {row["key_id"] for row in await receipt_keys.every(engine)}
    finally:
        await engine.dispose()


async def _ask(method: str, url: str, headers: dict[str, str] | None = None, body: object = None) -> tuple[int, str]:
    timeout = aiohttp.ClientTimeout(total=10)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, url, headers=headers, json=body) as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.slow  # with small children in test_up_supervision
def test_sigkill_at_any_time_loses_no_order_and_leaves_nothing_running(start: Callable[..., Up]) -> None:
    first = start()
    offered = first.ready()
    assert first.names() == PARTS
    front = FrontEnd(offered)
    early = front.submit(offered, "early")
    until(lambda: front.state(offered, early) == "delivered", timeout=30)
    late = front.submit(offered, "late")
    family = first.family()
    first.signal(signal.SIGKILL)
    first.exit_code()
    nothing_left(family, timeout=60)

    second = start()
    offered = second.ready()
    assert front.state(offered, early) == "delivered"
    until(lambda: front.state(offered, late) == "delivered", timeout=60)
    family, watchdog = second.family(), second.watchdog()
    for pid in (watchdog, second.process.pid):
        os.kill(pid, signal.SIGKILL)
    second.exit_code()
    assert sum(find(mark) is not None for mark in family) > len(PARTS)

    third = start()
    offered = third.ready()
    until(lambda: not any(find(mark) for mark in family), what="nothing of the run before is left")
    assert front.state(offered, late) == "delivered"
    signers, registered = asyncio.run(_signers(offered["owner_url"]))
    assert signers == registered, "every receipt is signed, with the key that was made by the first run"
    assert (len(registered), None in signers) == (1, False)
    family = third.family()
    third.signal(signal.SIGINT)
    assert third.exit_code() == 0, third.said()
    nothing_left(family, timeout=5)
    stops = re.findall(r'"event":"stopped","child":"([^"]+)"', third.said())
    assert stops == ["api", "worker", "console", "flower", "exporter", "erp-sim", "valkey", "postgres"]


def test_what_is_up_is_where_it_says_and_for_its_owner_alone(start: Callable[..., Up]) -> None:
    up = start()
    offered = up.ready()
    assert stat.S_IMODE((up.data_dir / ENDPOINTS).stat().st_mode) == 0o600
    for url in ("api_url", "flower_url", "console_url", "erp_url", "erp_control_url"):
        assert str(offered[url]).startswith("http://127.0.0.1:")
    assert asyncio.run(_ask("GET", f"{offered['api_url']}/readyz"))[0] == 200
    assert asyncio.run(_ask("GET", f"{offered['console_url']}/healthz"))[0] == 200
    until(lambda: "outage off" in up.said())
    lines = up.said()[up.said().index("Relais is up.") :].splitlines()
    places = {line.split()[0]: line.split()[1] for line in lines if line.startswith("  ")}
    assert (len(lines), places["Intake"]) == (10, offered["api_url"])
    assert places["Console"].startswith(f"{offered['console_url']}/first?name=")
    assert asyncio.run(_ask("GET", places["Console"]))[0] == 200
    relais = f"relais --data-dir {up.data_dir}"
    assert lines[-1] == f"An outage to try: {relais} outage on, and later {relais} outage off."
    assert asyncio.run(_ask("GET", f"{offered['erp_url']}/health"))[0] == 200
    assert asyncio.run(_ask("GET", f"{offered['erp_control_url']}/_dial"))[0] == 200

    workers = f"{offered['flower_url']}/api/workers"
    login = b64encode(f"{offered['flower_user']}:{offered['flower_password']}".encode()).decode()
    assert asyncio.run(_ask("GET", workers))[0] == 401
    assert asyncio.run(_ask("GET", workers, {"Authorization": f"Basic {login}"}))[0] == 200
    until(lambda: str(offered["flower_password"]) in up.said())
    assert up.said().count(str(offered["flower_password"])) == 1

    secrets = [str(offered["flower_password"])]
    secrets += [(up.data_dir / f"{name}.password").read_text() for name in ("postgres", "valkey")]
    for mark in up.family():
        with suppress(psutil.NoSuchProcess):  # some, as PostgreSQL's, come and go
            process = psutil.Process(mark.pid)
            found = process.net_connections("inet")
            assert {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN} <= {"127.0.0.1"}, process
            assert not any(secret in " ".join(process.cmdline()) for secret in secrets), process


def test_an_outage_is_one_command_and_a_port_that_is_asked_for_and_taken_is_told_with_its_holder(
    start: Callable[..., Up], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = start(console_port=str(port))
        assert refused.exit_code() == 2
        held = f"port {port} of 127.0.0.1 is taken by process {os.getpid()} ("
        assert refused.said().splitlines()[-1].startswith(f"relais up: {held}")
        assert refused.said().rstrip().endswith("RELAIS_CONSOLE_PORT asks for it")
    up = start()
    offered = up.ready()
    relais = CommandLine(capsys, {"RELAIS_DATA_DIR": str(up.data_dir)})
    assert relais("outage", "ON").err.startswith("The simulated ERP is down: orders are taken in and wait.")
    with pytest.raises(aiohttp.ClientError):
        asyncio.run(_ask("GET", f"{offered['erp_url']}/health"))
    assert relais("outage", "off").code == 0
    assert asyncio.run(_ask("GET", f"{offered['erp_url']}/health"))[0] == 200
    nowhere = relais("--data-dir", str(tmp_path), "outage", "on")
    assert (nowhere.code, f"no `relais up` runs on {tmp_path}" in nowhere.err) == (2, True)


@pytest.mark.slow
def test_what_has_a_url_is_not_started(start: Callable[..., Up], database_url: str, redis_url: str) -> None:
    sink = "http://127.0.0.1:9"
    up = start(database_url=database_url, redis_url=redis_url, erp_url=sink)
    offered = up.ready()
    assert up.names() == {"exporter", "flower", "console", "worker", "api"}
    assert (offered["database_url"], offered["redis_url"], offered["erp_url"]) == (database_url, redis_url, sink)
    assert offered["erp_control_url"] is None
    up.signal(signal.SIGTERM)
    assert up.exit_code() == 0, up.said()


def test_a_journal_out_of_reach_is_told_in_one_line(start: Callable[..., Up], postgres: Postgres) -> None:
    up = start(database_url="postgresql://relais:x@127.0.0.1:1/relais")
    assert up.exit_code() == 2
    assert "Traceback" not in up.said()
    assert "127.0.0.1:1" in up.said()
