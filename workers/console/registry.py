"""Every act that the console knows, by its kind."""

from __future__ import annotations

from typing import Final

from workers.console.acts import backends
from workers.console.acts.act import Act
from workers.console.dead import acts as dead
from workers.console.recovery import acts as recovery
from workers.console.report import acts as report
from workers.console.search import acts as search

ACTS: Final[dict[str, Act]] = {
    act.kind: act for room in (backends, recovery, dead, search, report) for act in room.ACTS
}
