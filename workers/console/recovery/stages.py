"""A replay's stages: each with how it stands, what it came to, and what it has to pass.

Pure functions of the replay's row and of the backend's baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from orders.sentences import Sentence
from workers.console.i18n import N_, Words
from workers.replay.gates import PART, RAMP, STAGES, STAYS, Gates, longest, refusals

STAGE_STATES: Final = {
    "passed": ("good", N_("passed")),
    "now": ("warn", N_("under way")),
    "waits": ("warn", N_("waits for a word")),
    "failed": ("bad", N_("failed")),
    "paused": ("warn", N_("paused")),
    "ahead": ("quiet", N_("ahead")),
    "needless": ("quiet", N_("not needed")),
    "left": ("quiet", N_("cancelled")),
}

STATES: Final = {
    "running": ("warn", N_("running")),
    "holding": ("bad", N_("holding")),
    "paused": ("warn", N_("paused")),
    "done": ("good", N_("done")),
    "cancelled": ("quiet", N_("cancelled")),
}


@dataclass(frozen=True, slots=True)
class StageState:
    """A stage: its `state` is a key of STAGE_STATES; `found` and `failed` are of its last try, None before it."""

    stage: int
    state: str
    found: Mapping[str, Any] | None
    failed: Sentence | None
    tries: int


def stages_of(row: Mapping[str, Any]) -> list[StageState]:
    """The stages of a row of `orders.queries.replays`, from the first to the ramp."""
    place, found = STAGES.index(row["stage"]), []
    for number, stage in enumerate(STAGES):
        tried = [each for each in row["history"] if each["stage"] == stage]
        last = tried[-1] if tried else {"found": None, "failed": None}
        found.append(StageState(stage, _state(row, number - place), last["found"], last["failed"], len(tried)))
    return found


def _state(row: Mapping[str, Any], beyond: int) -> str:
    """How a stage stands that is so many beyond the present one."""
    if beyond < 0:
        return "passed"
    if beyond > 0:
        return {"done": "needless", "cancelled": "left"}.get(row["state"], "ahead")
    if row["state"] == "holding":
        return "waits" if row["passed"] == row["stage"] else "failed"
    return {"running": "now", "done": "passed", "cancelled": "left"}.get(row["state"], str(row["state"]))


def stage_named(stage: int, words: Words) -> str:
    """A stage as people call it."""
    if stage == RAMP:
        return words.gettext("The ramp")
    return words.ngettext("%(num)d order", "%(num)d orders", stage) % {"num": stage}


def terms(stage: int, gates: Gates, words: Words) -> list[str]:
    """What a stage has to pass, with the limits, as `workers.replay.gates` judges it."""
    receipt = N_("Each delivered order has a receipt.")
    signed = N_("Each delivered order has a receipt whose signature holds.")
    size = stage or PART[0]
    few = words.ngettext("At most {0} of {1} order is refused.", "At most {0} of {1} orders are refused.", size)
    return [
        words.gettext(signed if gates.signed else receipt),
        _errors(stage, gates, words),
        few.format(int(refusals(size, gates)), size),
        _latency(gates, words),
    ]


def _errors(stage: int, gates: Gates, words: Words) -> str:
    share = words.share(gates.errors)
    if stage != RAMP:
        few = words.ngettext(
            "At most {0} of {1} attempt fails ({2}).", "At most {0} of {1} attempts fail ({2}).", stage
        )
        return few.format(int(gates.errors * stage), stage, share)
    burst = words.gettext("In fewer than {0} of its newest parts ({1} to {2} attempts each) more than {3} fail.")
    return burst.format(STAYS, *PART, share)


def _latency(gates: Gates, words: Words) -> str:
    most = longest(gates)
    if most is None:
        return words.gettext("Its usual latency is not known yet, so latency is not judged.")
    return words.gettext("19 of 20 answers come within {0} s.").format(words.number(most, 2))
