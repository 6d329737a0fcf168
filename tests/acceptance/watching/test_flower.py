"""Flower beside a live stack: 20,000 orders gone through, Redis restarted, its API and its own pages looked at."""

import json
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
import pytest
from playwright.sync_api import Page, sync_playwright

from config.embedded.leash import Leash
from config.flower import OPTIONS
from config.settings import Settings
from tests.acceptance.running import Relais, up
from tests.constants.turned import SOON, turned
from tests.dispatching import tell
from tests.machines.tools import ROOT
from tests.waiting import until
from workers.queue.app import create_app

pytestmark = pytest.mark.slow
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SHOTS = ROOT / "build" / "screenshots"
ORDERS, PART = 20_000, 2_000
MOST_MEMORY = 250 * 2**20  # bytes; 74 MB idle, 885 MB without a limit to its tasks
MOST_SECONDS = 10.0  # until a page is there, on a machine that does other things


@pytest.fixture(scope="module")
def relais(leash: Leash) -> Iterator[Relais]:
    """A stack that sends a message for every twenty orders, for many tasks."""
    with up(leash, **turned(**SOON, MOST_IDS=20)) as relais:
        yield relais


def asked(relais: Relais, path: str) -> bytes:
    request = Request(relais.endpoints["flower_url"] + path)
    login = f"{relais.endpoints['flower_user']}:{relais.endpoints['flower_password']}"
    request.add_header("Authorization", "Basic " + b64encode(login.encode()).decode())
    with urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def total(relais: Relais) -> int:
    rows = asked(relais, "/tasks/datatable?draw=1&start=0&length=1&order[0][column]=0&columns[0][data]=name")
    return int(json.loads(rows)["recordsTotal"])


@pytest.mark.timeout(600)
def test_20000_orders_and_a_restart_of_redis_leave_flower_bounded_and_at_work(relais: Relais) -> None:
    note = "for Mme Durand"
    for _ in range(ORDERS // PART):
        relais.submit(PART, note=note)
    until(lambda: relais.states()["delivered"] == ORDERS, 400, 1, "all are delivered")
    found = json.loads(asked(relais, "/api/tasks?limit=200"))
    assert len(found) == 200
    assert {task["worker"][:7] for task in found.values()} == {"relais-"}
    assert {task["name"] for task in found.values()} <= {"relais.deliver", "relais.poll", "relais.tell"}
    assert all("order" in task["args"] for task in found.values())
    everything = asked(relais, f"/api/tasks?limit={ORDERS}")
    assert len(json.loads(everything)) <= OPTIONS["max_tasks"]
    [worker] = json.loads(asked(relais, "/api/workers?refresh=1"))
    assert worker.startswith("relais-")
    pages = [asked(relais, path) for path in (f"/worker/{worker}", f"/task/{next(iter(found))}", "/broker")]
    for body in (everything, *pages):
        assert not [word for word in (note, '"34009', '"lines"', "pharmacy") if word.encode() in body]
    tell(create_app(Settings(redis_url=relais.endpoints["redis_url"], _env_file=None)), OPTIONS["max_tasks"] + 500)
    until(lambda: total(relais) == OPTIONS["max_tasks"], 30, 0.5, "as many tasks as it keeps")
    memory = psutil.Process(relais.pid("flower")).memory_info().rss
    assert memory < MOST_MEMORY, f"{memory / 2**20:.0f} MB"
    before = relais.kill("valkey")
    relais.restarted("valkey", before)
    newest = set(json.loads(asked(relais, "/api/tasks?limit=5")))
    relais.submit(20)
    until(lambda: relais.states()["delivered"] == ORDERS + 20, 60, 0.5, "delivered after the restart")
    until(lambda: set(json.loads(asked(relais, "/api/tasks?limit=5"))) - newest, 40, 0.5, "heard of again")
    assert total(relais) <= OPTIONS["max_tasks"]


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")
@pytest.mark.timeout(200)
def test_its_own_pages_answer_and_read_well(relais: Relais) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    base = relais.endpoints["flower_url"]
    login = {"username": relais.endpoints["flower_user"], "password": relais.endpoints["flower_password"]}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=[*FLAGS])
        page = browser.new_context(http_credentials=login, viewport={"width": 1400, "height": 900}).new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        _look(page, f"{base}/tasks", "#tasks-table tbody tr td:nth-child(2)", "flower-tasks")
        args = page.locator("#tasks-table tbody tr td:nth-child(2)").all_inner_texts()
        assert len(args) >= 10
        assert all("order" in text for text in args), args
        page.locator("#tasks-table tbody tr a[href*='/task/']").first.click()
        page.wait_for_url("**/task/*")
        page.screenshot(path=SHOTS / "flower-task.png", full_page=True)
        assert "oldest" in page.inner_text("body")
        _look(page, f"{base}/workers", "#workers-table tbody tr a", "flower-workers")
        [name] = json.loads(asked(relais, "/api/workers?refresh=1"))
        assert name in str(page.locator("#workers-table").text_content())
        _look(page, f"{base}/worker/{name}", f"text={name}", "flower-worker")
        _look(page, f"{base}/broker", "text=relais.normal.erp", "flower-broker")
        browser.close()
    assert faults == []


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")
@pytest.mark.timeout(200)
def test_an_outage_is_not_green_and_says_what_became_of_its_orders(relais: Relais) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    relais.submit(5)
    until(lambda: relais.states()["accepted"] == 0, 30, 0.2, "delivered")
    relais.dial(down=True)
    relais.submit(30, note="for Mme Durand")
    until(lambda: relais.circuit() == "open", 30, 0.2, "the circuit is open")
    found = list(json.loads(asked(relais, "/api/tasks?state=FAILURE")).values())
    login = {"username": relais.endpoints["flower_user"], "password": relais.endpoints["flower_password"]}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=[*FLAGS])
        page = browser.new_context(http_credentials=login, viewport={"width": 1400, "height": 900}).new_page()
        _look(page, f"{relais.endpoints['flower_url']}/tasks", "text=FAILURE", "flower-outage")
        row = page.locator("#tasks-table tbody tr", has_text="no connection").first
        assert re.search("0 delivered, [0-9]+ held: no connection to the ERP", row.inner_text())
        green = page.locator("#tasks-table tbody tr", has_text="SUCCESS").all_inner_texts()
        assert green
        assert all(re.search("[1-9][0-9]* delivered", text) and "held" not in text for text in green), green
        row.locator("a[href*='/task/']").first.click()
        page.wait_for_url("**/task/*")
        page.screenshot(path=SHOTS / "flower-undelivered.png", full_page=True)
        told = page.inner_text("body")
        assert "0 delivered" in told
        assert "Traceback" not in told
        browser.close()
    assert found
    assert not [task for task in found if "Durand" in json.dumps(task)]
    relais.dial()
    until(lambda: relais.states()["accepted"] == 0, 60, 0.2, "delivered after it")


def _look(page: Page, url: str, awaited: str, name: str) -> None:
    """Open a page, wait until it shows something, and keep what it looks like."""
    began = time.monotonic()
    page.goto(url)
    page.locator(awaited).first.wait_for(timeout=MOST_SECONDS * 1000)
    assert time.monotonic() - began < MOST_SECONDS
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
