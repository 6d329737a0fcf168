"""Forwarding to a backend that takes a batch as a whole or not at all: the guilty order is found by halving.

One order that the ERP will never take must not keep two hundred others from it. A batch of n orders with k guilty
ones takes at most 1 + 2k·log2(n) calls (the logarithm rounded up). A batch that fails otherwise is not split.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from workers.erp.port import Erp, Kind, Outcome, Submission

_ANSWERED = frozenset({Kind.ACCEPTED, Kind.DUPLICATE, Kind.PENDING, Kind.REFUSED})


async def submit_bisecting(erp: Erp, orders: Sequence[Submission], budget: float) -> dict[UUID, Outcome]:
    """One outcome for each order within `budget` seconds; REFUSED only for those that were refused alone.

    When a batch comes back unanswered, or time is up, what is left is UNSENT: no batch of it was ever taken.
    """
    now = asyncio.get_running_loop().time
    until = now() + budget
    halves: list[Sequence[Submission]] = []
    begun, outcomes = 0, dict[UUID, Outcome]()
    while (halves or begun < len(orders)) and now() < until:
        if halves:
            batch = halves.pop()
        else:
            batch = orders[begun : begun + _fair(len(orders) - begun, erp.capabilities.max_batch)]
            begun += len(batch)
        answer = await erp.submit(batch, budget=until - now())
        if len(batch) > 1 and _refused_whole(batch, answer):
            half = (len(batch) + 1) // 2
            halves += [batch[half:], batch[:half]]
            continue
        outcomes |= answer
        if not _well(answer):
            break
    unsent = Outcome(Kind.UNSENT, "the batch was stopped or its budget ran out")
    return {order.id: outcomes.get(order.id, unsent) for order in orders}


def _fair(orders: int, most: int) -> int:
    """How many of the orders go in the next batch: all batches of the same size, none larger than it may be now."""
    return -(-orders // -(-orders // max(1, most)))


def _refused_whole(batch: Sequence[Submission], answer: dict[UUID, Outcome]) -> bool:
    return all(answer[order.id].kind is Kind.REFUSED for order in batch)


def _well(answer: dict[UUID, Outcome]) -> bool:
    return any(outcome.kind in _ANSWERED for outcome in answer.values())
