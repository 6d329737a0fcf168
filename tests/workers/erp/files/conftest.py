"""A directory that files are exchanged by, with a connector to it, and an ERP of a few lines that reads and answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest

from orders.model import parse
from tests.machines.erp import an_order, settings_for
from workers.erp.connectors import open_erp
from workers.erp.files.connector import FilesErp
from workers.erp.files.names import number_of
from workers.erp.port import Mapped, Outcome, Submission

T = TypeVar("T")

EDIFACT = """
format = "edifact"
steady = 0
[edifact]
sender = "RELAIS"
recipient = "ERP"
"""


class Exchange:
    """The directories, and what stands in them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        for name in ("orders", "answers", "relais"):
            (base / name).mkdir()
        self.settle = base / "files.toml"
        self.says(EDIFACT)

    def says(self, template: str) -> None:
        """What the connector's own settings are from now on."""
        self.settle.write_text(template)

    def erp(self) -> FilesErp:
        erp = open_erp(settings_for(f"file://{self.base}", erp_kind="files", erp_connector=self.settle))
        assert isinstance(erp, FilesErp)
        return erp

    def do(self, work: Callable[[FilesErp], Awaitable[T]]) -> T:
        """Something with a new connector, as another worker's process would open it."""

        async def run() -> T:
            erp = self.erp()
            try:
                return await work(erp)
            finally:
                await erp.close()

        return asyncio.run(run())

    def submit(self, *orders: Submission) -> list[Outcome]:
        told = self.do(lambda erp: erp.submit(orders, budget=30))
        return [told[each.id] for each in orders]

    def poll(self, *orders: Submission | UUID) -> list[Outcome]:
        ids = [each if isinstance(each, UUID) else each.id for each in orders]
        told = self.do(lambda erp: erp.poll(ids, budget=30))
        return [told[each] for each in ids]

    def answer(self, text: str | bytes, name: str = "answer.edi", age: float = 0.0) -> Path:
        """The ERP writes a file of answers, so many seconds ago."""
        file = self.base / "answers" / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode("latin-1"))
        if age:
            then = file.stat().st_mtime - age
            os.utime(file, (then, then))
        return file

    def names(self, directory: str) -> list[str]:
        """The files below a directory, by their own names."""
        return sorted(each.name for each in (self.base / directory).rglob("*") if each.is_file())

    def aside(self) -> str:
        """The reasons of what was set aside."""
        files = sorted((self.base / "relais" / "aside").glob("*.reason.txt"))
        for each in files:
            assert each.with_name(each.name.removesuffix(".reason.txt")).exists()
        return "".join(each.read_text() for each in files)


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    return Exchange(tmp_path)


def an_edi_order(*quantities: int, customer: str = "C-1", articles: Sequence[str] = ()) -> Submission:
    """An order as a worker hands it to a connector."""
    made = an_order(*quantities)
    order = parse(made.body)
    named = tuple(articles) or tuple(f"A-{number}" for number in range(1, len(order.lines) + 1))
    return replace(made, order=order, mapped=Mapped(customer, None, None, named))


def ordrsp(order: Submission | UUID, bgm: str = "9+AP", lines: str = "", number: str = "V-1", una: str = "") -> str:
    """An interchange with one ORDRSP, as an ERP would write it."""
    of = number_of(order if isinstance(order, UUID) else order.id)
    body = f"BGM+231+{number}+{bgm}'RFF+ON:{of}'{lines}UNS+S'"
    count = body.count("'") - body.count("?'") + 2
    return f"{una}UNB+UNOC:3+ERP+RELAIS+261130:0930+77'UNH+1+ORDRSP:D:96A:UN'{body}UNT+{count}+1'UNZ+1+77'"
