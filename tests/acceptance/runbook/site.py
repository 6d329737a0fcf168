"""An installation for the runbook's drills: every part a real process, an ERP that signs, and an operator's shell.

A section's commands are run as a shell runs them; what each printed and exited with is compared with what the runbook
itself says.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process
from orders.access import clients, receipt_keys
from orders.journal import connect
from tests.acceptance.apart import MEDICINE, Apart
from tests.cli import clean_environment
from tests.machines.tools import ROOT
from tests.waiting import until
from workers.console.access import accounts
from workers.console.access.passwords import Passwords
from workers.console.access.people import Role
from workers.erp.keyfile import generate
from workers.operations import record

SEAL_KEY = "5e" * 32
WAITS = "SELECT count(*) FROM deliveries WHERE state NOT IN ('delivered', 'dead', 'cancelled', 'discarded')"


class Site:
    """The parts; `variables` are those of the runbook, `said` is what the section's commands printed."""

    def __init__(self, data_dir: Path, leash: Leash) -> None:
        self.home = data_dir / "operator"
        self.home.mkdir()
        self.parts, self.data_dir = Apart(data_dir, leash), data_dir
        exporter = choose()
        self.parts.env |= {
            "RELAIS_RECEIPTS": "require",
            "RELAIS_FOUR_EYES": "true",
            "RELAIS_SEAL_KEY": SEAL_KEY,
            "RELAIS_ANCHOR": str(data_dir / "anchors.ndjson"),
            "RELAIS_MAX_ATTEMPTS": "3",
            "RELAIS_RETRY_MAX": "2",
            "RELAIS_ERP_ACK_WITHIN": "1",
            "RELAIS_EXPORTER_PORT": str(exporter),
        }
        self.known_as("alice")
        self.key = self.parts.key
        self.variables = {"BACKEND": "erp", "API": self.parts.url, "EXPORTER": f"http://127.0.0.1:{exporter}"}
        self.said: list[str] = []
        self.told: dict[str, UUID] = {}
        self.kept: Counter[str] = Counter()
        self._references = iter(range(1_000_000))

    def start(self) -> None:
        """Everything."""
        public = generate(self.data_dir / "erp-1.key")

        async def register() -> None:
            engine = connect(self.parts.postgres.url)
            also = partial(record, act="key add", reason="of the drills", detail={"backend": "erp", "key": "erp-1"})
            await receipt_keys.add(engine, "erp", public, "erp-1", also)
            await clients.add(engine, "other")
            for name in ("alice", "bob"):
                (self.data_dir / name).write_text(f"nine slow bicycles of {name}\n")
                kept = Passwords().hash(f"nine slow bicycles of {name}")
                await accounts.add(engine, name, Role.APPROVER, password=kept)
            await engine.dispose()

        asyncio.run(register())
        self.sim("erp-1")
        self.parts.api()
        self.worker = self.parts.worker()

    def known_as(self, name: str) -> None:
        """Who types from now on."""
        self.parts.env |= {"RELAIS_OPERATOR": name, "RELAIS_OPERATOR_PASSWORD_FILE": str(self.data_dir / name)}

    def sim(self, key: str) -> None:
        """The simulator, signing with this key."""
        self.erp = self.parts.sim("--sign-key", str(self.data_dir / f"{key}.key"), "--sign-as", key)

    def process(self, name: str) -> Process:
        """Another process of Relais."""
        return self.parts.run(name)

    def close(self) -> None:
        self.parts.close()

    # The operator's shell.

    def shell(self, command: str, codes: set[int], words: list[str]) -> None:
        """Run one command of the runbook. AssertionError unless it exits and says as the runbook has it."""
        done = self.ask(command)
        self.said.append(done.stdout)
        told = f"$ {command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        assert done.returncode in codes, f"exit code {done.returncode}, not {codes}\n{told}"
        absent = [word for word in words if word not in done.stdout + done.stderr]
        assert not absent, f"it does not say {absent}\n{told}"

    def ask(self, command: str) -> subprocess.CompletedProcess[str]:
        """What a command line leaves; `relais` is this environment's."""
        here = self.home / "relais"
        if not here.exists():
            here.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m workers.cli "$@"\n')
            here.chmod(0o755)
        env = clean_environment(self.parts.env | self.variables | {"PYTHONPATH": str(ROOT)})
        env["COLUMNS"] = "400"  # no sentence is broken in two
        env["PATH"] = f"{self.home}:{env['PATH']}"
        argv = ["bash", "-euo", "pipefail", "-c", command]
        return subprocess.run(
            argv,
            cwd=self.home,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def json(self, command: str) -> Any:
        """What a report says."""
        return json.loads(self.ask(f"{command} --json").stdout)

    # The front end and the ERP.

    def order(self, **fields: object) -> tuple[int, dict[str, Any]]:
        """Hand over one order: the status, and what was answered."""
        order = {
            "pharmacy": "990000002",
            "reference": f"B{next(self._references)}",
            "lines": [{"product": MEDICINE, "quantity": 2}],
            **fields,
        }
        request = urllib.request.Request(f"{self.parts.url}/orders", json.dumps(order).encode(), method="POST")
        request.add_header("Authorization", f"Bearer {self.key}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, {}
        self.told[str(order["reference"])] = UUID(told["id"])
        self.kept[told["kept"]] += 1
        return 202, told

    def submit(self, count: int, **fields: object) -> list[str]:
        """Hand over orders, each of which has to be taken: their ids."""
        ids = []
        for _ in range(count):
            status, told = until(lambda: answer if (answer := self.order(**fields))[0] == 202 else None, 30)  # type: ignore[misc]
            assert status == 202
            ids.append(told["id"])
        return ids

    def dial(self, **knobs: object) -> None:
        """Turn the simulator's dial; what is not named goes back to its place."""
        self._control("/_dial", "PUT", knobs)

    def heal(self) -> None:
        """What a drill that failed has left turned goes back to its place."""
        self.dial()
        for row in self.sql("SELECT paused, rate FROM backends"):
            if row["paused"] or row["rate"] is not None:
                self.ask('relais resume --because "a drill"; relais rate off --because "a drill"')

    def forget(self, share: float) -> list[str]:
        """The ERP is restored from a backup that lacks the newest of its orders: their ids."""
        return list(self._control("/_forget", "POST", {"last": share})["ids"])

    def _control(self, path: str, method: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(self.parts.control + path, json.dumps(body).encode(), method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            said = answer.read()
        return json.loads(said) if said else None

    # What became of it.

    def sql(self, statement: str) -> list[Any]:
        """Ask the journal, or change it behind Relais' back."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.parts.postgres.url, timeout=10)
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def one(self, statement: str) -> Any:
        """The one figure that it answers."""
        return self.sql(statement)[0][0]

    def waiting(self) -> int:
        """The backlog."""
        return int(self.one(WAITS))

    def delivered(self) -> None:
        """Wait until nothing is in the backlog."""
        until(lambda: self.waiting() == 0, 60, 0.1, "the backlog drained")

    def effects(self) -> Counter[UUID]:
        """How often the ERP has each order."""
        return self.parts.effects()

    def is_over(self) -> None:
        """Nothing waits, every order that was promised is there, once, and the books and the chain are sound."""
        self.delivered()
        known = {row[0] for row in self.sql("SELECT id FROM orders")}
        asides = {row[0] for row in self.sql("SELECT told FROM asides WHERE kind = 'repeated'")}
        assert set(self.told.values()) <= known | asides, "an order that was promised is lost"
        effects = self.effects()
        states = dict(tuple(row) for row in self.sql("SELECT order_id, state FROM deliveries"))
        delivered = {order_id for order_id, state in states.items() if state == "delivered"}
        assert {order_id for order_id in delivered if effects[order_id] != 1} == set(), "delivered, and there once"
        audit = self.json("relais audit")
        assert audit["sound"], audit["faults"]
        status = self.json("relais status")
        (backend,) = status["backends"]
        assert (backend["paused"], backend["quarantined"], backend["rate"]) == (False, False, None)


FILES = """
format = "csv"
steady = 0
[[order.records]]
fields = [{ is = "order" }, { is = "line" }, { is = "product" }, { is = "quantity" }]
[answer]
order = "CDE"
status = "ETAT"
accepted = ["OK"]
"""


class FileSite(Site):
    """One whose ERP is behind a directory, and takes nothing out of it."""

    def __init__(self, data_dir: Path, leash: Leash) -> None:
        super().__init__(data_dir, leash)
        self.exchange = data_dir / "exchange"
        for name in ("orders", "answers", "relais"):
            (self.exchange / name).mkdir(parents=True)
        own = data_dir / "files.toml"
        own.write_text(FILES)
        self.parts.env |= {
            "RELAIS_ERP_KIND": "files",
            "RELAIS_ERP_URL": f"file://{self.exchange}",
            "RELAIS_ERP_CONNECTOR": str(own),
            "RELAIS_RECEIPTS": "prefer",
        }
        self.variables["WORK"] = str(self.exchange / "relais")

    def effects(self) -> Counter[UUID]:
        return Counter(UUID(each.stem) for each in (self.exchange / "orders").iterdir())


SECTION = re.compile(r'^<a id="([a-z-]+)"></a>\n## (.+)\n', re.MULTILINE)


def sections(document: str) -> dict[str, list[list[str]]]:
    """The blocks of commands of each section, by its anchor; a command is a line, continued ones joined."""
    parts = SECTION.split(document)
    found = {}
    for anchor, body in zip(parts[1::3], parts[3::3], strict=True):
        blocks = re.findall(r"^```bash\n(.*?)^```", body, re.DOTALL | re.MULTILINE)
        found[anchor] = [
            [line for line in re.sub(r"\\\n", " ", block).splitlines() if line.strip()] for block in blocks
        ]
    return found


def expected(line: str) -> tuple[str, set[int], list[str]]:
    """A line of the runbook: the command, its exit code (or codes), and the words that it should print."""
    command, _, comment = line.partition("  #")
    codes = re.search(r"exits (\d+)(?:, or (\d+))?", comment)
    known = {int(code) for code in codes.groups() if code} if codes else {0}
    return command.strip(), known, re.findall(r'"([^"]+)"', comment)
