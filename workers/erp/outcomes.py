"""What the outcome of an attempt says of the ERP, for Python and for SQL over rows of `attempts`.

A refusal is an answer: the ERP did its job, and the order is what failed. An attempt has failed when no answer came
that can be used; so has one whose worker died, which bears LEASE_EXPIRED and no kind.
"""

from __future__ import annotations

from typing import Final

from orders.states import listed
from workers.erp.port import Kind

LEASE_EXPIRED: Final = "lease_expired"

DELIVERED: Final = (Kind.ACCEPTED, Kind.DUPLICATE)
SUCCEEDED: Final = (*DELIVERED, Kind.PENDING)
ANSWERED: Final = (*SUCCEEDED, Kind.REFUSED)

IS_DELIVERED: Final = f"outcome IN ({listed(DELIVERED)})"
IS_ANSWERED: Final = f"outcome IN ({listed(ANSWERED)})"
HAS_FAILED: Final = f"outcome NOT IN ({listed(ANSWERED)})"
