"""The intake as a front end in Python sees it: an order that it hands over is safe, and it knows where.

    async with OrderClient(url, key, spool=Path("/var/lib/front/spool.db")) as client:
        kept = await client.submit({"pharmacy": "990000002", "reference": "CMD-1", "lines": [...]})

`submit` returns when the order is in Relais or, while the intake is away, on this machine's disk; from there it is
handed over as soon as the intake answers, in order, by a later process if need be. While orders wait, new ones queue
behind them. Only what the intake definitely refuses is raised; what is malformed is found here, even if it is away.
A key that is refused is no order's fault: orders wait in the spool until another is shown.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from orders.client.answers import Away, Kept, Outcome
from orders.client.flush import Flusher
from orders.client.spool import MOST_BYTES, MOST_ORDERS, Spool, SpoolStatus
from orders.client.spool_file import SpoolFull
from orders.client.transport import IntakeTransport, base_of
from orders.ending import ended
from orders.errors import Fault, Forbidden, Malformed, RelaisError, Unauthorised
from orders.model import Order, canonical, parse

FLIGHTS: Final = 64  # single orders on their way at once
FLUSH_LOOK: Final = 0.1  # s between two looks at a flush

QUEUED: Final = Away("others wait in front of it")

Given = Order | Mapping[str, Any] | bytes


class OrderClient:
    """A front end's client. Use it as `async with`; its methods may be called at the same time."""

    def __init__(
        self,
        url: str,
        key: str,
        spool: Path,
        *,
        timeout: float = 5.0,
        longest_pause: float = 30.0,
        most_orders: int = MOST_ORDERS,
        most_bytes: int = MOST_BYTES,
        heard: Callable[[int, Outcome], None] | None = None,
    ) -> None:
        """`spool` is a file on a local disk, made when there is none, that several processes may share.

        An order has `timeout` seconds to be answered before the spool takes it; the spool holds at most so many
        orders of so many bytes. `heard(number, outcome)` is told what became of an order from the spool: Kept, or
        the refusal as an error. `longest_pause` is between two tries of an intake that is away, seconds.
        Raises ValueError when `url` is no URL, or the key none.
        """
        if not key.strip().isprintable():
            raise ValueError("the API key holds characters that no key has")
        self._at, self._file, self._most = (base_of(url), key, timeout), spool, (most_orders, most_bytes)
        self._heard, self._longest_pause = heard, longest_pause
        self._flights = asyncio.Semaphore(FLIGHTS)

    async def __aenter__(self) -> Self:
        """Open the spool. Raises SpoolError."""
        self._transport = IntakeTransport(*self._at)
        try:
            self.spool = await asyncio.to_thread(Spool, self._file, *self._most)
        except BaseException:
            await self._transport.close()
            raise
        self._flusher = Flusher(self.spool, self._transport, self._heard, self._longest_pause)
        self._flushing = asyncio.create_task(self._flusher.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """What waits in the spool stays there for the next to open it."""
        await ended(self._flushing)
        await self._transport.close()
        await self.spool.close()

    @property
    def trouble(self) -> Exception | None:
        """Why the spool is not being emptied: the intake is away, or refuses the key (Unauthorised, Forbidden)."""
        return self._flusher.trouble

    async def submit(self, order: Given) -> Kept:
        """Have one order safe, and say where.

        Raises Malformed, Conflict or Forbidden when it is refused, SpoolFull when it cannot be handed over and the
        spool has no room, SpoolError when its file fails: after those two, it is not known to be safe.
        """
        body = encoded(order)
        outcome: Outcome | Away = QUEUED
        async with self._flights:
            if await self.spool.empty():
                outcome = await self._send(body)
        if isinstance(outcome, Away):
            (outcome,) = await self._put_aside([body], str(outcome))
        if isinstance(outcome, RelaisError):
            raise outcome
        return outcome

    async def submit_many(self, orders: Sequence[Given]) -> list[Outcome]:
        """Have up to a few hundred orders safe, in one request; for each, in their order, Kept or its refusal.

        Raises SpoolError as `submit`; SpoolFull stands in the place of an order.
        """
        outcomes = [_checked(order) for order in orders]
        left = {index: body for index, body in enumerate(outcomes) if isinstance(body, bytes)}
        found: dict[int, Outcome] = {i: each for i, each in enumerate(outcomes) if not isinstance(each, bytes)}
        why = QUEUED
        if left and await self.spool.empty():
            answered, why = await self._hand_over(left)
            found |= answered
        left = {index: body for index, body in left.items() if index not in found}
        if left:
            found |= zip(left, await self._put_aside([*left.values()], str(why)), strict=True)
        return [found[index] for index in range(len(outcomes))]

    async def flush(self, patience: float = 0.0, tell: Callable[[SpoolStatus], None] | None = None) -> SpoolStatus:
        """Wait until the spool is empty, or nothing has left it for `patience` seconds, or the key is refused.

        It is tried at once, unless the intake asked to be left alone. What the spool holds then; see `trouble`.
        """
        self._flusher.hurry()
        rounds, moved, before = self._flusher.rounds, time.monotonic(), None
        while True:
            status = await self.spool.standing()
            if tell is not None:
                tell(status)
            if status.waiting != before:
                before, moved = status.waiting, time.monotonic()
            now, tried = time.monotonic(), self._flusher.rounds > rounds
            refused = tried and isinstance(self.trouble, Unauthorised | Forbidden)
            given_up = now - moved >= patience and (tried or now < self._flusher.left_alone_until)
            if not status.waiting or refused or given_up:
                return status
            await asyncio.sleep(FLUSH_LOOK)

    async def _send(self, body: bytes) -> Outcome | Away:
        """What came of handing over one order; Away also when it is the key that is refused."""
        try:
            return await self._transport.post(body)
        except (Away, Unauthorised) as trouble:
            return self._met(trouble)
        except Forbidden:  # to the key, or to this order: asked for many, the intake tells which
            found, why = await self._hand_over({0: body})
            return found.get(0, why)
        except RelaisError as refused:
            return refused

    async def _hand_over(self, bodies: Mapping[int, bytes]) -> tuple[dict[int, Outcome], Away]:
        """The answers of the intake, as many as it gives; and why there are no more."""
        found: dict[int, Outcome] = {}
        places, why = [*bodies], QUEUED

        async def heard(answers: list[tuple[int, Outcome]]) -> None:
            found.update((places[index], outcome) for index, outcome in answers)

        try:
            if later := await self._transport.batch([*bodies.values()], heard):
                why = self._met(later)
        except (Away, Unauthorised, Forbidden) as trouble:
            why = self._met(trouble)
        return found, why

    def _met(self, trouble: Away | RelaisError) -> Away:
        self._flusher.met(trouble)
        return trouble if isinstance(trouble, Away) else Away(str(trouble))

    async def _put_aside(self, bodies: Sequence[bytes], why: str) -> list[Kept | SpoolFull]:
        spooled = await self.spool.append(bodies)
        self._flusher.wake()
        return [
            each if isinstance(each, SpoolFull) else Kept("spool", each.repeated, number=each.number, why=why)
            for each in spooled
        ]


def encoded(order: Given) -> bytes:
    """An order's canonical bytes. Raises Malformed; times in a mapping may be datetimes."""
    if isinstance(order, Order):
        return canonical(order)
    if isinstance(order, bytes):
        return canonical(parse(order))
    try:
        return canonical(parse(json.dumps(order, default=_time).encode()))
    except (TypeError, ValueError, RecursionError):
        raise Malformed([Fault("body", None, "cannot be written as JSON")]) from None


def _checked(order: Given) -> bytes | RelaisError:
    try:
        return encoded(order)
    except Malformed as error:
        return error


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
