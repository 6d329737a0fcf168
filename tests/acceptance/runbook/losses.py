"""Drills of the runbook in which a part of Relais is lost, stuck or full; see `runbook_drills`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import redis

from config.redis_keys import NORMAL, SPILL_RECORDS, queue_of
from config.settings import Settings
from tests.acceptance.runbook.site import Site
from tests.waiting import until
from workers.queue.app import create_app

SOLD = "3400937318044"


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


def spill_forged(site: Site) -> Iterator[None]:
    forged = "SELECT count(*) FROM asides WHERE kind = 'forged'"
    with redis.Redis.from_url(site.parts.valkey.url) as server:
        server.rpush(SPILL_RECORDS, "signed by nobody")
    until(lambda: site.one(forged) == 1, 30, what="it is set aside")
    yield
    yield
    yield
    assert site.one(forged) == 0


def redis_memory(site: Site) -> Iterator[None]:
    kill(site, family(site))
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


def exporter_down(site: Site) -> Iterator[None]:
    yield
    exporter = site.process("exporter")
    yield
    exporter.end()


def leads(site: Site) -> bool:
    return bool(site.json("relais status")["leader"])


def spilled(site: Site) -> int | None:
    found = site.json("relais admin space")["redis"]["spilled"]
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
