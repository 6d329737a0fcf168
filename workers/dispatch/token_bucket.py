"""The rate at which a backend may get orders, over all workers: a token bucket in the leader's hands.

Every dispatch goes through the one leader, so its bucket is the whole truth. It holds a second's worth at most, which
is the longest pause of the dispatcher; a new leader begins with an empty one, so that no change of lead lets more
through. What is dispatched again, because nobody claimed it, counts again.
"""

from __future__ import annotations

import sys
from typing import Final

from config.token_bucket import TokenBucket

BURST: Final = 1.0  # seconds' worth that may go at once


class Bucket:
    """Tokens are orders; times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        """Without a limit until it is told one."""
        self._tokens: TokenBucket | None = None

    def limit(self, rate: float | None, now: float) -> None:
        """From now on at most `rate` orders a second, one at least at once; None is no limit."""
        room = 0.0 if self._tokens is None else self._tokens.fill(now)
        most = max(1.0, (rate or 0.0) * BURST)
        self._tokens = None if rate is None else TokenBucket(rate, most, min(room, most), now)

    def allowance(self, now: float) -> int:
        """How many orders may go now."""
        return sys.maxsize if self._tokens is None else int(self._tokens.fill(now))

    def spend(self, orders: int) -> None:
        """So many have gone."""
        if self._tokens is not None:
            self._tokens.room -= orders
