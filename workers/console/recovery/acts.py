"""The acts of the room `recovery`."""

from __future__ import annotations

from typing import Final

from workers.console.acts.act import Act
from workers.console.recovery import diverting, draining, reconciling, replaying

ACTS: Final[tuple[Act, ...]] = (*replaying.ACTS, draining.ACT, *reconciling.ACTS, diverting.ACT)
