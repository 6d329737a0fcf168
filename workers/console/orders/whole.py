"""What can be done with all that a list's filter fits: each act with the address of its preview.

The addresses name the moment at which the list was shown, so that nothing is touched that came after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from orders.states import State
from workers.console.i18n import N_
from workers.console.labels import NEVER
from workers.console.order_fields import NARROWING, OF_BACKLOG

CANCEL: Final = "/acts/orders-cancel"
MAY_BE_THERE: Final = N_(
    "None of these can be cancelled, for the ERP may have them already: pause it first, and each is soon delivered, or "
    "waits and can be cancelled."
)
IS_THERE: Final = N_("None of these can be cancelled here: the ERP has them.")
TOO_MANY: Final = N_("To cancel them, choose by something else beside the state.")
UNCANCELLED: Final = {
    State.DISPATCHED: MAY_BE_THERE,
    State.DELIVERING: MAY_BE_THERE,
    State.SUBMITTED: IS_THERE,
    State.DELIVERED: IS_THERE,
    State.ACCEPTED: TOO_MANY,
    State.DEAD: TOO_MANY,
}  # of a state: why there is no act that cancels


@dataclass(frozen=True, slots=True)
class WholeAct:
    """An act on all that match: what its button says, where it leads; with `to`, which backends it may send them to."""

    label: str  # marked with N_
    path: str
    fields: Mapping[str, str]
    danger: bool = False
    to: Sequence[str] = ()

    @property
    def href(self) -> str:
        """Its address."""
        return f"{self.path}?{urlencode(self.fields)}"


def whole_acts(chosen: Mapping[str, Any], backends: Sequence[str]) -> list[WholeAct]:
    """Those that the filter leaves room for; none for a filter that lets everything through."""
    if not chosen:
        return []
    now = datetime.now(UTC).isoformat()
    narrowing = {name: chosen[name] for name in NARROWING if name in chosen}
    dated = {**narrowing, "until": min(narrowing.get("until", now), now, key=datetime.fromisoformat)}
    wanted, found = chosen.get("state"), list[WholeAct]()
    if wanted in (None, State.DEAD):
        found += _dead({**narrowing, "state": State.DEAD, "before": now})
    if wanted in (None, State.ACCEPTED) and "reason" not in chosen:
        found += _waiting(dated, backends)
    for state in (State.ACCEPTED, State.DEAD):
        if wanted == state and narrowing:
            found.append(WholeAct(N_("Cancel them for their pharmacies"), CANCEL, {**dated, "state": state}, True))
    return found


def uncancelled(chosen: Mapping[str, Any], acts: Sequence[WholeAct]) -> str | None:
    """Why none of the acts cancels what a filter by state fits, marked with N_; None where one does, or the state says
    so itself.
    """
    return None if any(each.path == CANCEL for each in acts) else UNCANCELLED.get(chosen.get("state", ""))


def _dead(fields: Mapping[str, str]) -> list[WholeAct]:
    """What can never pass is offered to be given up first."""
    replay = WholeAct(N_("Replay the dead letters"), "/acts/dead-replay", fields)
    discard = WholeAct(N_("Discard the dead letters"), "/acts/dead-discard", fields, danger=True)
    return [discard, replay] if fields.get("reason") in NEVER else [replay, discard]


def _waiting(dated: Mapping[str, str], backends: Sequence[str]) -> list[WholeAct]:
    fields = {name: dated[name] for name in OF_BACKLOG if name in dated}
    of = dated.get("backend") or (backends[0] if len(backends) == 1 else None)
    others = [each for each in backends if each != dated.get("backend")]
    found = (
        []
        if of is None
        else [WholeAct(N_("Replay by stages what waits"), "/acts/replay-start", {**fields, "backend": of})]
    )
    if len(backends) > 1:
        left = {"from": dated["backend"]} if "backend" in dated else {}
        found.append(WholeAct(N_("Divert what waits"), "/acts/divert", {**fields, **left}, danger=True, to=others))
    return found
