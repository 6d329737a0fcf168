"""The gates that a replay's stage has to pass, as pure functions of what its attempts came to.

A gate fails as soon as the stage cannot pass it any more, and says why: receipts missing, or unverified where they
must be signed; more errors than the share that is allowed; more refusals than the backend's baseline explains; answers
slower than its baseline by a factor. An order that never reached the ERP, because it is unfit or its worker died, says
nothing about the ERP and weighs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from config.settings import Settings
from orders.sentences import Code, Sentence
from orders.states import ReplayState

STAGES: Final = (1, 10, 100, 0)  # orders that a stage tries; 0 is the ramp, which ends with the replay
RAMP: Final = 0
PARTS: Final = 5  # that the ramp's newest attempts are judged in
PART: Final = (100, 400)  # attempts in one: a windowful, within these bounds
STAYS: Final = 3  # parts with too many errors, from which on they are no burst that a smaller window ends
BRISK: Final = 0.5  # seconds: an ERP that answers within is not slow, whatever its baseline


@dataclass(frozen=True, slots=True)
class AttemptCounts:
    """What attempts came to: how many were `answered` (of them `delivered` and `refused`), how many `failed`.

    Of the delivered, `unreceipted` have no receipt and `unsigned` none whose signature was verified. `slow` is the
    95th percentile of the answered ones' durations, in seconds; `settled` counts a stage's orders that are done with,
    `bad` a ramp's parts in which more failed than may.
    """

    answered: int = 0
    failed: int = 0
    delivered: int = 0
    refused: int = 0
    unreceipted: int = 0
    unsigned: int = 0
    slow: float | None = None
    settled: int = 0
    bad: int = 0

    def told(self) -> Sentence:
        """`10 answered, 0 failed, p95 0.12 s`."""
        if self.slow is None:
            return Sentence(Code.FOUND, answered=self.answered, failed=self.failed)
        return Sentence(Code.FOUND_TIMED, answered=self.answered, failed=self.failed, slow=self.slow)


@dataclass(frozen=True, slots=True)
class Gates:
    """What is asked of a stage: `errors` a share, `slower` a factor; the backend's baseline, None where unknown."""

    errors: float
    slower: float
    signed: bool
    latency: float | None = None
    refusing: float | None = None

    @classmethod
    def of(cls, settings: Settings, latency: float | None, refusing: float | None) -> Gates:
        """The gates of the settings, and the baseline of the backend's row."""
        signed = settings.trust.receipts == "require"
        return cls(settings.replay.errors, settings.replay.slower, signed, latency, refusing)


def failing(stage: int, found: AttemptCounts, gates: Gates) -> Sentence | None:
    """Why the stage cannot pass, or None while it can."""
    tried = found.answered + found.failed
    size = stage or max(tried, PART[0])
    if found.unreceipted:
        return Sentence(Code.NO_RECEIPT, unreceipted=found.unreceipted, delivered=found.delivered)
    if gates.signed and found.unsigned:
        return Sentence(Code.NO_VERIFIED_RECEIPT, unsigned=found.unsigned, delivered=found.delivered)
    if found.bad >= STAYS if stage == RAMP else found.failed > gates.errors * size:
        return Sentence(Code.ERRORS, failed=found.failed, count=tried, allowed=gates.errors)
    if found.refused > refusals(size, gates):
        return Sentence(Code.REFUSALS, refused=found.refused, count=found.answered)
    return _sluggish(stage, found, gates)


def refusals(size: int, gates: Gates) -> float:
    """How many of so many orders the backend may refuse."""
    return max(1.0, (gates.errors + 2 * (gates.refusing or 0.0)) * size)


def longest(gates: Gates) -> float | None:
    """Seconds that one answer in twenty may take; None while the backend's baseline is not known."""
    return None if gates.latency is None else max(BRISK, gates.slower * gates.latency)


def passed(stage: int, found: AttemptCounts) -> bool:
    """Whether all of the stage's orders are done with; a ramp is passed only when nothing is left."""
    return stage != RAMP and found.settled >= stage


def after(stage: int) -> int:
    """The stage after this one."""
    return STAGES[min(STAGES.index(stage) + 1, len(STAGES) - 1)]


def onward(stage: int, passed: int | None) -> int:
    """The stage with which a replay goes on that holds at one: after one that was passed, else the last that was."""
    return after(stage) if passed == stage else passed or STAGES[0]


def going_on(row: Mapping[str, Any]) -> tuple[int, int]:
    """The stage with which a replay goes on that stopped, and how many of its orders that takes before it waits for a
    word again: all that are left of one that waits for none. `row` is of `orders.queries.replays.standing`.
    """
    paused = row["state"] == ReplayState.PAUSED
    stage: int = row["stage"] if paused else onward(row["stage"], row["passed"])
    if stage == RAMP or not row["hold"]:
        return stage, row["left"]
    return stage, min(row["left"], stage - row["staged"] if paused else stage)


def before(stage: int) -> int | None:
    """The stage before this one, None before the first."""
    place = STAGES.index(stage)
    return STAGES[place - 1] if place else None


def named(stage: int) -> Sentence:
    """A stage as people call it."""
    return Sentence(Code.RAMP) if stage == RAMP else Sentence(Code.STAGE, stage=stage)


def _sluggish(stage: int, found: AttemptCounts, gates: Gates) -> Sentence | None:
    """Latency is judged on all of a stage, and on a part of a ramp at least: a first call warms up connections."""
    allowed = longest(gates)
    if allowed is None or found.slow is None or found.answered < (stage or PART[0]) or found.slow <= allowed:
        return None
    return Sentence(Code.SLOW, slow=found.slow, allowed=allowed)
