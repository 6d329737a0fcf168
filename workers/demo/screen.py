"""Where the story is shown: a live picture on a terminal, a line every few seconds anywhere else.

Off a terminal nothing but lines of ASCII is written: no colours, no control codes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from workers.demo.drawing import View, frame, plain
from workers.demo.weekend import Scene, when

LIVE_EVERY: Final = 0.2  # s
PLAIN_EVERY: Final = 4.0  # s
NARROWEST, LOWEST = 78, 20  # columns and lines of a terminal that the picture fits into


class Screen:
    """One terminal, or one file that stands for it."""

    def __init__(self, file: TextIO) -> None:
        console = Console(file=file, highlight=False)
        # Asked of the file itself: FORCE_COLOR, which many a CI sets, makes a terminal of nothing.
        able = file.isatty() and not console.is_dumb_terminal and console.encoding.startswith("utf")
        self.live = able and console.width >= NARROWEST and console.height >= LOWEST
        plain_console = Console(file=file, highlight=False, force_terminal=False, color_system=None, width=100)
        self.console = console if self.live else plain_console

    def say(self, text: str, style: str = "") -> None:
        """One line, over the picture where there is one."""
        self.console.print(Text(text, style=style), soft_wrap=True)

    def announce(self, number: int, act: Scene) -> None:
        """An act begins."""
        self._line(f"{number} ", act.begins, act.title, "bold cyan")
        self._line("  ", act.begins, act.sentence)

    def tell(self, clock: datetime, text: str) -> None:
        """Something happened in an act."""
        self._line("  ", clock, text)

    def _line(self, margin: str, clock: datetime, text: str, style: str = "") -> None:
        line = Text.assemble((margin, "bold cyan"), (f"{when(clock)}  ", style or "dim"), (text, style))
        self.console.print(line, soft_wrap=not self.live)

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """While something takes its time."""
        if self.live:
            with self.console.status(text):
                yield
        else:
            self.say(text)
            yield

    async def show(self, view: Callable[[], View]) -> None:
        """Draw the view again and again, until cancelled; the last picture stays."""
        if not self.live:
            while True:
                await asyncio.sleep(PLAIN_EVERY)
                self.say(plain(view()))
        with Live(console=self.console, auto_refresh=False, vertical_overflow="crop") as live:
            try:
                while True:
                    live.update(self._frame(view), refresh=True)
                    await asyncio.sleep(LIVE_EVERY)
            finally:
                live.update(self._frame(view), refresh=True)

    def _frame(self, view: Callable[[], View]) -> RenderableType:
        return frame(view(), self.console.width, self.console.height)
