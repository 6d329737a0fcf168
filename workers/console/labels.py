"""How states, outcomes, acts and reasons are called on the pages, and how each is coloured beside its name."""

from __future__ import annotations

from typing import Final

from orders.states import Reason, State
from workers.console.i18n import N_
from workers.erp.outcomes import LEASE_EXPIRED
from workers.erp.port import Kind

STATES: Final[dict[str, tuple[str, str]]] = {
    State.ACCEPTED: (N_("waiting with us"), "quiet"),
    State.DISPATCHED: (N_("on its way to a worker"), "quiet"),
    State.DELIVERING: (N_("being forwarded"), "quiet"),
    State.SUBMITTED: (N_("taken by the ERP, not yet accepted"), "warn"),
    State.DELIVERED: (N_("delivered"), "good"),
    State.DEAD: (N_("dead letter"), "bad"),
    State.CANCELLED: (N_("cancelled"), "quiet"),
    State.DISCARDED: (N_("discarded"), "quiet"),
}

OUTCOMES: Final[dict[str, tuple[str, str]]] = {
    Kind.ACCEPTED: (N_("accepted"), "good"),
    Kind.DUPLICATE: (N_("it had it already"), "good"),
    Kind.PENDING: (N_("taken, accepted later"), "warn"),
    Kind.REFUSED: (N_("refused"), "bad"),
    Kind.TRANSIENT: (N_("not taken, may go again"), "warn"),
    Kind.THROTTLED: (N_("the ERP asked for a pause"), "warn"),
    Kind.UNKNOWN: (N_("unknown: perhaps taken"), "warn"),
    Kind.SUSPICIOUS: (N_("suspicious answer"), "bad"),
    Kind.ABSENT: (N_("the ERP does not have it"), "quiet"),
    Kind.UNSENT: (N_("never left us"), "quiet"),
    LEASE_EXPIRED: (N_("the worker did not settle in time"), "warn"),
}

REASONS: Final[dict[str, str]] = {
    Reason.INVALID: N_("it does not fit the wholesaler's lists"),
    Reason.EXPIRED: N_("its time to be delivered had passed"),
    Reason.REFUSED: N_("the ERP refused it"),
    Reason.EXHAUSTED: N_("it failed again and again while others succeeded"),
    Reason.STALE: N_("it is too old to be forwarded without a person's yes"),
    Reason.CONFLICT: N_("another order has its place"),
    Reason.UNMAPPED: N_("one of its codes is not mapped"),
}

NEVER: Final = (
    Reason.CONFLICT,
    Reason.EXPIRED,
    Reason.INVALID,
    Reason.UNMAPPED,
)  # of what dies again, replayed as it is

EVENTS: Final[dict[str, str]] = {state: name for state, (name, _) in STATES.items()} | {
    State.ACCEPTED: N_("put through again")
}

EVIDENCE: Final[dict[str, str]] = {
    "missing_signature": N_("a receipt without the signature it must have"),
    "bad_signature": N_("a signature that is not good"),
    "unknown_key": N_("a signature by a key that is not in force"),
    "wrong_digest": N_("a receipt for other bytes than were sent"),
    "wrong_lines": N_("a receipt for other lines than were ordered"),
    "late_or_early": N_("a signature of a time that cannot be"),
    "wrong_certificate": N_("another certificate than the pinned one"),
    "reference_reused": N_("the reference of another order"),
    "unsent_order": N_("an answer about an order that was never sent"),
    "taken_twice": N_("an order that the ERP has more than once"),
    "refusals": N_("far more refusals than usual"),
    "answer_in_quarantine": N_("an answer while the backend was not trusted"),
}

FINDINGS: Final[dict[str, str]] = {
    "missing": N_("a reconciliation: the ERP has it no more"),
    "altered": N_("a reconciliation: the ERP has something else than it acknowledged"),
    "unknown": N_("a reconciliation: the ERP could not be asked about it"),
    "foreign": N_("a reconciliation: the ERP has it, and it was never sent"),
}

DONE: Final = (  # acts as `operations` has them, which is what the command line calls them
    N_("pause"),
    N_("resume"),
    N_("quarantine"),
    N_("release"),
    N_("release proposed"),
    N_("rate"),
    N_("replay"),
    N_("replay pause"),
    N_("replay resume"),
    N_("replay next"),
    N_("replay hold"),
    N_("replay cancel"),
    N_("drain"),
    N_("divert"),
    N_("reconcile"),
    N_("reconcile resume"),
    N_("resend"),
    N_("discard"),
    N_("cancel"),
    N_("unmask"),
    N_("audit"),
    N_("report"),
    N_("acknowledge"),
    N_("key add"),
    N_("key revoke"),
    N_("account add"),
    N_("account change"),
    N_("account disable"),
    N_("account enable"),
    N_("account role"),
    N_("account password"),
    N_("account logout"),
    N_("account rehash"),
    N_("client add"),
    N_("client change"),
    N_("client rotate"),
    N_("client revoke"),
    N_("key rotate"),
    N_("mapping import"),
    N_("webhook add"),
    N_("webhook move"),
    N_("webhook rotate"),
    N_("webhook enable"),
    N_("webhook disable"),
    N_("webhook remove"),
    N_("webhook test"),
    N_("spill drop"),
    N_("spill readmit"),
    N_("queue drop"),
)

NAMED: Final = (  # names of what an act was about, as `operations` has them
    N_("account"),
    N_("afresh"),
    N_("backlog"),
    N_("burst"),
    N_("by"),
    N_("changed"),
    N_("new"),
    N_("removed"),
    N_("unchanged"),
    N_("replace"),
    N_("version"),
    N_("digest"),
    N_("finished"),
    N_("first"),
    N_("host"),
    N_("ids"),
    N_("messages"),
    N_("next"),
    N_("order"),
    N_("overlap"),
    N_("pharmacies"),
    N_("queue"),
    N_("records"),
    N_("scopes"),
    N_("sha256"),
    N_("steps"),
    N_("was"),
)

PRIORITIES: Final = {0: N_("urgent"), 1: N_("normal")}

ASKED: Final = {  # fields of forms and addresses
    "backend": N_("Backend"),
    "rate": N_("Orders a second at most"),
    "digest": N_("Digest"),
    "order": N_("Order"),
    "id": N_("Orders named"),
    "ids": N_("Orders named"),
    "cause": N_("Number of the cause"),
    "before": N_("As it stood at"),
    "pharmacy": N_("Pharmacy"),
    "client": N_("Client"),
    "product": N_("Product"),
    "priority": N_("Priority"),
    "state": N_("State"),
    "reason": N_("Reason of the dead letters"),
    "older": N_("Accepted longer ago than"),
    "younger": N_("Accepted within the last"),
    "hold": N_("Waits after each stage"),
    "replay": N_("Number of the replay"),
    "stage": N_("Stage"),
    "run": N_("Reconciliation"),
    "since": N_("Since"),
    "until": N_("Until"),
    "to": N_("To the backend"),
    "from": N_("From the backend"),
    "although_unknown": N_("May be with their backend"),
}
