"""What the room shares: the poller, its snapshots drawn, the charts' series, the streams to those who watch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from workers.console.live.poller import Poller
from workers.console.live.series import Series
from workers.console.live.stream import Streams
from workers.console.overview.fragments import Board


@dataclass(frozen=True, slots=True)
class OverviewState:
    """Of one console process."""

    poller: Poller  # looks only while it is let run
    board: Board
    series: Series
    streams: Streams = field(default_factory=Streams)


def _overview(request: Request) -> OverviewState:
    state: OverviewState = request.app.state.overview
    return state


Overview = Annotated[OverviewState, Depends(_overview)]
