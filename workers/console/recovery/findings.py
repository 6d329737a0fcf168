"""What the kinds of a reconciliation's findings are called and mean, and how far an ERP's own list was looked at."""

from __future__ import annotations

from typing import Final

from workers.console.i18n import N_

KINDS: Final = {
    "foreign": ("bad", N_("foreign"), N_("The ERP has it and Relais never sent it.")),
    "altered": ("bad", N_("altered"), N_("The ERP has something else than it acknowledged.")),
    "missing": ("warn", N_("missing"), N_("The ERP acknowledged it and has it no more.")),
    "unknown": ("quiet", N_("unknown"), N_("The ERP could not be asked about it.")),
}

WHOLE: Final = N_("Every order that the ERP holds of that time was looked at.")
CANNOT: Final = N_("The ERP cannot list what it holds: orders that were never sent would not be seen.")
NOT_YET: Final = N_("Not yet.")
BROKEN: Final = N_("It broke off: what the ERP holds was not looked at to the end.")


def listed(listing: str | None) -> str:
    """How far the ERP's own list was looked at, as a sentence to translate."""
    return {None: NOT_YET, "whole": WHOLE, "cannot": CANNOT}.get(listing, BROKEN)
