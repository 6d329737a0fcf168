"""An operator lives through an outage with `relais` alone: real intake, worker and ERP simulator."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from tests.cli import CommandLine, command, environment, running
from tests.constants.turned import turned
from tests.waiting import until

pytestmark = pytest.mark.acceptance

MEDICINE, WITHDRAWN = "3400937318044", "3400938615470"


class Site:
    """Intake, worker and simulator as processes, and their operator."""

    def __init__(self, relais: CommandLine, control: str) -> None:
        self.relais, self.control = relais, control

    def dial(self, **knobs: object) -> None:
        request = urllib.request.Request(f"{self.control}/_dial", json.dumps(knobs).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 200

    def status(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.relais("status", "--json").out)
        return found


@pytest.fixture
def site(settings: Settings, leash: Leash, capsys: pytest.CaptureFixture[str]) -> Iterator[Site]:
    ports = [choose() for _ in range(3)]
    intake, erp, control = (f"http://127.0.0.1:{port}" for port in ports)
    relais = CommandLine(capsys, environment(settings))
    relais.env |= {
        "RELAIS_API_URL": intake,
        "RELAIS_ERP_URL": erp,
        **turned(FIRST_PROBE=0.5, LAST_PROBE=1.0),
        "RELAIS_API_KEY": relais("client", "add", "front").out.strip(),
        "RELAIS_WORKER_CONCURRENCY": "2",
    }
    sim = command("erp-sim", "--port", str(ports[1]), "--control-port", str(ports[2]), "--refuse-product", WITHDRAWN)
    with ExitStack() as stack:
        stack.enter_context(running(leash, "erp-sim", sim, relais.env, ready="control"))
        stack.enter_context(running(leash, "api", command("api", "--port", str(ports[0])), relais.env))
        stack.enter_context(running(leash, "worker", command("worker"), relais.env))
        yield Site(relais, control)


def submit(site: Site, count: int, tag: str, product: str = MEDICINE) -> None:
    lines = [{"product": product, "quantity": 2}]
    orders = [{"pharmacy": f"P{i % 5}", "reference": f"{tag}{i}", "lines": lines} for i in range(count)]
    file = Path(site.relais.env["RELAIS_DATA_DIR"]) / f"{tag}.ndjson"
    file.write_text("\n".join(map(json.dumps, orders)))
    assert site.relais("submit", str(file)).code == 0


def test_an_outage_from_status_to_audit(site: Site) -> None:
    relais = site.relais
    submit(site, 50, "before")
    assert relais("drain", "--timeout", "30s").code == 0
    site.dial(down=True)
    submit(site, 300, "during")
    until(lambda: site.status()["backends"][0]["circuit"] != "closed", 20, 0.2)  # type: ignore[index]
    waiting = relais("drain", "--timeout", "2s")
    assert (waiting.code, "circuit is open" in waiting.err, "next canary" in waiting.err) == (1, True, True)
    assert json.loads(relais("backlog", "--json").out)["orders"] == 300
    site.dial()
    replayed = json.loads(relais("replay", "--yes", "--because", "the ERP is back", "--json").out)
    assert replayed["became"] == {"delivered": replayed["replayed"]}
    assert relais("drain", "--timeout", "30s").code == 0
    found = site.status()
    assert (found["backlog"], found["leader"], found["api"]["ready"]) == (0, True, True)  # type: ignore[index]
    assert found["flow"]["delivered"] == 350  # type: ignore[index]
    ledger = json.loads(relais("audit", "--json").out)
    assert (ledger["balanced"], ledger["delivered"], ledger["dead"]) == (True, 350, 0)


def test_what_the_erp_refuses_is_dead_until_a_person_has_decided(site: Site) -> None:
    relais = site.relais
    submit(site, 2, "refused", WITHDRAWN)
    assert json.loads(relais("drain", "--timeout", "30s", "--json").out)["empty"]
    first, second = json.loads(relais("dead", "list", "--json").out)
    assert "refused" in relais("dead", "show", first["id"]).out
    again = json.loads(relais("dead", "replay", "--because", "a test", first["id"], "--yes", "--json").out)
    assert again["became"] == {"dead": 1}
    site.dial(refuse_products=[])
    agreed = json.loads(relais("dead", "replay", "--because", "a test", first["id"], "--yes", "--json").out)
    assert agreed["became"] == {"delivered": 1}
    assert relais("dead", "discard", second["id"], "--because", "ordered elsewhere", "--yes").code == 0
    ledger = json.loads(relais("audit", "--json").out)
    assert (ledger["balanced"], ledger["delivered"], ledger["discarded"]) == (True, 1, 1)
    life = json.loads(relais("order", "show", first["id"], "--json").out)
    assert [attempt["outcome"] for attempt in life["history"]] == ["refused", "refused", "accepted"]
    assert life["receipt"]["lines"][0]["accepted"] == 2
