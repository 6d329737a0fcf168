"""What brings an installation into the state of each section of the runbook, by its real cause.

A drill is a generator: it produces the state and yields before each block of the section's commands, so that what
other people do meanwhile (the ERP's, the database's) happens where the runbook says so. After the last block it says
what must be true.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psutil
import redis

from config.celeryconfig import NORMAL, queue_of
from config.settings import Settings
from tests.acceptance.runbook_site import Site
from tests.waiting import until
from workers.app import create_app
from workers.erp.keyfile import generate

Drill = Callable[[Site], Iterator[None]]
SOLD, NOT_SOLD = "3400937318044", "3400938615470"


def erp_down(site: Site) -> Iterator[None]:
    site.submit(5)
    site.delivered()
    site.dial(down=True)
    site.submit(30)
    until(lambda: circuit(site) == "open", 30, what="the circuit opened")
    yield
    assert site.waiting() == 30
    site.dial()
    yield
    assert site.one("SELECT max(attempts) FROM deliveries") <= 1, "the outage cost no attempt"


def erp_compromised(site: Site) -> Iterator[None]:
    site.submit(5)
    site.delivered()
    site.dial(tamper="digest")
    site.submit(1)
    until(lambda: site.one("SELECT quarantined FROM backends"), 30, what="the lie is found out")
    site.submit(20)
    assert site.waiting() == 21
    yield
    yield
    assert (site.home / "before.html").stat().st_mode & 0o077 == 0
    kept = json.loads((site.home / "evidence.json").read_text())
    assert "wrong_digest" in [piece["kind"] for piece in kept]
    generate(site.data_dir / "erp-2.key")
    shutil.copy(site.data_dir / "erp-2.key.pub", site.home / "erp-new.pub")
    site.erp.end()
    site.sim("erp-2")
    site.variables |= {"OLD_KEY": "erp-1", "NEW_KEY": "erp-2"}
    yield
    yield
    site.variables["DIGEST"] = site.said[-1].split("--approve ")[1].split()[0]
    assert site.ask('relais release "$BACKEND" --approve "$DIGEST"').returncode == 1, "not by the same operator"
    site.parts.env["RELAIS_OPERATOR"] = "bob"
    yield
    site.parts.env["RELAIS_OPERATOR"] = "alice"
    assert site.waiting() == 21, "nothing goes before the replay"
    yield
    yield
    assert site.one("SELECT count(*) FROM receipts WHERE key_id = 'erp-2'") >= 20


def keys_rotation(site: Site) -> Iterator[None]:
    old = site.key
    site.variables["CLIENT"] = "front"
    yield
    assert (site.home / "client-keys.csv").stat().st_mode & 0o077 == 0
    new = dict(line.split(",") for line in (site.home / "client-keys.csv").read_text().splitlines())
    assert {*new} >= {"client", "front", "other"}
    site.submit(1)
    site.key = new["front"]
    site.submit(1)
    yield
    until(lambda: site.order()[0] == 401, 20, what="the leaked key is out of force")
    site.key = old
    assert site.order()[0] == 401
    site.key = (site.home / "client-key.txt").read_text().strip()
    site.submit(1)


def redis_lost(site: Site) -> Iterator[None]:
    site.dial(latency_ms=200)
    site.submit(60)
    site.parts.valkey.kill()
    shutil.rmtree(site.data_dir / "valkey")
    site.submit(5)
    yield
    site.dial()
    site.parts.valkey.start()
    until(lambda: leads(site), 60, 0.2, "a worker leads again")
    yield


def postgresql_failover(site: Site) -> Iterator[None]:
    site.submit(5)
    before = site.kept["spill"]
    site.parts.postgres.kill()
    site.submit(20)
    assert site.kept["spill"] >= before + 20
    yield
    site.parts.postgres.start()
    until(lambda: spilled(site) == 0, 60, 0.2, "the spill is journalled")
    until(lambda: leads(site), 60, 0.2, "a worker leads again")
    yield


def intake_refusing(site: Site) -> Iterator[None]:
    spool = {"RELAIS_API_KEY": site.key, "RELAIS_SPOOL": str(site.home / "spool.db")}
    site.parts.env |= spool
    site.parts.postgres.kill()
    site.parts.valkey.kill()
    until(lambda: site.order()[0] == 503, 30, what="the intake refuses")
    order = '{"pharmacy":"990000002","reference":"%s","lines":[{"product":"%s","quantity":2}]}'
    (site.home / "orders.ndjson").write_text(order % (uuid4().hex[:12], SOLD) + "\n")
    done = site.ask("relais submit orders.ndjson --patience 1 --json")
    assert '"spooled": 1' in done.stdout, done
    yield
    site.parts.postgres.start()
    until(lambda: site.order()[0] == 202, 60, 0.2, "the intake takes orders")
    yield
    site.parts.valkey.start()
    yield
    until(lambda: leads(site), 60, 0.2, "a worker leads again")
    yield
    site.parts.env = {name: value for name, value in site.parts.env.items() if name not in spool}


def poison_order(site: Site) -> Iterator[None]:
    site.dial(refuse_products=[NOT_SOLD])
    site.variables["ORDER"], site.variables["OTHER"] = site.submit(
        2, lines=[{"product": NOT_SOLD, "quantity": 1}]
    )  # fmt: skip
    good = site.submit(10)
    until(lambda: site.one("SELECT count(*) FROM deliveries WHERE state = 'dead'") == 2, 30, what="two are dead")
    site.delivered()
    yield
    assert set(good) <= {str(row[0]) for row in site.sql("SELECT order_id FROM deliveries WHERE state = 'delivered'")}
    site.dial()
    yield
    yield
    assert site.one("SELECT count(*) FROM deliveries WHERE state = 'dead'") == 0


def redis_memory(site: Site) -> Iterator[None]:
    site.worker.kill()
    site.variables["QUEUE"] = queue_of(NORMAL, "erp")
    app = create_app(Settings(redis_url=site.parts.valkey.url, _env_file=None))
    with redis.Redis.from_url(site.parts.valkey.url) as server:
        server.config_set("maxmemory", int(server.info("memory")["used_memory"] * 2))
        while server.info("memory")["used_memory"] < 0.7 * int(server.config_get("maxmemory")["maxmemory"]):
            for _ in range(100):
                app.tasks["relais.deliver"].apply_async(args=("erp", [str(uuid4()) for _ in range(20)]))
        yield
        yield
        site.worker = site.parts.worker()
        site.submit(10)
        until(lambda: leads(site), 60, 0.2, "a worker leads")
        yield
        server.config_set("maxmemory", 0)
    app.close()


def worker_stuck(site: Site) -> Iterator[None]:
    frozen = family(site)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    site.submit(10)
    yield
    kill(site, frozen)
    site.worker = site.parts.worker()
    yield


def no_leader(site: Site) -> Iterator[None]:
    kill(site, family(site))
    site.submit(10)
    until(lambda: not leads(site), 30, what="nobody leads")
    yield
    site.worker = site.parts.worker()
    until(lambda: leads(site), 60, 0.2, "a worker leads")
    yield


def backlog_old(site: Site) -> Iterator[None]:
    assert site.ask('relais pause "$BACKEND" --reason "the ERP is maintained"').returncode == 0
    site.submit(20)
    yield
    assert site.waiting() == 20
    yield


def cut_off_at_risk(site: Site) -> Iterator[None]:
    site.submit(30)
    site.delivered()
    assert site.ask('relais rate "$BACKEND" 0.1 --reason "month-end closing"').returncode == 0
    site.submit(40, cut_off=(datetime.now(UTC) + timedelta(seconds=120)).isoformat())
    late = [each["late_p95"] for each in site.json("relais forecast")["cut_offs"]]
    assert sum(late) > 0, "some will miss their cut-off"
    yield
    yield


def replay_holds(site: Site) -> Iterator[None]:
    assert site.ask('relais pause "$BACKEND" --reason "the ERP restarts"').returncode == 0
    site.submit(30)
    site.dial(error_rate=1.0)
    assert site.ask('relais replay "$BACKEND" --yes --no-wait').returncode == 0
    assert site.ask('relais resume "$BACKEND"').returncode == 0
    until(lambda: site.one("SELECT state FROM replays ORDER BY id DESC LIMIT 1") == "holding", 60, what="it holds")
    yield
    site.dial()
    yield


def audit_failed(site: Site) -> Iterator[None]:
    site.submit(3)
    site.delivered()
    assert site.ask("relais seal").returncode == 0
    (victim,) = site.sql("SELECT id, client FROM orders ORDER BY id LIMIT 1")
    behind_its_back(site, f"UPDATE orders SET client = 'mallory' WHERE id = '{victim[0]}'")
    yield
    behind_its_back(site, f"UPDATE orders SET client = '{victim[1]}' WHERE id = '{victim[0]}'")
    yield


def exporter_down(site: Site) -> Iterator[None]:
    yield
    exporter = site.process("exporter")
    yield
    exporter.end()


def erp_restored(site: Site) -> Iterator[None]:
    site.submit(40)
    site.delivered()
    lost = set(site.forget(0.3))
    assert lost
    yield
    found = site.json("relais reconcile --list")[0]
    site.variables["NUMBER"] = str(found["id"])
    assert found["missing"] == len(lost)
    yield


def end_of_incident(site: Site) -> Iterator[None]:
    site.variables["BEGAN"] = (datetime.now(UTC) - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M")
    site.submit(5)
    site.variables["ENDED"] = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M")
    yield
    for name in ("incident.html", "incident.json", "evidence.json", "seal-keys.json"):
        assert (site.home / name).stat().st_mode & 0o077 == 0
        assert (site.home / name).stat().st_size > 2


def disk_filling(site: Site) -> Iterator[None]:
    """PostgreSQL's disk is a small one of its own (`small_disk`)."""
    disk = site.data_dir / "postgres"
    site.variables["DISK"] = str(disk)
    ballast = disk / "core.dump"
    before = site.kept["spill"]
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(64 * 1024))
        except OSError:
            pass
    until(lambda: site.submit(5, note="x" * 200) and site.kept["spill"] > before, 60, what="orders are spilled")
    yield
    ballast.unlink()
    until(lambda: journal_answers(site), 60, 0.5, "PostgreSQL answers")
    until(lambda: spilled(site) == 0, 60, 0.2, "the spill is journalled")
    until(lambda: leads(site), 60, 0.2, "a worker leads again")
    yield


