"""What came of a request, without any secret of ours that the ERP echoes."""

from __future__ import annotations

from dataclasses import replace

from workers.erp.attempts import Tried
from workers.erp.credentials.shown import Shown


def blanked(tried: Tried, shown: Shown) -> Tried:
    """The same, its words and the bytes that are kept of it blanked."""
    if not shown.secrets:
        return tried
    found = tried.found and {
        each: replace(told, detail=shown.blanked(told.detail), answer=shown.blanked_bytes(told.answer))
        for each, told in tried.found.items()
    }
    return tried._replace(detail=shown.blanked(tried.detail), answer=shown.blanked_bytes(tried.answer), found=found)
