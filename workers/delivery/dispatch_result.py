"""What came of a dispatch, for who looks at its task: orders by what became of them, and why some were held.

Of an ERP's words only what is ours: it is told in Celery's events, which lie in Redis and in Flower.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from orders.states import State
from workers.delivery.retry_policy import Disposition
from workers.erp.own_words import own_words

ELSE: Final = "the console says why"


@dataclass(frozen=True, slots=True)
class DispatchResult:
    """Orders of one dispatch: `claimed` of them were tried; `elsewhere` were no longer there to be tried.

    Of those that the ERP took before and has not decided, `unanswered` were asked about in vain.
    """

    claimed: int = 0
    delivered: int = 0
    submitted: int = 0
    dead: int = 0
    held: int = 0
    elsewhere: int = 0
    unanswered: int = 0
    why: str = ""

    @property
    def failed(self) -> bool:
        """Whether none came through, though some were there to."""
        return not (self.delivered or self.submitted) and bool(self.dead or self.held or self.unanswered)

    def __str__(self) -> str:
        """As `0 delivered, 37 held: no connection`."""
        names = ("submitted", "unanswered", "dead", "held", "elsewhere")
        counts = {name: getattr(self, name) for name in names}
        told = ", ".join([f"{self.delivered:,} delivered", *(f"{n:,} {name}" for name, n in counts.items() if n)])
        return f"{told}: {self.why}" if self.why else told


def summed(found: Iterable[Disposition], asked: int, unanswered: Sequence[str] = ()) -> DispatchResult:
    """Of `asked` orders, those that were tried came to this; `unanswered` says of each that stays submitted why."""
    tried = list(found)
    states = Counter(each.state for each in tried)
    causes = Counter(_cause(each) for each in tried if each.state in (State.ACCEPTED, State.DEAD))
    causes.update(own_words(each) or ELSE for each in unanswered)
    [(why, _)] = causes.most_common(1) or [("", 0)]
    return DispatchResult(
        len(tried),
        states[State.DELIVERED],
        states[State.SUBMITTED] - len(unanswered),
        states[State.DEAD],
        states[State.ACCEPTED],
        asked - len(tried),
        len(unanswered),
        why,
    )


def _cause(disposition: Disposition) -> str:
    return own_words(disposition.error or "") or (disposition.reason or ELSE)
