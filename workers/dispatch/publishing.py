"""What the leader asks of the queue; who composes the process hands it over, so that nothing here knows Celery.

Nothing raises for a queue that is out of reach: it answers None, or False, and what was not published is due again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Row


class Publishing(Protocol):
    """The queues of one backend, and what all backends share: notices and the spill."""

    def deliver(self, rows: Sequence[Row[Any]], most: int | None = None) -> bool:
        """Publish dispatches of these rows of `take_due`, at most `most` orders in a message."""

    def poll(self, ids: Sequence[UUID]) -> bool:
        """Publish polls of submitted orders."""

    def tell(self, ids: Sequence[UUID]) -> bool:
        """Publish notices."""

    def depth(self) -> int | None:
        """Messages about the backend's orders that wait."""

    def untold(self) -> int | None:
        """Messages about notices that wait."""

    def spilled(self) -> bool:
        """Whether orders wait in the spill, or nobody can tell."""
