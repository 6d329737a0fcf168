"""Empties a spool into the intake in the background: in order, a few hundred orders at a time, one process at a time.

An order leaves the spool when its answer is there, so a crash in between sends it again, and the intake knows it.
What is refused for good is marked and kept. A key that is refused and an intake that is away leave every order where
it is; then it tries again after a pause with jitter that doubles, and not before the time that the intake asked for.
A request that may itself be the reason is halved, at once when it is too large; an order that does not get through
alone, though the one behind it does, is set aside.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from config.backoff import backoff
from orders.client.answers import Away, Kept, Outcome, Unsendable, kind_of
from orders.client.spool import Spool, WaitingOrder
from orders.client.spool_file import turn
from orders.client.transport import IntakeTransport
from orders.errors import Fault, Forbidden, Malformed, RelaisError, Unauthorised

log = logging.getLogger("relais.client")

LINES: Final = 400  # most orders of one request
IDLE: Final = 2.0  # s between two looks for what other processes left
FIRST_PAUSE: Final = 0.25  # s
REASON: Final = 500  # characters of a refusal's reason that are kept
TRIES: Final = 3  # of an order that does not get through, though the one behind it does, until it is set aside


class Flusher:
    """Empties one spool for as long as `run` runs. `heard` is told of every answer by the order's number."""

    def __init__(
        self,
        spool: Spool,
        transport: IntakeTransport,
        heard: Callable[[int, Outcome], None] | None,
        longest_pause: float,
    ) -> None:
        """`longest_pause` is for an intake that stays away, seconds."""
        self._spool, self._transport, self._heard, self._longest = spool, transport, heard, longest_pause
        self._urged = asyncio.Event()
        self._failures = 0
        self._most = LINES  # orders of the next request
        self._tries: Counter[int] = Counter()  # in vain, by the order's number
        self._moved = False  # by the request that is on its way
        self.left_alone_until = 0.0  # monotonic
        self.trouble: Away | RelaisError | None = None
        self.rounds = 0

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await self._round()
            await self._rest()

    def wake(self) -> None:
        """There is something in the spool now."""
        if self.trouble is None:
            self._urged.set()

    def hurry(self) -> None:
        """Do not wait out the pause; what the intake asked for is still waited for."""
        self._failures = 0
        self._urged.set()

    def met(self, trouble: Away | RelaisError) -> None:
        """The intake, or the spool, cannot go on now."""
        if str(trouble) != str(self.trouble):
            log.warning("the spool waits", extra={"error": type(trouble).__name__})
        self.trouble = trouble
        self._failures += 1
        if isinstance(trouble, Away) and trouble.retry_after is not None:
            self.left_alone_until = time.monotonic() + trouble.retry_after

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause()):  # wait_for can lose a cancellation in Python 3.11
                await self._urged.wait()
        await asyncio.sleep(self.left_alone_until - time.monotonic())

    def _pause(self) -> float:
        if self.trouble is None:
            return IDLE
        hopeless = isinstance(self.trouble, Unauthorised | Forbidden)
        pause = self._longest if hopeless else backoff(self._failures + 1, FIRST_PAUSE, self._longest)
        return pause * random.uniform(0.5, 1.0)

    async def _round(self) -> None:
        """Empty the spool as far as it goes."""
        self._urged.clear()
        try:
            if not await self._spool.empty():
                with turn(self._spool.path) as mine:
                    if not mine:
                        self.trouble = Away("another process is emptying the spool")
                        return
                    await self._empty()
            self.trouble, self._failures = None, 0
        except (Away, RelaisError) as trouble:
            self.met(trouble)
        except Exception as error:
            log.exception("the flush failed")
            self.met(Away(f"internal fault: {type(error).__name__}"))
        finally:
            self.rounds += 1

    async def _empty(self) -> None:
        while request := await self._spool.waiting(most=self._most):
            if damaged := [each for each in request if not each.body.strip() or b"\n" in each.body]:
                fault = Malformed([Fault("body", None, "was damaged in the spool: it is not one line")])
                await self._settle(damaged, [(index, fault) for index in range(len(damaged))])
                continue
            try:
                later = await self._send(request)
            except Away as away:
                if self._moved or not away.suspect:
                    raise
                await self._doubt(request, away)
                continue
            self._most = min(LINES, self._most + max(1, self._most // 4))
            if later is not None:
                raise later

    async def _send(self, request: Sequence[WaitingOrder]) -> Away | None:
        self._moved = False
        return await self._transport.batch([each.body for each in request], partial(self._settle, request))

    async def _doubt(self, request: Sequence[WaitingOrder], away: Away) -> None:
        """A request got no answer, and may be the reason itself: make the next one smaller, or set its order aside.

        Raises `away` where a pause comes first.
        """
        first = request[0]
        self._most = max(1, len(request) // 2)
        if len(request) == 1 and not away.too_large:
            if not (behind := await self._spool.waiting(first.number, most=1)):
                raise away
            if later := await self._send(behind):  # it raises when the order in front is not the reason
                raise later
            self._tries[first.number] += 1
        if len(request) == 1 and (away.too_large or self._tries[first.number] >= TRIES):
            self._tries.pop(first.number, None)
            await self._settle(request, [(0, Unsendable(f"{len(first.body)} bytes do not get to the intake: {away}"))])
        elif not away.too_large:
            raise away

    async def _settle(self, request: Sequence[WaitingOrder], answers: list[tuple[int, Outcome]]) -> None:
        found = [(request[index].number, outcome) for index, outcome in answers]
        taken = [number for number, outcome in found if isinstance(outcome, Kept)]
        refused = [(n, kind_of(why), str(why)[:REASON]) for n, why in found if not isinstance(why, Kept)]
        if found:
            await self._spool.settle(taken, refused)
            self.trouble, self._failures, self._moved = None, 0, True
        for number, outcome in found:
            if not isinstance(outcome, Kept):
                extra = {"number": number, "kind": kind_of(outcome)}
                log.warning("an order of the spool was refused", extra=extra)
            self._tell(number, outcome)

    def _tell(self, number: int, outcome: Outcome) -> None:
        if self._heard is None:
            return
        try:
            self._heard(number, outcome)
        except Exception:  # the front end's own; orders must flow whatever it does
            log.exception("a listener failed")
