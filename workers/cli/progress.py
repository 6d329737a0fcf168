"""A progress bar on stderr with rate and time left; where stderr is no terminal, a line whenever the news changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from config.telemetry.visible import visible
from workers.cli.show import say


class RateColumn(ProgressColumn):
    """Steps a second, over the last half minute."""

    def render(self, task: Task) -> Text:
        """The rate, or nothing while there is none."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


class Bar:
    """What a command tells its bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._shown = not progress.disable
        self._news = ""

    def at(self, done: int, total: int | None, news: str = "") -> None:
        """How much is done of how much, and why it does not go on, if it does not."""
        self._progress.update(self._task, completed=done, total=total, news=visible(news))
        if news and news != self._news and not self._shown:
            say(news)
        self._news = news


@contextmanager
def bar(label: str, total: int | None) -> Iterator[Bar]:
    """A bar for `total` steps, None while nobody knows how many; it stays on the screen when it is done."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[news]}", style="yellow", markup=False),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(label, total=total, news=""))
