"""Asking an ERP that may be away: again after pauses, for as long as the patience lasts, and never for nothing.

An ERP that answers for some orders and not for others is asked for those one by one in the end, so that an order that
it chokes on hides no other. One that answers for none and is not fit either is out of reach: the question waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from config.backoff import backoff
from orders.errors import RelaisError
from orders.refusals import NotDone
from orders.sentences import Code, Sentence
from workers.erp.port import Erp, Kind, Outcome

FIRST_PAUSE: Final = 0.25  # seconds; doubles
MOST_PAUSE: Final = 5.0
MORE_ROUNDS: Final = 3  # further ones with an ERP that answers, but not for all

ASKED_SINGLY: Final = 50  # orders of which one that the ERP chokes on may be all that it does not tell of the others

LEARNED: Final = frozenset({Kind.ACCEPTED, Kind.DUPLICATE, Kind.PENDING, Kind.REFUSED, Kind.ABSENT})


class OutOfReach(RelaisError):
    """The ERP does not answer, and has not for as long as we were to wait."""


@dataclass(slots=True)
class Patience:
    """How long an ERP may be silent, in seconds, and how long one question may take it.

    A silence goes on from one question to the next: once it has lasted too long, nothing is waited for until the ERP
    is heard again.
    """

    silence: float
    budget: float
    _since: float | None = None

    def heard(self) -> None:
        """The ERP has answered."""
        self._since = None

    def left(self) -> float:
        """Seconds for which it is still worth waiting, 0 or less when it is not; to be asked while it is silent."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        return self.silence - (now - self._since)


async def ask(
    erp: Erp, ids: Sequence[UUID], patience: Patience, waiting: Callable[[Sentence], None]
) -> dict[UUID, Outcome]:
    """What the ERP knows of each id, asked for again where it was not told; `waiting` hears why it takes long.

    Raises OutOfReach when nothing at all was told and the ERP is not fit.
    """
    told: dict[UUID, Outcome] = {}
    asked, turn = list(ids), 0
    while asked:
        told |= await erp.find(asked, budget=patience.budget)
        asked = [order_id for order_id in ids if told[order_id].kind not in LEARNED]
        if not asked or not await _wait(patience, told[asked[0]], turn, silent=len(asked) == len(ids), waiting=waiting):
            break
        turn += 1
    silent = len(asked) == len(ids) > 0
    if silent and not await erp.probe():
        raise OutOfReach(Sentence(NotDone.OUT_OF_REACH, detail=told[asked[0]].detail))
    if not silent or len(asked) <= ASKED_SINGLY:
        for one in await asyncio.gather(*(erp.find([order_id], budget=patience.budget) for order_id in asked)):
            told |= one
    if any(outcome.kind in LEARNED for outcome in told.values()):
        patience.heard()
    return told


async def _wait(
    patience: Patience, last: Outcome, turn: int, *, silent: bool, waiting: Callable[[Sentence], None]
) -> bool:
    """Pause before the next turn; False when there is to be none."""
    if not silent:
        patience.heard()
    left = patience.left() if silent else patience.silence
    if left <= 0 or (not silent and turn >= MORE_ROUNDS):
        return False
    waiting(Sentence(Code.MET, detail=last.detail))
    pause = backoff(turn + 1, FIRST_PAUSE, MOST_PAUSE)
    await asyncio.sleep(min(left, max(pause, last.retry_after or 0.0)))
    return True
