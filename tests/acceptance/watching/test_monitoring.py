"""A real Prometheus with the project's rules over a live Relais: every alert fires for its real cause and clears when
that is gone, and every query of the dashboard finds its series.

Durations of the rules are shortened, and thresholds of age with them (`SOONER`); every other threshold is as it is.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process
from config.redis_keys import SPILL_RECORDS
from orders.intake.spill import SpillSigner
from orders.model import parse
from orders.states import CodeKind
from tests.acceptance.apart import MEDICINE, SPILL_KEY, Apart
from tests.acceptance.supervised import query
from tests.cli import clean_environment, command, running
from tests.intake import NOWHERE
from tests.liveness import kept_out
from tests.machines.tools import ROOT, program
from tests.spilling import an_intake
from tests.waiting import until
from tests.watching import Prometheus, dashboard, panels_of, prometheus
from workers.mapping.current_mapping import unmapped

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(240)]

TOKEN, SEAL_KEY = "shared-with-prometheus", "5a" * 32
SOONER = {"> 900": "> 4", "> 3600": "> 6", "> 120": "> 8", "> 90000": "> 12"}
EMPTY = {  # panels that rightly show nothing while all is well
    "Alerts": "no alert fires",
    "Redis' memory B": "no limit is set",
}
DISK = 16 * 1024 * 1024  # bytes


class Watched:
    """The parts, with an exporter, under a Prometheus."""

    def __init__(self, parts: Apart, leash: Leash, small: Path | None) -> None:
        self.parts, self.small = parts, small
        self._leash, self._port = leash, choose()
        self._processes: dict[str, tuple[ExitStack, Process]] = {}
        self._references = 0
        parts.env |= {
            "RELAIS_METRICS_TOKEN": TOKEN,
            "RELAIS_SEAL_KEY": SEAL_KEY,
            "RELAIS_API_KEY": parts.key,
            "RELAIS_CANARY_EVERY": "1",
            "RELAIS_ERP_ACK_WITHIN": "1",
            "RELAIS_DISKS": str(small or parts.env["RELAIS_DATA_DIR"]),
        }
        self.api_port = int(parts.url.rpartition(":")[2])
        self.targets = {"relais": f"127.0.0.1:{self._port}", "relais-api": f"127.0.0.1:{self.api_port}"}
        self.prometheus: Prometheus

    def start(self, name: str) -> None:
        """Start the exporter, the intake or a worker."""
        ports = {"exporter": self._port, "api": self.api_port}
        options = ("--port", str(ports[name])) if name in ports else ()
        stack = ExitStack()
        process, _ = stack.enter_context(running(self._leash, name, command(name, *options), self.parts.env))
        self._processes[name] = (stack, process)

    def stop(self, name: str) -> None:
        """Stop it as an operator does."""
        self._processes.pop(name)[0].close()

    def pid(self, name: str) -> int:
        """Its main process."""
        return self._processes[name][1].pid

    def close(self) -> None:
        """Stop all."""
        for name in list(self._processes):
            self.stop(name)

    def relais(self, *words: str, code: int = 0) -> str:
        """Run a command of the operator's."""
        env = clean_environment(self.parts.env) | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command(*words), env=env, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def submit(self, count: int = 1, **fields: object) -> None:
        """Hand over orders."""
        lines = [{"product": MEDICINE, "quantity": 1}]
        orders = []
        for _ in range(count):
            self._references += 1
            orders.append({"pharmacy": "P1", "reference": f"M{self._references}", "lines": lines, **fields})
        file = Path(self.parts.env["RELAIS_DATA_DIR"]) / "orders.ndjson"
        file.write_text("\n".join(map(json.dumps, orders)))
        self.relais("submit", str(file))

    @property
    def last(self) -> str:
        """The reference of the order that was handed over last."""
        return f"M{self._references}"

    def dial(self, **knobs: object) -> None:
        """Turn the simulator's dial."""
        body = json.dumps(knobs).encode()
        request = urllib.request.Request(f"{self.parts.control}/_dial", body, method="PUT")
        request.add_header("Content-Type", "application/json")
        urllib.request.urlopen(request, timeout=10).close()

    @contextmanager
    def alert(self, name: str, timeout: float = 30, **labels: str) -> Iterator[None]:
        """The body makes the cause: the alert fires then, and did not before."""
        assert not self.prometheus.firing(name, **labels)
        yield
        self.prometheus.fires(name, timeout, **labels)


