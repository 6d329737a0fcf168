"""The pause that an answer asks for in `Retry-After`, whoever it is that answers: an ERP, a webhook, an intake."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_PAUSE: Final = 3600.0  # seconds: who answers may ask for a pause, not for a standstill


def pause_asked(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds from a Retry-After header, a number or an HTTP date (RFC 9110, 10.2.3); None when it is neither."""
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return min(float(text[:9]), LONGEST_PAUSE)
    try:
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        left = (when - (now or datetime.now(UTC))).total_seconds()
    except (ValueError, OverflowError, TypeError, IndexError):  # no date, or a year or an offset beyond all bounds
        return None
    return min(max(left, 0.0), LONGEST_PAUSE)
