"""The picture: where orders flow, how many there are, and the backlog over the weekend. Pure: a view in, text out.

It fits a terminal of 80 by 24. The backlog's columns span the planned time, so that in the end the weekend is on one
chart; their colour is the circuit's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.console import RenderableType
from rich.panel import Panel
from rich.text import Text

from orders.sentences import count
from workers.demo.watch import RATE_SPAN, Sample
from workers.demo.weekend import when

WIDEST: Final = 100
GUTTER: Final = 9
BAR: Final = 26
EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
SHADES: Final = {"closed": "green", "half_open": "yellow", "open": "red"}
CIRCUITS: Final = {"closed": "closed", "half_open": "canary out", "open": "OPEN"}
PARTS: Final = {"api": "intake", "postgres": "journal", "valkey": "Redis", "worker": "worker", "erp": "ERP"}


@dataclass(frozen=True, slots=True)
class View:
    """What there is to see at one moment. Times are seconds since the first act; `span` is how many are planned."""

    clock: datetime
    act: str
    pharmacies: int
    samples: Sequence[Sample]
    rates: tuple[float, float]
    parts: Mapping[str, bool]
    acts: Sequence[float]
    span: float
    planned: int
    wait: float

    @property
    def now(self) -> Sample:
        """The newest sample."""
        return self.samples[-1]


def plain(view: View) -> str:
    """The view as one line of ASCII."""
    now, (taken, given) = view.now, view.rates
    return (
        f"{when(view.clock)}  accepted {now.accepted:,} ({taken:.0f}/s)  delivered {now.delivered:,} ({given:.0f}/s)"
        f"  backlog {now.backlog:,}  circuit {CIRCUITS[now.circuit].lower()}"
    )


def frame(view: View, width: int, height: int) -> RenderableType:
    """The view as a panel, at most `width` columns wide and, down to 15, `height` lines high."""
    width = min(width, WIDEST)
    inner = width - 4
    lines = [_flow(view), Text(), *_figures(view, inner), Text(), *_chart(view, inner, min(8, max(3, height - 18)))]
    title, act = f" [b]{when(view.clock)}[/b] ", f" {view.act} "
    return Panel(
        Text("\n").join(lines),
        title=title,
        title_align="left",
        subtitle=act,
        subtitle_align="right",
        width=width,
        border_style=SHADES[view.now.circuit],
    )


def _flow(view: View) -> Text:
    """Who hands over to whom, and who is down."""
    line = Text(count(view.pharmacies, "pharmacy", "pharmacies"))
    for part, name in PARTS.items():
        alive = view.parts.get(part, False)
        shut = part == "erp" and view.now.circuit == "open"
        line.append(" ╌╌ " if shut else " ─▶ ", "red" if shut else "dim")
        line.append("● " if alive else "✖ ", "green" if alive else "bold red")
        line.append(name, "" if alive else "bold red")
    return line


def _figures(view: View, inner: int) -> list[Text]:
    now, (taken, given) = view.now, view.rates
    most = max(view.planned, now.accepted, 1)
    rows = (
        ("accepted", now.accepted, "cyan", f"{taken:4.0f}/s, answered in {view.wait * 1000:.0f} ms"),
        ("delivered", now.delivered, "green", f"{given:4.0f}/s"),
        ("backlog", now.backlog, "yellow", f"circuit {CIRCUITS[now.circuit]}, window {now.window}"),
    )
    return [_figure(*row, scale=most, shade=SHADES[now.circuit], inner=inner) for row in rows]


def _figure(name: str, value: int, style: str, fact: str, *, scale: int, shade: str, inner: int) -> Text:
    line = Text(f"{name:<10}")
    line.append(f"{value:>6,} ", "bold")
    bar = BAR + inner - 76
    filled = round(bar * value / scale)
    line.append("━" * filled, style).append("─" * (bar - filled), "bright_black")
    line.append(f"  {fact}", shade if fact.startswith("circuit") else "")
    return line


def _chart(view: View, inner: int, rows: int) -> list[Text]:
    """Backlog in columns, the acts under it, then orders taken and delivered a second."""
    width = inner - GUTTER
    span = max(view.span, view.now.at)
    columns = _columns(view.samples, span, width)
    back = max(2, math.ceil(RATE_SPAN / span * width))
    top = max(*(sample.backlog for sample in columns if sample), 10)
    lines = [_row(columns, row, rows, top) for row in reversed(range(rows))]
    return [
        *lines,
        _axis(view.acts, span, width),
        _rate("in/s", columns, back, lambda sample: sample.accepted, "cyan"),
        _rate("out/s", columns, back, lambda sample: sample.delivered, "green"),
    ]


def _columns(samples: Sequence[Sample], span: float, width: int) -> list[Sample | None]:
    """For each column the newest sample of its time, None where there has been none yet."""
    columns: list[Sample | None] = [None] * width
    for sample in samples:
        columns[min(width - 1, int(sample.at / span * width))] = sample
    latest: Sample | None = None
    last = max(number for number, sample in enumerate(columns) if sample)
    for number in range(last + 1):
        latest = columns[number] = columns[number] or latest
    return columns


def _row(columns: Sequence[Sample | None], row: int, rows: int, top: int) -> Text:
    label = f"{top:,}" if row == rows - 1 else "backlog" if row == rows - 2 else "0" if row == 0 else ""
    line = Text(f"{label:>{GUTTER - 2}} ", "dim").append("│", "dim")
    for sample in columns:
        level = 0 if sample is None else round(sample.backlog / top * rows * 8) - row * 8
        line.append(EIGHTHS[max(0, min(8, level))], SHADES[sample.circuit] if sample else "")
    return line


def _axis(acts: Sequence[float], span: float, width: int) -> Text:
    marks = {min(width - 1, int(at / span * width)): str(number) for number, at in enumerate(acts, 1)}
    line = Text(" " * (GUTTER - 1) + "└", "dim")
    for column in range(width):
        line.append(marks.get(column, "─"), "bold" if column in marks else "dim")
    return line


def _rate(name: str, columns: Sequence[Sample | None], back: int, count: Callable[[Sample], int], style: str) -> Text:
    """Orders a second: each column's count against that of so many columns `back`."""
    rates = []
    for number, sample in enumerate(columns):
        before = columns[max(0, number - back)]
        seconds = sample.at - before.at if sample and before else 0.0
        rates.append((count(sample) - count(before)) / seconds if sample and before and seconds > 0 else 0.0)
    top = max(*rates, 1.0)
    line = Text(f"{name:>{GUTTER - 2}} ", "dim").append(" ")
    return line.append("".join(EIGHTHS[round(rate / top * 8)] for rate in rates), style)
