"""Two ERPs, real intake and worker: orders go where their route says, an ERP that hangs holds up nobody but itself,
and what is diverted from one to the other ends up at exactly one of them.
"""

import asyncio
import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process
from config.settings import Settings
from tests.acceptance.running import QUICK
from tests.cli import CommandLine, command, environment, running
from tests.machines.roles import above
from tests.waiting import until
from workers.erp.sim.book import read_effects

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

MEDICINE, COLD = "3400937318044", "3400938615470"
BACKENDS = """
default = "main"
[backends.main]
url = "http://127.0.0.1:{main}"
timeout = 1
[backends.fallback]
url = "http://127.0.0.1:{fallback}"
[[routes]]
backend = "fallback"
pharmacy = ["P7"]
[[routes]]
backend = "fallback"
class = ["cold_chain"]
priority = "urgent"
[stale]
normal = "4h"
"""


class Site:
    """Intake, two simulators, their operator, and a worker with one process when a test starts it."""

    def __init__(self, relais: CommandLine, directory: Path, stack: ExitStack, leash: Leash) -> None:
        self.relais, self.directory = relais, directory
        self.controls: dict[str, int] = {}
        self._stack, self._leash = stack, leash

    def run(self, name: str, *options: str, ready: str = "ready") -> Process:
        argv = command(*options)
        process, _ = self._stack.enter_context(running(self._leash, name, argv, self.relais.env, ready=ready))
        return process

    def dial(self, backend: str, **knobs: object) -> None:
        url = f"http://127.0.0.1:{self.controls[backend]}/_dial"
        request = urllib.request.Request(url, json.dumps(knobs).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 200

    def submit(self, count: int, tag: str, pharmacy: str = "P1", product: str = MEDICINE, **fields: str) -> set[str]:
        """Hand over orders; their references."""
        lines = [{"product": product, "quantity": 2}]
        orders = [{"pharmacy": pharmacy, "reference": f"{tag}{i}", "lines": lines, **fields} for i in range(count)]
        file = self.directory / f"{tag}.ndjson"
        file.write_text("\n".join(map(json.dumps, orders)))
        assert self.relais("submit", str(file)).code == 0
        return {str(order["reference"]) for order in orders}

    def took(self, backend: str) -> Counter[str]:
        """How often each order took effect at a backend, by reference."""
        return Counter(effect["order_reference"] for effect in read_effects(self.directory / f"{backend}.jsonl"))

    def sql(self, statement: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(above(self.relais.env["RELAIS_DATABASE_URL"]))
            await connection.execute(statement)
            await connection.close()

        asyncio.run(run())

    def circuit(self, backend: str) -> str:
        rows = json.loads(self.relais("status", "--json").out)["backends"]
        return str(next((row["circuit"] for row in rows if row["name"] == backend), ""))


@pytest.fixture
def site(settings: Settings, leash: Leash, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Site]:
    ports = {name: choose() for name in ("main", "fallback", "api")}
    (tmp_path / "backends.toml").write_text(BACKENDS.format_map(ports))
    (tmp_path / "catalogue.csv").write_text(
        f"cip13,label,withdrawn,max_quantity,cold_chain\n{MEDICINE},A,0,,0\n{COLD},B,0,,1\n"
    )
    relais = CommandLine(capsys, environment(settings))
    relais.env |= QUICK | {
        "RELAIS_API_URL": f"http://127.0.0.1:{ports['api']}",
        "RELAIS_BACKENDS": str(tmp_path / "backends.toml"),
        "RELAIS_CATALOGUE": str(tmp_path / "catalogue.csv"),
        "RELAIS_WORKER_CONCURRENCY": "1",
        "RELAIS_API_KEY": relais("client", "add", "front").out.strip(),
    }
    with ExitStack() as stack:
        site = Site(relais, tmp_path, stack, leash)
        for name in ("main", "fallback"):
            control, book = site.controls.setdefault(name, choose()), tmp_path / f"{name}.jsonl"
            options = ("--port", str(ports[name]), "--control-port", str(control), "--file", str(book))
            site.run(name, "erp-sim", *options, ready="control")
        site.run("api", "api", "--port", str(ports["api"]))
        yield site


def test_urgent_orders_are_diverted_while_the_main_erp_is_out_and_each_is_at_exactly_one(site: Site) -> None:
    relais = site.relais
    site.run("worker", "worker")
    site.dial("main", hanging=True)
    main = site.submit(150, "main")
    routed = site.submit(30, "routed", pharmacy="P7") | site.submit(5, "cold", product=COLD, priority="urgent")
    until(lambda: site.took("fallback").keys() == routed, 60, 0.2, "the other backend's orders flow all the same")
    assert site.took("main") == {}

    until(lambda: site.circuit("main") == "open", 60, 0.2, "the main one's circuit is open")
    urgent = site.submit(40, "urgent", priority="urgent")
    dry = json.loads(relais(*DIVERT, "--dry-run", "--json").out)
    assert (dry["diverted"], dry["preview"]["unknown"]) == (0, 0)
    done = json.loads(relais(*DIVERT, "--yes", "--json").out)
    until(lambda: len(site.took("fallback")) == len(routed) + done["diverted"], 60, 0.2, "they are delivered there")
    moved = site.took("fallback").keys() - routed
    assert moved <= urgent
    assert len(moved) == done["diverted"] > 0, "all but the canaries, which may be with the main one"

    aged = site.submit(4, "aged")
    site.sql(
        "UPDATE deliveries SET accepted_at = accepted_at - interval '5 hours' FROM orders "
        "WHERE id = order_id AND reference LIKE 'aged%' AND NOT unsure"
    )
    site.dial("main")
    assert relais("drain", "--timeout", "90s").code == 0
    stale = {row["reference"] for row in json.loads(relais("dead", "list", "--reason", "stale", "--json").out)}
    assert stale
    assert stale <= aged - site.took("main").keys(), "what was too old waits for a person"
    replayed = json.loads(relais("dead", "replay", "--because", "a test", "--reason", "stale", "--yes", "--json").out)
    assert replayed["became"] == {"delivered": len(stale)}
    at_main, at_fallback = site.took("main"), site.took("fallback")
    assert at_main.keys() & at_fallback.keys() == set(), "no order is at both"
    assert at_main.keys() | at_fallback.keys() == main | routed | urgent | aged
    assert {*at_main.values(), *at_fallback.values()} == {1}
    ledger = json.loads(relais("audit", "--json").out)
    assert (ledger["balanced"], ledger["delivered"], ledger["dead"]) == (True, 229, 0)


DIVERT = (
    "divert",
    "--to",
    "fallback",
    "--from",
    "main",
    "--priority",
    "urgent",
    "--because",
    "main is out",
)


@pytest.mark.slow
def test_workers_killed_between_diverts_to_and_fro_leave_each_order_at_exactly_one(site: Site) -> None:
    """Both ERPs take orders without answering at times, and workers die in the middle of it."""
    relais, handed = site.relais, set[str]()
    for name in ("main", "fallback"):
        site.dial(name, die_before_answer=0.1, error_rate=0.1, latency_ms=20)
    for number in range(6):
        worker = site.run("worker", "worker")
        handed |= site.submit(150, f"r{number}-", priority="urgent" if number % 2 else "normal")
        for to in ("fallback", "main", "fallback") if number % 2 else ("fallback", "main"):
            assert relais("divert", "--to", to, "--because", "to and fro", "--yes").code == 0
        worker.kill()
        worker.sweep()
    for name in ("main", "fallback"):
        site.dial(name)
    site.run("worker", "worker")
    assert relais("drain", "--timeout", "100s").code == 0
    at_main, at_fallback = site.took("main"), site.took("fallback")
    assert at_main.keys() & at_fallback.keys() == set(), "no order is at both"
    assert at_main.keys() | at_fallback.keys() == handed
    assert {*at_main.values(), *at_fallback.values()} == {1}
    assert min(len(at_main), len(at_fallback)) > 20, "both had their share"
    ledger = json.loads(relais("audit", "--json").out)
    assert (ledger["balanced"], ledger["delivered"], ledger["dead"]) == (True, 900, 0)
