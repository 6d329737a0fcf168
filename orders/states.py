"""The states of a delivery and every transition that is allowed, as data; and those of a circuit and of a replay.

The journal enforces this table itself (a trigger generated from it), so that no code path and no hand-typed
UPDATE can take an order where it may not go. A test reaches every transition and tries every other.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class State(StrEnum):
    """Where a delivery stands."""

    ACCEPTED = "accepted"
    DISPATCHED = "dispatched"
    DELIVERING = "delivering"
    SUBMITTED = "submitted"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


class Reason(StrEnum):
    """Why a dead letter needs a person."""

    INVALID = "invalid"
    EXPIRED = "expired"
    REFUSED = "refused"
    EXHAUSTED = "exhausted"
    STALE = "stale"
    CONFLICT = "conflict"
    UNMAPPED = "unmapped"


class CircuitState(StrEnum):
    """Whether a backend gets orders."""

    CLOSED = "closed"  # flowing
    OPEN = "open"  # nothing is sent until a canary is due
    HALF_OPEN = "half_open"  # one canary at a time


class ReplayState(StrEnum):
    """Where a replay stands."""

    RUNNING = "running"
    HOLDING = "holding"  # waits for a word after a stage
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class CodeKind(StrEnum):
    """Which codes of an order a backend's mapping has."""

    PHARMACY = "pharmacy"
    PRODUCT = "product"


class AsideKind(StrEnum):
    """Why something in the spill did not become an order."""

    REPEATED = "repeated"  # the same order was accepted before
    FORGED = "forged"  # no key of ours signed it
    UNREADABLE = "unreadable"  # our key did, and it cannot be made an order


TRANSITIONS: dict[tuple[State, State], str] = {
    (State.ACCEPTED, State.DISPATCHED): "dispatch: a message names it",
    (State.ACCEPTED, State.CANCELLED): "cancel: the pharmacy took it back while it was still ours",
    (State.ACCEPTED, State.DEAD): "expire: its valid_until passed before it was forwarded",
    (State.DISPATCHED, State.DELIVERING): "claim: a worker took it under a lease",
    (State.DISPATCHED, State.CANCELLED): "cancel: nobody had claimed it yet",
    (State.DISPATCHED, State.ACCEPTED): "rescue: nobody claimed it in time",
    (State.DELIVERING, State.DELIVERED): "settle: the ERP's receipt is journalled",
    (State.DELIVERING, State.SUBMITTED): "settle: the ERP took it and will accept it later",
    (State.DELIVERING, State.ACCEPTED): "settle or rescue: not delivered, goes again",
    (State.DELIVERING, State.DEAD): "settle: it needs a person",
    (State.SUBMITTED, State.DELIVERED): "poll: the ERP accepted it",
    (State.SUBMITTED, State.DEAD): "poll: the ERP refused it",
    (State.SUBMITTED, State.ACCEPTED): "poll: the ERP has forgotten it, goes again",
    (State.DELIVERED, State.ACCEPTED): "resend: the ERP has forgotten it, an operator sends it again",
    (State.DEAD, State.ACCEPTED): "replay: an operator puts it through again",
    (State.DEAD, State.CANCELLED): "cancel: the pharmacy needs it no more, so nobody is to replay it",
    (State.DEAD, State.DISCARDED): "discard: an operator gave it up, with a reason",
}


def listed(states: Iterable[StrEnum]) -> str:
    """States, or other words, as SQL lists them: each quoted, with commas between."""
    return ", ".join(f"'{state}'" for state in states)


BACKLOG = (State.ACCEPTED, State.DISPATCHED, State.DELIVERING, State.SUBMITTED)
FINAL = (State.DELIVERED, State.DEAD, State.CANCELLED, State.DISCARDED)
STOPPED = (ReplayState.HOLDING, ReplayState.PAUSED)  # until somebody says a word
CANCELLABLE = (State.ACCEPTED, State.DISPATCHED, State.DEAD)  # certainly not with the ERP, unless `unsure`
CERTAINLY_OURS = f"state IN ({listed(CANCELLABLE)}) AND NOT unsure"
TAKEN_BACK = f"state = '{State.CANCELLED}', settled_at = now(), lease_until = NULL, reason = NULL"
UNFIT = (Reason.INVALID, Reason.EXPIRED, Reason.STALE, Reason.CONFLICT, Reason.UNMAPPED)  # dead without an attempt

# The backlog as SQL over `deliveries`: each part has a partial index of its own, so that what is final costs nothing.
LIVE = f"state = '{State.ACCEPTED}' AND turn = 0"
REPLAYED = f"state = '{State.ACCEPTED}' AND turn > 0"
OUT = f"state IN ({listed((State.DISPATCHED, State.DELIVERING))})"  # with the workers, under a lease
POLLED = f"state = '{State.SUBMITTED}'"
AWAITED = f"({POLLED} OR (state = '{State.ACCEPTED}' AND unsure))"  # sent, and the ERP has not told what became of it
GIVEN_UP = f"state IN ({listed((State.CANCELLED, State.DISCARDED))})"  # few, and not of the backlog: for lists
PARTS = (LIVE, REPLAYED, OUT, POLLED)
PARTS_OF_REPLAY = (REPLAYED, f"{OUT} AND turn > 0", f"{POLLED} AND turn > 0")
