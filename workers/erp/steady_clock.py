"""The time of a process by its monotonic clock: no step of the wall clock, once it runs, makes an attempt end before it
began. By whose clock a process was started is no matter either: what is journalled is put on the journal's (`shifted`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from workers.erp.port import Outcome

NEAR: Final = timedelta(seconds=2)  # the order of attempts matters to the millisecond, asking the time takes longer
_BEGAN: Final = datetime.now(UTC) - timedelta(seconds=time.monotonic())


def now() -> datetime:
    """The time by this process's clock."""
    return _BEGAN + timedelta(seconds=time.monotonic())


def shifted(outcomes: Mapping[UUID, Outcome], journal: datetime) -> Mapping[UUID, Outcome]:
    """The outcomes with their times as a clock has them that says `journal` now; as they are where ours is near it."""
    by = journal - now()
    if abs(by) < NEAR:
        return outcomes
    return {
        order_id: replace(each, started=each.started and each.started + by, ended=each.ended and each.ended + by)
        for order_id, each in outcomes.items()
    }
