"""What is foretold of a backend: the one answer that command line, console and metrics show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orders.sentences import Sentence


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a backend's backlog will be empty: in 5, 50 and 95 of 100 futures, or None with a reason in `why`.

    `assumes` is the condition it stands under. Rates are orders a second, `ramp` is in seconds; `missed` counts orders
    whose cut-off has passed. `cut_offs` holds rounds that are still to come, nearest first, each with the orders of it
    that will be late, at best while the backend takes nothing: then `back_by` is when it has to take orders again for
    the round to be met, which may have passed. What nobody knows is None.
    """

    backend: str
    now: datetime
    backlog: int
    p5: datetime | None
    p50: datetime | None
    p95: datetime | None
    why: Sentence | None
    assumes: Sentence | None
    arrivals: dict[str, Any]
    rate: dict[str, Any] | None
    start: dict[str, Any]
    cut_offs: list[dict[str, Any]]
    missed: int
