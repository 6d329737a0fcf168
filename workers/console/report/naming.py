"""What the report's figures are called, marked for translation: `workers.proof` says them in English."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from workers.console.words import N_
from workers.proof.plot import UNITS

SPANS: Final = ((N_("the last 24 hours"), timedelta(days=1)), (N_("the last 7 days"), timedelta(days=7)))
NAMES: Final = (
    N_("this incident"), N_("accepted"), N_("delivered"), N_("backlog"), N_("dead"), N_("cancelled"), N_("discarded"),
    N_("attempts that failed"), N_("largest backlog"), N_("backlog at the end"), N_("paused"), N_("in quarantine"),
    N_("pause"), N_("quarantine"), N_("orders in"), N_("backlog, in orders"),
    N_("Orders accepted and delivered, attempts that failed, and the backlog over time"),
    N_("second"), N_("seconds"), N_("minute"), N_("minutes"), N_("hour"), N_("hours"), N_("day"), N_("days"),
    N_("Acts of operators"), N_("Evidence against backends"), N_("What the backends have, as they were asked"),
    N_("Attempts by outcome"), N_("Dead letters as they stand"), N_("Backends, as they stand"),
    N_("Ledger by hour of acceptance"), N_("Ledger by day of acceptance"), N_("The first 500 are shown."),
    N_("no."), N_("at"), N_("operator"), N_("act"), N_("reason"), N_("detail"), N_("backend"), N_("kind"),
    N_("proof"),
    N_("pieces"), N_("orders"), N_("first"), N_("last"), N_("since"), N_("until"), N_("state"), N_("present"),
    N_("missing"), N_("resent"), N_("altered"), N_("unknown"), N_("foreign"), N_("outcome"), N_("attempts"),
    N_("name"),
    N_("circuit"), N_("changed at"), N_("quarantined"), N_("quarantined at"), N_("quarantined by"), N_("held why"),
    N_("adds up"), N_("blocks"), N_("rows in them"), N_("rows not sealed yet"), N_("last block in the anchor"),
    N_("receipts with a signature"), N_("of which wrong"), N_("last block"), N_("sealed"), N_("with key"),
    N_("its mac"),
    N_("verification"), N_("no fault"), N_("faults, see above"),
)  # fmt: skip
SAID: Final = {  # as a heading, where the word alone is a role or a state of one order
    "operator": N_("Who"), "accepted": N_("Orders accepted"), "delivered": N_("Delivered"),
    "dead": N_("Dead letters"), "cancelled": N_("Cancelled"), "discarded": N_("Discarded"),
}  # fmt: skip
assert {name for unit in UNITS for name in unit[1:]} <= set(NAMES)
