"""Steps of the journal's clock, by which leases run out and orders are due, and what the leader does about them.

Set forward, it makes leases seem to run out whose workers still work: none is taken back until each has had its time
by this process's own clock, which no step moves. Set back, or standing still, it would let orders wait for as long as
that: what is due by then is due now, and no lease is longer than a lease.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.states import OUT, State

log = logging.getLogger("relais.dispatcher")

SLACK: Final = 2.0  # seconds that two clocks may differ by between two looks, when one of them is slewed
SPAN: Final = 60.0  # seconds in which it may fall behind by no more, look by look: one that stands still does
REPAIRED: Final = 5000  # rows at a time

NOW: Final = text("SELECT extract(epoch FROM clock_timestamp())::float8")
SHORTEN: Final = text(f"""
UPDATE deliveries SET lease_until = clock_timestamp() + make_interval(secs => :lease)
WHERE backend = :backend AND {OUT} AND lease_until > clock_timestamp() + make_interval(secs => :lease)
""")
HASTEN: Final = text(f"""
UPDATE deliveries SET due_at = clock_timestamp() WHERE order_id IN (
  SELECT order_id FROM deliveries WHERE backend = :backend AND due_at > clock_timestamp()
    AND state IN ('{State.ACCEPTED}', '{State.SUBMITTED}') LIMIT {REPAIRED} FOR UPDATE SKIP LOCKED)
""")


class JournalClock:
    """What one process has seen of the journal's clock, whether it led or not."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._seen: tuple[float, float, float] | None = None  # the journal's time, and ours before and after it
        self._began: tuple[float, float] | None = None  # the same, SPAN seconds ago at most, or when it was behind last
        self._forward = float("-inf")  # when it was set forward last, by our own clock
        self._set_back = 0  # how often it was
        self._undone: dict[str, int] = {}  # of these, for each backend

    async def look(self, connection: AsyncConnection) -> None:
        """See what time it is, and whether that can be."""
        before = time.monotonic()
        now = float((await connection.execute(NOW)).scalar_one())
        self.saw(now, before, time.monotonic())

    def saw(self, now: float, before: float, after: float) -> None:
        """It was `now` at some moment of ours between `before` and `after`."""
        then, earlier, later = self._seen or (now, before, after)
        self._seen = now, before, after
        if now - then > after - earlier + SLACK:
            self._forward = after
            log.warning("the journal's clock was set forward", extra={"seconds": round(now - then - (after - later))})
        elif now - then < before - later - SLACK:
            self._fall_behind(now, after, before - later - (now - then))
            return
        began, ours = self._began or (now, after)
        if now - began < before - ours - SLACK:
            self._fall_behind(now, after, before - ours - (now - began))
        elif after - ours > SPAN or self._began is None:
            self._began = now, after

    def _fall_behind(self, now: float, ours: float, seconds: float) -> None:
        self._set_back += 1
        self._began = now, ours
        log.warning("the journal's clock was set back", extra={"seconds": round(seconds)})

    def is_behind(self, backend: str) -> bool:
        """Whether it was set back, and the backend's orders may still wait for it."""
        return self._undone.get(backend, 0) < self._set_back

    def caught_up(self, backend: str) -> None:
        """The backend's orders wait no longer."""
        self._undone[backend] = self._set_back

    def leases_ran_out(self, lease: float) -> bool:
        """Whether a lease that seems to have run out has: none was given in the last `lease` seconds before a step."""
        return time.monotonic() - self._forward >= lease


async def undo(connection: AsyncConnection, backend: str, lease: float) -> bool:
    """After the clock was set back: let nothing of the backend wait for longer than it would have. True once it is
    done; some thousand orders are at a time.
    """
    await connection.execute(SHORTEN, {"backend": backend, "lease": lease})
    return (await connection.execute(HASTEN, {"backend": backend})).rowcount < REPAIRED
