"""The ERPs that connectors are tried against, each a real process that a test may take away, and what each has in its
own store. One of another package is a class with these methods, named by `--erp-counterpart MODULE:CLASS`.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process
from config.settings import Settings
from tests.cli import command, running
from tests.conformance.files import Directory, OverSftp
from tests.conformance.real_tryton import RealTryton
from tests.conformance.rest_tryton import RestTryton
from tests.conformance.sap import CapSalesOrders, MockSapSalesOrders
from tests.machines.erp import MEDICINES, an_order, settings_for
from tests.machines.wire import wire_to
from workers.erp.connectors import open_erp
from workers.erp.port import Erp, Submission
from workers.erp.sim.book import read_effects


class Counterpart(Protocol):
    """An ERP, and what a test does to it."""

    port: int  # where it listens, on 127.0.0.1

    def __init__(self, directory: Path, leash: Leash) -> None:
        """Nothing runs yet."""

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""

    def kill(self) -> None:
        """SIGKILL it."""

    def freeze(self) -> None:
        """It answers no more, and hangs up on nobody."""

    def thaw(self) -> None:
        """It goes on where it was."""

    def close(self) -> None:
        """End all of it."""

    def settings(self, port: int | None = None) -> Settings:
        """The backend's, at another port than its own where one is given."""
        ...

    def order(self, *quantities: int) -> Submission:
        """An order that it takes, a line a quantity."""
        ...

    def refused(self) -> Submission:
        """An order that it refuses, in words of its own."""
        ...

    def substitute(self) -> Submission:
        """An order of one line, in whose place it will deliver another product. Skips the test where it cannot."""
        ...

    def back_order(self) -> Submission:
        """An order of one line, some boxes of which it will deliver later. Skips the test where it cannot."""
        ...

    def log_out(self) -> None:
        """Every session ends, where it has such."""

    def lock_out(self) -> None:
        """Our credentials are no longer good."""

    def effects(self) -> Counter[UUID]:
        """How often it holds each order, by its own store."""
        ...

    def forget(self) -> None:
        """It is restored from a backup of before it took any order."""

    def plant(self) -> UUID:
        """Somebody else makes an order that looks like one of ours."""
        ...


Of = TypeVar("Of", bound=Counterpart)


class Simulated:
    """Our own contract, as the simulator keeps it."""

    def __init__(self, directory: Path, leash: Leash) -> None:
        self.port, self._control = choose(), choose()
        self._leash, self._stack = leash, ExitStack()
        self._file = directory / "erp-sim.jsonl"
        self._process: Process | None = None

    def start(self) -> None:
        words = ("--port", str(self.port), "--control-port", str(self._control), "--file", str(self._file))
        argv = command("erp-sim", *words)
        self._process, _ = self._stack.enter_context(running(self._leash, "erp-sim", argv, {}, ready="control"))

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        self._stack.close()

    def settings(self, port: int | None = None) -> Settings:
        return settings_for(f"http://127.0.0.1:{port or self.port}")

    def order(self, *quantities: int) -> Submission:
        return an_order(*quantities)

    def refused(self) -> Submission:
        self._ask("/_dial", "PUT", refuse_products=[MEDICINES[2]])
        return an_order(1, 1, 1)

    def substitute(self) -> Submission:
        self._ask("/_dial", "PUT", substitutes={MEDICINES[0]: MEDICINES[1]})
        return an_order(4)

    def back_order(self) -> Submission:
        self._ask("/_dial", "PUT", back_order_rate=1.0)
        return an_order(5)

    def log_out(self) -> None:
        pass

    def lock_out(self) -> None:
        self._ask("/_dial", "PUT", error_rate=1.0, error_status=401)

    def effects(self) -> Counter[UUID]:
        return Counter(UUID(effect["id"]) for effect in read_effects(self._file))

    def forget(self) -> None:
        self._ask("/_forget", last=1.0)

    def plant(self) -> UUID:
        return UUID(self._ask("/_plant")["id"])

    def _ask(self, path: str, method: str = "POST", **body: object) -> Any:
        url = f"http://127.0.0.1:{self._control}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), method=method)) as answer:
            return json.load(answer)


COUNTERPARTS: dict[str, type[Counterpart]] = {
    "files": Directory,
    "http": Simulated,
    "odata": CapSalesOrders,
    "odata-mock": MockSapSalesOrders,
    "rest": RestTryton,
    "sftp": OverSftp,
    "tryton": RealTryton,
}


def connect(counterpart: Counterpart, port: int | None = None, **more: object) -> Erp:
    """The connector to it, as a worker opens it, with `more` settings of the backend."""
    return open_erp(counterpart.settings(port).replace(**more))


@contextmanager
def started(kind: Callable[[Path, Leash], Of], leash: Leash) -> Iterator[Of]:
    """One of that kind, running, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="relais-erp-") as directory:
        Path(directory).chmod(0o711)
        erp = kind(Path(directory), leash)
        try:
            erp.start()
            yield erp
        finally:
            erp.close()


def wire_of(counterpart: Counterpart) -> AbstractContextManager[Any]:
    """What a test can cut between a connector and its ERP; a counterpart that listens nowhere brings its own."""
    own = getattr(counterpart, "wire", None)
    wire: AbstractContextManager[Any] = wire_to(counterpart.port) if own is None else own()
    return wire
