"""A token bucket: what fills at a rate up to a burst, and is spent by whoever goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """`room` orders may go as of `at`, seconds of one monotonic clock; `rate` a second, `burst` at once."""

    rate: float
    burst: float
    room: float
    at: float

    def fill(self, now: float) -> float:
        """The room that there is by now, negative where there is a debt."""
        self.room = min(self.burst, self.room + (now - self.at) * self.rate)
        self.at = now
        return self.room
