"""Why an order is where it is, and what happens next: the sentence that somebody at the telephone reads out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from orders.states import State
from workers.console.i18n import N_, Words
from workers.console.labels import REASONS
from workers.console.masking import Text, error, said

OPEN: Final = (State.ACCEPTED, State.DISPATCHED)
FINAL: Final = {
    State.DELIVERED: N_("The ERP has accepted it."),
    State.CANCELLED: N_("It was taken back for the pharmacy: the ERP does not get it."),
    State.DISCARDED: N_("An operator has given it up."),
}


def outlook(order: Any, backends: Mapping[str, Any], now: datetime, words: Words, *, whole: bool = False) -> str:
    """A sentence or two on an order: `order` has state, backend, due_at, lease_until, reason, error and why."""
    _ = words.gettext
    if order.state == State.DEAD:
        return _dead(order, words, whole)
    if order.state in OPEN:
        held = _held(backends.get(order.backend), words)
        if held is not None:
            return held
    if order.state == State.ACCEPTED and order.due_at > now:
        why = _because(said(order.error, whole=whole), words)
        return _("The last attempt failed%(why)s. Next attempt at %(at)s.") % {
            "why": why,
            "at": words.moment(order.due_at),
        }
    if order.state == State.ACCEPTED:
        return _("It is due, and waits for its turn in the window of %s.") % str(order.backend)
    if order.state == State.DISPATCHED:
        return _("A worker is about to take it; if none does, it goes out again at %s.") % words.moment(
            order.lease_until
        )
    if order.state == State.DELIVERING:
        return _("It is being forwarded to %(backend)s; it is known by %(at)s at the latest.") % {
            "backend": order.backend,
            "at": words.moment(order.lease_until),
        }
    if order.state == State.SUBMITTED:
        return _("The ERP has taken it and has not accepted it yet. It is asked again at %s.") % words.moment(
            order.due_at
        )
    return _(FINAL[order.state])


def _dead(order: Any, words: Words, whole: bool) -> str:
    _ = words.gettext
    reason = _(REASONS[order.reason]) if order.reason in REASONS else (order.reason or "")
    why = _because(error(order.error, order.reason, words, order.why, whole=whole), words)
    return _("Dead letter: %(reason)s%(why)s. It stays until a person replays, discards or cancels it.") % {
        "reason": reason,
        "why": why,
    }


def _because(told: Text, words: Words) -> str:
    if told.shown:
        shown = words.gettext(told.shown) if told.ours else told.shown
        return f" ({shown} …)" if told.hidden else f" ({shown})"
    return words.gettext(" (the ERP's words are masked)") if told.hidden else ""


def _held(backend: Any, words: Words) -> str | None:
    """Why the backend gets nothing."""
    _ = words.gettext
    if backend is None:
        return _("No worker has ever run for its backend: it is held.")
    values = {"backend": backend.name, "since": words.moment(backend.since)}
    if backend.quarantined:
        values |= {"since": words.moment(backend.quarantined_at), "by": backend.quarantined_by or ""}
        return _("%(backend)s is in quarantine since %(since)s, by %(by)s: it is held until a release.") % values
    if backend.paused:
        return _("%(backend)s is paused by an operator: it is held until somebody resumes.") % values
    if backend.circuit == "open":
        if backend.canary_due:
            return _("%(backend)s is down since %(since)s: it is held. The next order that is due is tried.") % values
        values["at"] = words.moment(backend.probe_at)
        return _("%(backend)s is down since %(since)s: it is held. Next trial order at %(at)s.") % values
    if backend.circuit == "half_open":
        return _("%(backend)s is being tried: one trial order is out, the others follow when it went well.") % values
    return None
