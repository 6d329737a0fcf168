"""What a backend's row says of its circuit and window, and what one batch met there: data for the rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orders.sentences import Sentence


@dataclass(frozen=True, slots=True)
class Circuit:
    """The columns of a backend's row that delivery decides.

    `ceiling` is the window that last failed, `credit` what went well since its last step, in orders. `failures` are
    the attempts that failed since the backend last answered, the first of them at `failing_since`.
    """

    circuit: str
    window: int
    failures: int
    trips: int
    changed_at: datetime
    probe_at: datetime | None
    shrunk_at: datetime
    succeeded_at: datetime | None
    why: Sentence | None
    ceiling: int | None = None
    credit: int = 0
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """What one batch met: orders `answered` by the ERP, `failed`, `throttled`; when the last success was answered, when
    the first order was (`answered_at`), and when attempts failed, the first (`failed_at`) and the last.

    `claimed_at` and `waited` (seconds in Redis) tell whether it speaks of the backend as it is now. Of the answered,
    `refused` were; `seconds` is what a success took on average; `retried` are the orders that took more than one
    call, whatever came of them.
    """

    answered: int
    failed: int
    throttled: int
    claimed_at: datetime
    waited: float
    succeeded_at: datetime | None = None
    suspicious: str | None = None
    error: str | None = None
    refused: int = 0
    seconds: float | None = None
    retried: int = 0
    answered_at: datetime | None = None
    failed_at: datetime | None = None
    last_failed_at: datetime | None = None

    @property
    def turned_away(self) -> int:
        """Orders that the ERP turned away at least once."""
        return max(self.failed + self.throttled, self.retried)

    @property
    def unwell(self) -> bool:
        """True when the ERP did badly by the batch; a lone bad order among many good ones is not its fault."""
        many = self.retried > 1 and self.retried * 4 > self.answered
        return self.throttled > 0 or self.failed * 10 > self.answered or many