@pytest.fixture(scope="module")
def small() -> Iterator[Path | None]:
    """A small filesystem, where we may mount one."""
    path = Path(tempfile.mkdtemp(prefix="relais-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(path)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    yield path if mounted else None
    if mounted:
        subprocess.run(["umount", str(path)], check=True)
    path.rmdir()


@pytest.fixture(scope="module")
def watched(leash: Leash, small: Path | None) -> Iterator[Watched]:
    program("prometheus")
    with tempfile.TemporaryDirectory(prefix="relais-test-") as folder, ExitStack() as stack:
        work, data = Path(folder, "prometheus"), Path(folder, "relais")
        work.mkdir()
        data.mkdir()
        Path(folder).chmod(0o711)
        parts = Apart(data, leash)
        stack.callback(parts.close)
        parts.sim()
        found = Watched(parts, leash, small)
        stack.callback(found.close)
        with ThreadPoolExecutor() as hands:
            list(hands.map(found.start, ("exporter", "api", "worker")))
        found.prometheus = stack.enter_context(prometheus(leash, work, found.targets, TOKEN, sooner=SOONER))
        found.submit(50)
        found.relais("audit")
        until(lambda: found.prometheus.query("relais_audit_ok"), 20, 0.2, "the first figures are there")
        yield found


def filled(expression: str) -> str:
    """A query of the dashboard as Grafana would send it."""
    for name, value in {
        "backend": ".*",
        "__rate_interval": "10s",
        "__range": "1m",
        "datasource": "prometheus",
    }.items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression, expression
    return expression


def test_every_query_of_the_dashboard_finds_its_series(watched: Watched) -> None:
    watched.submit(20, priority="urgent")
    watched.relais("drain", "--timeout", "30s")
    silent = {}
    for panel in panels_of():
        for number, expression in enumerate(panel.queries):
            name = f"{panel.title} {'ABCDEFGH'[number]}" if len(panel.queries) > 1 else panel.title
            if name in EMPTY:
                watched.prometheus.query(filled(expression))
                continue
            try:
                until(partial(watched.prometheus.query, filled(expression)), 10, 0.3)
            except AssertionError:
                silent[name] = expression
    assert silent == {}
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert asked is not None
            assert watched.prometheus.ask(f"label/{asked[2]}/values", **{"match[]": asked[1]}) == ["erp"]


def test_an_erp_that_is_out(watched: Watched) -> None:
    with watched.alert("RelaisErpDown", backend="erp"):
        watched.dial(down=True)
        watched.submit(20)
    watched.dial()
    watched.prometheus.clears("RelaisErpDown")


def test_an_erp_in_quarantine(watched: Watched) -> None:
    with watched.alert("RelaisQuarantined", backend="erp"):
        watched.relais("quarantine", "--because", "a test")
    watched.relais("release", "--because", "it was one", "--yes")
    watched.prometheus.clears("RelaisQuarantined")


def test_orders_that_will_miss_their_cut_off(watched: Watched) -> None:
    watched.relais("drain", "--timeout", "30s")
    with watched.alert("RelaisCutOffAtRisk", 60, backend="erp"):
        watched.relais("rate", "--because", "a test", "1")
        cut_off = datetime.now(UTC) + timedelta(seconds=120)
        watched.submit(300, cut_off=cut_off.isoformat())
    watched.relais("rate", "--because", "a test", "off")
    watched.relais("drain", "--timeout", "60s")
    assert datetime.now(UTC) < cut_off
    watched.prometheus.clears("RelaisCutOffAtRisk", 40)


def test_orders_that_are_old(watched: Watched) -> None:
    with watched.alert("RelaisBacklogOld", priority="normal"):
        watched.relais("pause", "--because", "a test")
        watched.submit(2)
    assert not watched.prometheus.firing("RelaisBacklogOld", priority="urgent")
    with watched.alert("RelaisBacklogOld", priority="urgent"):
        watched.submit(2, priority="urgent")
    watched.relais("resume", "--because", "a test")
    watched.prometheus.clears("RelaisBacklogOld")


def test_poison_orders(watched: Watched) -> None:
    with watched.alert("RelaisDeadLetters", reason="refused"):
        watched.dial(refuse_rate=1.0)
        watched.submit(3)
    watched.dial()
    watched.relais("dead", "discard", "--all", "--because", "a test", "--yes")
    watched.prometheus.clears("RelaisDeadLetters")


def test_an_erp_that_owes_its_decision(watched: Watched) -> None:
    with watched.alert("RelaisAnswersOverdue", backend="erp"):
        watched.dial(confirm_later=15)
        watched.submit(2)
    watched.dial()
    watched.relais("drain", "--timeout", "60s")
    watched.prometheus.clears("RelaisAnswersOverdue")


def test_codes_that_are_not_mapped(watched: Watched) -> None:
    """As a worker leaves an order whose connector needs a mapping, which this one's does not."""
    watched.relais("pause", "--because", "a test")
    watched.submit(2)
    with watched.alert("RelaisUnmapped", backend="erp"):
        why = unmapped([(CodeKind.PHARMACY, "P1")])
        query(
            watched.parts.postgres.url,
            "UPDATE deliveries SET state = 'dead', reason = 'unmapped', settled_at = now(), "
            f"error = '{why}', why = '{json.dumps(why.stored())}' WHERE state = 'accepted'",
        )
    assert not watched.prometheus.firing("RelaisDeadLetters", reason="unmapped")
    watched.relais("dead", "discard", "--reason", "unmapped", "--because", "a test", "--yes")
    watched.relais("resume", "--because", "a test")
    watched.prometheus.clears("RelaisUnmapped")


def test_answers_that_cannot_be_read(watched: Watched) -> None:
    """As a worker leaves them that has looked into a connector's directory, which this one's has not."""
    with watched.alert("RelaisAnswersSetAside", backend="erp"):
        query(watched.parts.postgres.url, "UPDATE backends SET set_aside = 2, set_aside_at = now()")
    query(watched.parts.postgres.url, "UPDATE backends SET set_aside = 0")
    watched.prometheus.clears("RelaisAnswersSetAside")


def test_a_replay_that_holds(watched: Watched) -> None:
    watched.relais("pause", "--because", "a test")
    watched.submit(30)
    with watched.alert("RelaisReplayHolds", backend="erp"):
        watched.relais("replay", "start", "--because", "a test", "--yes", "--no-wait", "--stage-hold")
        watched.relais("resume", "--because", "a test")
    watched.relais("replay", "cancel", "--because", "a test", "--yes")
    watched.prometheus.clears("RelaisReplayHolds")


def test_no_worker(watched: Watched) -> None:
    with watched.alert("RelaisNoLeader"):
        watched.stop("worker")
    watched.start("worker")
    watched.prometheus.clears("RelaisNoLeader")


def test_a_worker_that_is_stuck(watched: Watched) -> None:
    with watched.alert("RelaisCanarySilent"):
        os.kill(watched.pid("worker"), signal.SIGSTOP)
    os.kill(watched.pid("worker"), signal.SIGCONT)
    watched.prometheus.clears("RelaisCanarySilent")


def test_a_worker_that_answers_and_takes_no_orders(watched: Watched) -> None:
    with kept_out(watched.parts.postgres.url), watched.alert("RelaisWorkerDeaf", 60):
        watched.submit(3)
    watched.stop("worker")
    watched.start("worker")
    watched.prometheus.clears("RelaisWorkerDeaf")


def test_an_order_whose_place_another_has(watched: Watched) -> None:
    watched.submit()
    with watched.alert("RelaisReceiptsInConflict"):
        spill_another(watched)
    watched.relais("dead", "discard", "--reason", "conflict", "--because", "a test", "--yes")
    watched.prometheus.clears("RelaisReceiptsInConflict")
    watched.prometheus.clears("RelaisDeadLetters")


def spill_another(watched: Watched) -> None:
    """An intake that is cut off from the journal takes an order of the reference that was handed over last."""
    lines = [{"product": MEDICINE, "quantity": 9}]
    order = parse(json.dumps({"pharmacy": "P1", "reference": watched.last, "lines": lines}).encode())

    async def accept() -> None:
        key = SpillSigner.of(SecretStr(SPILL_KEY))
        async with an_intake(NOWHERE, watched.parts.valkey.url, key=key) as intake:
            assert (await intake.accept(order, "front")).kept == "spill"

    asyncio.run(accept())


def test_a_record_of_the_spill_that_nobody_of_ours_signed(watched: Watched) -> None:
    with watched.alert("RelaisSpillForged"), redis.Redis.from_url(watched.parts.valkey.url) as client:
        client.rpush(SPILL_RECORDS, "forged")
    query(
        watched.parts.postgres.url,
        "ALTER TABLE asides DISABLE TRIGGER USER",
        "DELETE FROM asides WHERE kind = 'forged'",
        "ALTER TABLE asides ENABLE TRIGGER USER",
    )
    watched.prometheus.clears("RelaisSpillForged")


def test_an_altered_row(watched: Watched) -> None:
    first = "(SELECT id FROM orders ORDER BY id LIMIT 1)"

    def rewrite(body: str) -> None:
        query(
            watched.parts.postgres.url,
            "ALTER TABLE orders DISABLE TRIGGER USER",
            f"UPDATE orders SET body = {body} WHERE id = {first}",
            "ALTER TABLE orders ENABLE TRIGGER USER",
        )

    with watched.alert("RelaisAuditFailed"):
        rewrite("body || ' '::bytea")
        watched.relais("audit", code=1)
    rewrite("substr(body, 1, length(body) - 1)")
    watched.relais("audit")
    watched.prometheus.clears("RelaisAuditFailed")


def test_no_audit_for_long(watched: Watched) -> None:
    watched.relais("audit")
    watched.prometheus.clears("RelaisAuditStale")
    with watched.alert("RelaisAuditStale"):
        pass
    watched.relais("audit")
    watched.prometheus.clears("RelaisAuditStale")


def test_postgresql_away(watched: Watched) -> None:
    with watched.alert("RelaisJournalDown"), watched.alert("RelaisSpillInUse"):
        watched.parts.postgres.stop()
        watched.submit(20)
    watched.parts.postgres.start()
    watched.prometheus.clears("RelaisJournalDown")
    watched.prometheus.clears("RelaisSpillInUse", 60)


def test_a_setting_of_postgresql_that_weakens_receipts(watched: Watched) -> None:
    with watched.alert("RelaisJournalWeak", what="full_page_writes_off"):
        watched.parts.restart_postgres(full_page_writes="off")
    watched.parts.restart_postgres()
    watched.prometheus.clears("RelaisJournalWeak")
    watched.prometheus.clears("RelaisJournalDown")
    watched.prometheus.clears("RelaisSpillInUse", 60)


def test_redis_away(watched: Watched) -> None:
    with watched.alert("RelaisRedisDown"):
        watched.parts.valkey.kill()
    watched.parts.valkey.start()
    watched.prometheus.clears("RelaisRedisDown")


def test_redis_nearly_full(watched: Watched) -> None:
    with redis.Redis.from_url(watched.parts.valkey.url) as client:
        with watched.alert("RelaisRedisMemory"):
            client.config_set("maxmemory", 3 * int(client.info("memory")["used_memory"]))
            fill(client)
        client.delete("ballast")
        watched.prometheus.clears("RelaisRedisMemory")
        client.config_set("maxmemory", 0)


def fill(client: "redis.Redis") -> None:
    """Write until Redis takes no more."""
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        while True:
            client.append("ballast", b"x" * 100_000)


def test_a_disk_that_fills_up(watched: Watched) -> None:
    if watched.small is None:
        pytest.skip("no small filesystem can be mounted here")
    ballast = watched.small / "ballast"
    with watched.alert("RelaisDiskFilling", path=str(watched.small)):
        ballast.write_bytes(b"x" * (DISK * 9 // 10))
    ballast.unlink()
    watched.prometheus.clears("RelaisDiskFilling", path=str(watched.small))


def test_an_intake_that_is_away_or_has_nowhere_to_keep_orders(watched: Watched) -> None:
    with watched.alert("RelaisIntakeRefusing"):
        watched.stop("api")
    watched.start("api")
    watched.prometheus.clears("RelaisIntakeRefusing")
    with watched.alert("RelaisIntakeRefusing"):
        watched.parts.postgres.stop()
        watched.parts.valkey.kill()
        until(lambda: refused(watched), 20, 0.3, "orders are refused")
    watched.parts.valkey.start()
    watched.parts.postgres.start()
    watched.prometheus.clears("RelaisIntakeRefusing", 60)
    watched.prometheus.clears("RelaisJournalDown")
    watched.prometheus.clears("RelaisRedisDown")


def refused(watched: Watched) -> bool:
    """Whether an order is answered 503."""
    body = json.dumps({"pharmacy": "P1", "reference": "N1", "lines": [{"product": MEDICINE, "quantity": 1}]}).encode()
    request = urllib.request.Request(f"{watched.parts.url}/orders", body, method="POST")
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {watched.parts.key}")
    try:
        urllib.request.urlopen(request, timeout=15).close()
    except urllib.error.HTTPError as answer:
        return answer.code == 503
    return False


def test_an_exporter_that_is_away(watched: Watched) -> None:
    with watched.alert("RelaisExporterDown"):
        watched.stop("exporter")
    watched.start("exporter")
    watched.prometheus.clears("RelaisExporterDown")


def test_every_alert_can_be_judged_and_none_is_left(watched: Watched) -> None:
    rules: list[dict[str, Any]] = [
        rule for group in watched.prometheus.ask("rules", type="alert")["groups"] for rule in group["rules"]
    ]
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    watched.stop("worker")  # one that met a full Redis may have ended, and nobody here starts it again
    watched.start("worker")
    with suppress(AssertionError):
        until(lambda: firing(watched) <= {"RelaisAuditStale"}, 30, 0.5)
    assert firing(watched) - {"RelaisAuditStale"} == set()


def firing(watched: Watched) -> set[str]:
    """The alerts that fire; of disks only if it is the test's own."""
    alerts = [each for each in watched.prometheus.ask("alerts")["alerts"] if each["state"] == "firing"]
    ours = str(watched.small)
    return {each["labels"]["alertname"] for each in alerts if each["labels"].get("path", ours) == ours}
