"""Every act that the console knows, by its kind. The application hands it to the pages: no room imports it."""

from __future__ import annotations

from typing import Final

from workers.console.acts import backends, releases
from workers.console.acts.act import Act
from workers.console.dead import acts as dead
from workers.console.orders import acts as orders
from workers.console.recovery import diverting, draining, reconciling, replaying
from workers.console.report import acts as report
from workers.console.search import acts as search

ACTS: Final[dict[str, Act]] = {
    act.kind: act
    for act in (
        *backends.ACTS,
        *releases.ACTS,
        *replaying.ACTS,
        draining.ACT,
        *reconciling.ACTS,
        diverting.ACT,
        *dead.ACTS,
        *orders.ACTS,
        *search.ACTS,
        *report.ACTS,
    )
}
