"""What of a finding of a reconciliation may stand on a page: our own words, and nothing that an ERP wrote by hand.

An ERP's words may hold a patient's name. What we say of a difference is one of few sentences; whatever else stands
in a detail is left out, and the order's own page tells it to who asks for it there.
"""

from __future__ import annotations

import re
from typing import Final

from workers.console.i18n import N_
from workers.erp.failures import TABLE

KINDS: Final = {
    "foreign": ("bad", N_("foreign")),
    "altered": ("bad", N_("altered")),
    "missing": ("warn", N_("missing")),
    "unknown": ("quiet", N_("unknown")),
}

MEANING: Final = {
    "foreign": N_("The ERP has it and Relais never sent it."),
    "altered": N_("The ERP has something else than it acknowledged."),
    "missing": N_("The ERP acknowledged it and has it no more."),
    "unknown": N_("The ERP could not be asked about it."),
}

_ID: Final = r"[\w./-]{1,64}"
OURS: Final = tuple(
    re.compile(each)
    for each in (
        r"the ERP acknowledged it and has it no more",
        r"acknowledged, and now \w+",
        rf"its reference is {_ID}, and was {_ID}",
        rf"line \d+: \d+ boxes of {_ID}, and was (?:no such line|\d+ of {_ID})",
        r"\d+ lines, and were \d+",
        rf"the ERP has it as {_ID}, (?:the journal does not know it|it was never sent)",
        r"the ERP lists other bytes under its id",
    )
)
SAYS: Final = frozenset(failure.says for failure in TABLE.values())

WHOLE: Final = N_("Every order that the ERP holds of that time was looked at.")
CANNOT: Final = N_("The ERP cannot list what it holds: orders that were never sent would not be seen.")
NOT_YET: Final = N_("Not yet.")
BROKEN: Final = N_("It broke off: what the ERP holds was not looked at to the end.")


def shown(detail: str) -> str:
    """As much of a detail as is in our own words, with an ellipsis for what is left out."""
    whole = [detail, detail.partition(": ")[0]]
    for part in whole:
        if part in SAYS or any(each.fullmatch(part) for each in OURS):
            return part if part == detail else f"{part}…"
    return "…"


def listed(listing: str | None) -> str:
    """How far the ERP's own list was looked at, as a sentence to translate."""
    return {None: NOT_YET, "whole": WHOLE, "cannot": CANNOT}.get(listing, BROKEN)
