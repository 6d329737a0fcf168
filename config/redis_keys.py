"""What Relais calls its keys in Redis: the queues, what workers set aside of them, and the spill."""

from __future__ import annotations

from typing import Final

URGENT, NOTICES, NORMAL = KINDS = "relais.urgent", "relais.notices", "relais.normal"
OURS: Final = b"relais."  # how each queue of ours begins
ASIDE: Final = "relais.aside"  # a stream
SPILL_RECORDS: Final = "relais.spill"
SPILL_NOTES: Final = "relais.spill.notes"
SPILL_ASIDE: Final = "relais.spill.aside"  # forged records beyond what the journal keeps of them
SPILL_ERA: Final = "relais.spill.era"  # there while orders were spilled a moment ago


def queue_of(kind: str, backend: str) -> str:
    """The queue of a backend's dispatches: each backend has its own, so that none waits behind another's."""
    return f"{kind}.{backend}"
