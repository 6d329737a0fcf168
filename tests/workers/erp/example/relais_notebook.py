"""A connector of somebody else's: its ERP is a notebook, a line of JSON an order, in a directory of its own.

What it needs to be one is all here: settings of its own, the `Erp` port, and the entry point that stands in
`relais_notebook-1.0.dist-info`, as a build makes it of `[project.entry-points."relais.erp"]`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import UUID

from pydantic import BaseModel, Field

from config.settings import Settings
from workers.erp import steady_clock
from workers.erp.connectors import Connector
from workers.erp.port import (
    Barrier,
    Capabilities,
    ErpReceipt,
    ErpReceiptLine,
    Kind,
    Listing,
    OpenBarrier,
    Outcome,
    Submission,
)
from workers.erp.signatures import Keys

PAGE: Final = 80  # no connector: what `nothing` names


class Notebook(BaseModel):
    """Its settings."""

    title: str = Field(min_length=1)
    mapped: bool = False  # whether a line says what the notebook calls the order's pharmacy and products
    clerk: bool = False  # whether lines go to a pile, from which a clerk copies them into the notebook later


class NotebookErp:
    """An order is in the notebook once its line is."""

    def __init__(self, directory: Path, own: Notebook, barrier: Barrier) -> None:
        self.capabilities = Capabilities(idempotent=True, mapped=own.mapped)
        if own.clerk:
            self.capabilities = Capabilities(
                idempotent=False,
                asynchronous=True,
                unique_reference=False,
                absent_after=600.0,
                ack_within=3600.0,
                mapped=own.mapped,
            )
        self._directory, self._barrier = directory, barrier
        self._book = directory / f"{own.title}.ndjson"
        self._pile = directory / f"{own.title}.pile" if own.clerk else None

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        """Every order's line, unless it is there."""
        if not await self._barrier.open():
            return {order.id: Outcome(Kind.UNSENT, "held") for order in orders}
        try:
            return {order.id: self._write(order) for order in orders}
        except OSError as error:
            return {order.id: Outcome(Kind.TRANSIENT, str(error.strerror)) for order in orders}

    async def find(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """Whether they are in the notebook."""
        known = self._known()
        return {each: Outcome(Kind.ACCEPTED if each in known else Kind.ABSENT, receipt=known.get(each)) for each in ids}

    async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """As `find`."""
        return await self.find(ids, budget=budget)

    async def list(self, since: datetime, until: datetime, *, after: str | None, budget: float) -> Listing:
        """A notebook knows no times."""
        return Listing(failed=Outcome(Kind.UNKNOWN, "a notebook knows no times"))

    async def probe(self) -> bool:
        """Whether there is a place for it."""
        return self._directory.is_dir()

    async def close(self) -> None:
        """Nothing is open."""

    def _write(self, order: Submission) -> Outcome:
        known = self._known()
        if order.id in known:
            return Outcome(Kind.DUPLICATE, receipt=known[order.id])
        line: dict[str, object] = {"id": str(order.id), "order": order.body.decode()}
        if order.mapped is not None:
            line |= {"customer": order.mapped.customer, "articles": order.mapped.articles}
        with (self._pile or self._book).open("a") as paper:
            paper.write(json.dumps(line) + "\n")
        if self._pile is not None:
            return Outcome(Kind.PENDING, "pending as paper", started=steady_clock.now(), ended=steady_clock.now())
        return Outcome(Kind.ACCEPTED, receipt=self._known()[order.id])

    def _known(self) -> dict[UUID, ErpReceipt]:
        lines = self._book.read_text().splitlines() if self._book.exists() else []
        return {UUID(json.loads(line)["id"]): self._receipt(n, json.loads(line)) for n, line in enumerate(lines, 1)}

    def _receipt(self, number: int, line: dict[str, str]) -> ErpReceipt:
        ordered = json.loads(line["order"])["lines"]
        accepted = tuple(ErpReceiptLine(n, each["product"], each["quantity"]) for n, each in enumerate(ordered, 1))
        return ErpReceipt(f"N-{number}", sha256(line["order"].encode()).digest(), accepted)


def _open(settings: Settings, own: Notebook, keys: Keys | None, barrier: Barrier | None) -> NotebookErp:
    return NotebookErp(Path(settings.need("erp_url").removeprefix("file://")), own, barrier or OpenBarrier())


NOTEBOOK: Final = Connector(Notebook, _open)
