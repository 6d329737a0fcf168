"""The acts of the room `report`."""

from __future__ import annotations

from typing import Final

from workers.console.acts.kinds import Act

ACTS: Final[tuple[Act, ...]] = ()
