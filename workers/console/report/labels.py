"""What the report's figures are called, marked for translation: `workers.proof` says them in English."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from workers.console.i18n import N_

THIS: Final = N_("this incident")
LAST: Final = N_("the last incident")
SPANS: Final = ((N_("the last 24 hours"), timedelta(days=1)), (N_("the last 7 days"), timedelta(days=7)))
SAID: Final = {  # as a heading, where the word alone is a role or a state of one order
    "operator": N_("Who"),
    "accepted": N_("Orders accepted"),
    "delivered": N_("Delivered"),
    "dead": N_("Dead letters"),
    "cancelled": N_("Cancelled"),
    "discarded": N_("Discarded"),
}
