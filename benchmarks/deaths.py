"""How long a death is felt under `relais up` at default settings, while a front end hands over 20 orders a second.

`python -m benchmarks.deaths [--kills N]` prints for each SIGKILL of the whole worker the seconds until its place is
taken and until an order that was accepted after it is with the ERP, and the processor time of that: first with a spare
that waits, then of the worker that took its place, at once, whose spare still loads. Then it kills the intake as soon
as it answers, again and again, and prints the longest time without a 202, and the processor time of the last start.
Exit 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psutil

from benchmarks import report
from benchmarks.relais import journal
from benchmarks.rig import PATIENCE, BenchmarkFailed
from benchmarks.sample import body, orders
from config.embedded.leash import Leash
from config.embedded.marks import Mark, birth, end
from config.embedded.process import module
from orders.access import clients
from workers.erp.sim.book import read_effects

PORTS = {f"RELAIS_{name}_PORT": "0" for name in ("API", "CONSOLE", "FLOWER", "EXPORTER", "ERP_SIM")}
EVERY = 0.05  # seconds between two orders
LOADED = 90 << 20  # bytes of a spare that has loaded what a worker needs
DELIVERY, INTAKE = 3.0, 5.0  # seconds, the bounds


class Running:
    """A `relais up`, and when what became of its front end's orders: seconds since the epoch."""

    def __init__(self, data_dir: Path, process: subprocess.Popen[bytes]) -> None:
        """It is up once `offered` is."""
        self.data_dir, self.process = data_dir, process
        self.accepted: dict[UUID, float] = {}
        self.over = threading.Event()

    def offered(self) -> dict[str, Any]:
        """Where everything is; empty until it is up."""
        path = self.data_dir / "endpoints.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def pid(self, name: str) -> int:
        """Of a part; 0 while there is none."""
        recorded = json.loads((self.data_dir / "run.json").read_text())["processes"]
        return next((int(each["pid"]) for each in recorded if each["name"] == name), 0)

    def spare(self) -> int:
        """The pid of a worker's spare that has loaded all that it needs; 0 while there is none."""
        found = [each for each in psutil.Process(self.process.pid).children() if "--standby" in each.cmdline()]
        return next(
            (each.pid for each in found if each.pid != self.pid("worker") and each.memory_info().rss > LOADED), 0
        )

    def delivered(self) -> dict[UUID, float]:
        """When the ERP took which order."""
        effects = read_effects(self.data_dir / "erp-sim.jsonl")
        return {UUID(each["id"]): datetime.fromisoformat(each["received_at"]).timestamp() for each in effects}

    def hand_over(self, url: str, key: str) -> None:
        """One order after the other on one connection, until it is over; one that is not answered 202 is left."""
        place = urlsplit(url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=2)
        for order in orders(100_000):
            if self.over.wait(EVERY):
                break
            try:
                connection.request("POST", "/orders", body(order), {"Authorization": f"Bearer {key}"})
                answer = connection.getresponse()
                said = answer.read()
                if answer.status == 202:
                    self.accepted[UUID(json.loads(said)["id"])] = time.time()
            except (OSError, http.client.HTTPException):
                connection.close()


@contextmanager
def _up() -> Iterator[Running]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RELAIS_")}
    with tempfile.TemporaryDirectory(prefix="relais-deaths-") as home, Leash() as leash:
        Path(home).chmod(0o711)
        data_dir = Path(home) / "data"
        argv = module("workers.cli", "--data-dir", str(data_dir), "up")
        with (Path(home) / "up.log").open("wb") as log:
            process = subprocess.Popen(argv, env={**kept, **PORTS}, stdout=log, stderr=log, start_new_session=True)
        mark = Mark("up", process.pid, birth(process.pid), grace=60)
        leash.hold(mark)
        running = Running(data_dir, process)
        try:
            _until(running.offered, "relais up")
            yield running
        finally:
            end(mark, grace=60)
            process.wait()
            leash.drop(mark)


def _until(so: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(psutil.Error):
            if so():
                return
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.02)


def _kill(pid: int) -> float:
    """The process and all that it started; when."""
    main = psutil.Process(pid)
    family = [main, *main.children(recursive=True)]
    began = time.time()
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    return began


def _used(pid: int) -> float:
    """Seconds of processor time of a process and what it started; 0 of none."""
    with suppress(psutil.NoSuchProcess):
        main = psutil.Process(pid)
        return sum(sum(each.cpu_times()[:2]) for each in (main, *main.children(recursive=True)))
    return 0.0


def _worker_dies(running: Running) -> dict[str, float]:
    """Seconds until another is in its place, and until an order that was accepted after its death is with the ERP;
    and of processor time that the other needed for it, which no busy machine makes more.
    """
    before, spare = running.pid("worker"), running.spare()
    loaded, began = _used(spare), _kill(before)
    _until(lambda: running.pid("worker") not in (0, before), "another worker")
    replaced, after = time.time() - began, running.pid("worker")

    def first() -> float | None:
        accepted = dict(running.accepted)
        return min((at for each, at in running.delivered().items() if accepted.get(each, 0) > began), default=None)

    _until(first, "a delivery")
    used = _used(after) - (loaded if after == spare else 0)
    return {"replaced": replaced, "delivered": (first() or 0) - began, "cpu": used}


def _intake_dies(running: Running, kills: int) -> float:
    """The longest time without a 202, in seconds, while it is killed whenever it has answered."""
    began = time.time()
    for _ in range(kills):
        before, killed = running.pid("api"), _kill(running.pid("api"))

        def answers(before: int = before, killed: float = killed) -> bool:
            return running.pid("api") not in (0, before) and max(running.accepted.values()) > killed

        _until(answers, "a 202")
    times = sorted(at for at in running.accepted.values() if at > began - 1)
    return max(after - before for before, after in pairwise(times))


def measure(kills: int) -> dict[str, Any]:
    """Seconds: of each death of a worker, with a spare and again at once, and the intake's longest outage."""
    with_spare, again = [], []
    with _up() as running:
        offered = running.offered()
        key = str(journal(offered["owner_url"], lambda engine: clients.add(engine, "bench")))
        front = threading.Thread(target=running.hand_over, args=(offered["api_url"], key))
        front.start()
        try:
            for _ in range(kills):
                _until(running.spare, "a spare")
                with_spare.append(_worker_dies(running))
                again.append(_worker_dies(running))
            outage = _intake_dies(running, 2 * kills)
            used = _used(running.pid("api"))
        finally:
            running.over.set()
            front.join()
    return {
        "spare_s": _spread(with_spare),
        "again_s": _spread(again),
        "intake_outage_s": round(outage, 2),
        "intake_cpu_s": round(used, 2),
    }


def _spread(deaths: list[dict[str, float]]) -> dict[str, Any]:
    return {name: report.spread([each[name] for each in deaths]) for name in deaths[0]}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="benchmarks.deaths", description=__doc__)
    parser.add_argument("--kills", type=int, default=4, help="of a worker with a spare; the intake dies twice as often")
    with report.plainly():
        figures = measure(parser.parse_args().kills)
    print(json.dumps(figures, indent=2))
    report.merge({"deaths": {**figures, "load": [round(each, 2) for each in os.getloadavg()]}})
    slowest = max(figures[each]["delivered"]["max"] for each in ("spare_s", "again_s"))
    if slowest > DELIVERY or figures["intake_outage_s"] > INTAKE:
        sys.exit(1)


if __name__ == "__main__":
    main()