DRILLS: dict[str, Drill] = {
    drill.__name__.replace("_", "-"): drill
    for drill in (
        erp_down, poison_order, erp_compromised, keys_rotation, redis_lost, postgresql_failover, intake_refusing,
        redis_memory, worker_stuck, no_leader, backlog_old, cut_off_at_risk, replay_holds, audit_failed,
        exporter_down, erp_restored, end_of_incident, disk_filling,
    )
}  # fmt: skip


def circuit(site: Site) -> str:
    return str(site.one("SELECT circuit FROM backends"))


def leads(site: Site) -> bool:
    return bool(site.json("relais status")["leader"])


def spilled(site: Site) -> int | None:
    found = site.json("relais space")["redis"]["spilled"]
    return None if found is None else int(found)


def journal_answers(site: Site) -> bool:
    """True when it does; a PostgreSQL that stopped is started, as its supervisor would."""
    try:
        return bool(site.one("SELECT true"))
    except Exception:
        if not psutil.pid_exists(site.parts.postgres.pid):
            site.parts.postgres.start()
        return False


def family(site: Site) -> list[int]:
    """The worker's main process and its children."""
    worker = psutil.Process(site.worker.pid)
    return [worker.pid, *(child.pid for child in worker.children(recursive=True))]


def kill(site: Site, pids: list[int]) -> None:
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
    until(lambda: site.worker.poll() is not None, 10, what="the worker is gone")


def behind_its_back(site: Site, statement: str) -> None:
    """As PostgreSQL's superuser can: with the guards off."""
    site.sql("ALTER TABLE orders DISABLE TRIGGER ALL")
    site.sql(statement)
    site.sql("ALTER TABLE orders ENABLE TRIGGER ALL")


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    """A filesystem of this size at `postgres` in the directory. PermissionError where none can be mounted."""
    where = directory / "postgres"
    where.mkdir(0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(where)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise PermissionError("no filesystem can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)
