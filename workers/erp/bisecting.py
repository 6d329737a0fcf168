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
    size = max(1, erp.capabilities.max_batch)
    waiting = [orders[start : start + size] for start in range(0, len(orders), size)][::-1]
    outcomes: dict[UUID, Outcome] = {}
    while waiting and now() < until:
        batch = waiting.pop()
        answer = await erp.submit(batch, budget=until - now())
        if len(batch) > 1 and _refused_whole(batch, answer):
            half = (len(batch) + 1) // 2
            waiting += [batch[half:], batch[:half]]
            continue
        outcomes |= answer
        if not _well(answer):
            break
    unsent = Outcome(Kind.UNSENT, "the batch was stopped or its budget ran out")
    return {order.id: outcomes.get(order.id, unsent) for order in orders}


def _refused_whole(batch: Sequence[Submission], answer: dict[UUID, Outcome]) -> bool:
    return all(answer[order.id].kind is Kind.REFUSED for order in batch)


def _well(answer: dict[UUID, Outcome]) -> bool:
    return any(outcome.kind in _ANSWERED for outcome in answer.values())
