"""`relais status --watch`: looks again and again, and shows what it saw: a live screen, or a line a look in a pipe.

It looks on while the journal or Redis is away, and shows what it last knew of them with its age. A look that hangs
does not stop the clock: the screen is drawn each second. Ctrl-C ends it with exit code 0.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import typer
from rich.console import Console
from rich.live import Live
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from workers.cli.failure import CommandFailed
from workers.cli.session import on_journal
from workers.cli.watch.history import History
from workers.cli.watch.screen import in_a_line, screen_of

READ_TIMEOUT: Final = 10.0  # s that a look may wait for the journal
REDRAW: Final = 1.0  # s
SHORTEST_PAUSE: Final = 0.2  # s between two looks

Look = Callable[[AsyncEngine, Settings], Awaitable[Mapping[str, Any]]]
Show = Callable[[History, bool], None]


def watch_status(ctx: typer.Context, every: float, look: Look) -> None:
    """Look every so many seconds until Ctrl-C. Failure where `every` is too short."""
    if every < SHORTEST_PAUSE:
        raise CommandFailed(f"--every is at least {SHORTEST_PAUSE:g}s")

    async def watch(engine: AsyncEngine, settings: Settings) -> None:
        with _shown(every) as show:
            await follow(lambda: look(engine, settings), every, show)

    with suppress(KeyboardInterrupt):
        on_journal(ctx, watch, READ_TIMEOUT)


async def follow(look: Callable[[], Awaitable[Mapping[str, Any]]], every: float, show: Show) -> None:
    """Look and show, for ever; `show` hears whether there is something new to see."""
    history = History()
    while True:
        began = time.monotonic()
        looking = asyncio.ensure_future(look())
        while not (await asyncio.wait([looking], timeout=REDRAW))[0]:
            show(history, False)
        history.saw(looking.result(), time.monotonic())
        show(history, True)
        while (left := began + every - time.monotonic()) > 0:
            await asyncio.sleep(min(left, REDRAW))
            show(history, False)


@contextmanager
def _shown(every: float) -> Iterator[Show]:
    """The screen of a terminal while it lasts; elsewhere plain lines."""
    console = Console()
    if not console.is_terminal:
        yield lambda history, new: print(in_a_line(history), flush=True) if new else None  # stdout is a pipe
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield lambda history, _: live.update(screen_of(history, every), refresh=True)
