"""A process that works on orders as a worker does, and can be killed: looks for them, sends what is absent, polls."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from config.settings import Settings
from workers.erp.connectors import open_erp
from workers.erp.port import Kind, Submission

AT_ONCE = 12


def work(settings: Settings, orders: Sequence[Submission], board: Path) -> None:
    """Until killed, on orders that no board file is written for yet, of the first so many that `limit` says."""
    asyncio.run(_work(settings, orders, board))


async def _work(settings: Settings, orders: Sequence[Submission], board: Path) -> None:
    erp = open_erp(settings)
    while True:
        some = _some(orders, board)
        told = await erp.find([each.id for each in some], budget=10)
        absent = [each for each in some if told[each.id].kind is Kind.ABSENT]
        told |= await erp.submit(absent, budget=10)
        for order_id, outcome in told.items():
            assert outcome.evidence is None, outcome
            if outcome.kind in (Kind.ACCEPTED, Kind.DUPLICATE, Kind.REFUSED):
                said = outcome.receipt and [
                    outcome.receipt.reference,
                    [each.accepted for each in outcome.receipt.lines],
                ]
                _decide(board, order_id, json.dumps([outcome.kind, said]))
        await asyncio.sleep(0.1)


def _some(orders: Sequence[Submission], board: Path) -> list[Submission]:
    limit = int((board / "limit").read_text())
    decided = {each.name for each in board.iterdir()}
    undecided = [each for each in orders[:limit] if str(each.id) not in decided]
    return random.sample(undecided, min(AT_ONCE, len(undecided)))


def _decide(board: Path, order_id: UUID, said: str) -> None:
    part = board / f".{order_id}.{os.getpid()}"
    part.write_text(said)
    part.rename(board / str(order_id))
