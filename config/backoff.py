"""The pause before the next try of what keeps failing."""

from __future__ import annotations


def backoff(tries: int, first: float, most: float) -> float:
    """Seconds after so many failed tries: `first`, doubled with each but the first, `most` at most; 0 after none."""
    return min(most, first * 2.0 ** min(tries - 1, 60)) if tries > 0 else 0.0
