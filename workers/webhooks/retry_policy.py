"""What becomes of notices, and of the webhook that was to take them, after what it answered: in one place.

A webhook that took none of a batch, or asked for a pause, is failing: its notices wait while one at a time probes it,
after a pause as long as it has been failing. Only what fails while the webhook takes others counts against a notice,
so that one which its receiver can never take soon comes rarely, and an outage costs none of the others anything.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from config.backoff import backoff as doubled

GONE: Final = 410
FIRST_PAUSE: Final = 2.0  # seconds after a webhook's first failure; doubles
LONGEST_PAUSE: Final = 3600.0  # seconds between tries: how late a receiver that is back hears of it
GIVE_UP: Final = 7 * 86400.0  # seconds of failure without a success between that disable a webhook


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call: whether the notice was taken, in words what not, and the pause asked for in seconds."""

    told: bool
    says: str
    status: int | None = None
    pause: float | None = None


@dataclass(frozen=True, slots=True)
class WebhookHealth:
    """How a webhook stands: since when it is failing, if it is, why, and whether it is to be disabled."""

    failing_since: datetime | None
    why: str | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class NoticeDisposition:
    """What becomes of a notice; one that is `holding` holds its client's others back until it is due."""

    told: bool
    due_at: datetime
    attempts: int
    holding: bool = False
    error: str | None = None


def judge(since: datetime | None, answers: Sequence[Answer | None], now: datetime) -> WebhookHealth:
    """How a webhook stands that was failing `since` and then answered so; None is a call that was not made."""
    failed = [answer for answer in answers if answer is not None and not answer.told]
    told = any(answer is not None and answer.told for answer in answers)
    if not failed:
        return WebhookHealth(None if told else since)
    gone = next((answer for answer in failed if answer.status == GONE), None)
    if gone is not None:
        return WebhookHealth(since or now, gone.says, disabled=True)
    if told and all(answer.pause is None for answer in failed):
        return WebhookHealth(None)
    since = now if told or since is None else since
    return WebhookHealth(since, failed[-1].says, (now - since).total_seconds() >= GIVE_UP)


def decide(
    answer: Answer | None,
    attempts: int,
    before: datetime | None,
    after: WebhookHealth,
    now: datetime,
) -> NoticeDisposition:
    """What becomes of a notice; `before` is since when its webhook was failing, `after` what it is judged to be now."""
    if answer is None:
        return NoticeDisposition(False, now, attempts)
    if answer.told:
        return NoticeDisposition(True, now, attempts)
    counted = attempts + (before is None and answer.pause is None)
    if after.failing_since is None:
        wait = backoff(counted)
    else:
        failing = (now - after.failing_since).total_seconds()
        wait = _jittered(min(max(failing, FIRST_PAUSE), LONGEST_PAUSE))
    due_at = now + timedelta(seconds=max(wait, answer.pause or 0.0))
    return NoticeDisposition(False, due_at, counted, after.failing_since is not None, answer.says)


def backoff(attempts: int) -> float:
    """Seconds before a notice that failed `attempts` times goes again: doubling, capped, jittered by a fifth."""
    return _jittered(doubled(attempts, FIRST_PAUSE, LONGEST_PAUSE))


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.8, 1.2)
