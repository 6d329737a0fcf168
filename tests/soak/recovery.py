"""How long it took until orders were taken and delivered again, by kind of fault, as a table."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEAD = """| fault | times | to the next 202: p50 / max | to a delivery: p50 / max | from its start: 202 | delivery |
| --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Inflicted:
    """One fault: whom it struck, when it began and ended (Unix times), whether it killed."""

    kind: str
    target: str
    began: float
    ended: float
    kills: bool


@dataclass(frozen=True)
class Row:
    """What the faults of one kind came to, in seconds: from the end, and from the beginning of what kills."""

    kind: str
    count: int
    taken: tuple[float, float]
    delivered: tuple[float, float]
    down_taken: float | None
    down_delivered: float | None


def rows(faults: Iterable[Inflicted], taken: Sequence[float], delivered: Sequence[float]) -> list[Row]:
    """By kind; `taken` and `delivered` are the moments at which orders were, in turn."""
    by_kind: dict[str, list[Inflicted]] = defaultdict(list)
    for each in faults:
        by_kind[each.kind].append(each)
    found = []
    for kind, those in sorted(by_kind.items()):
        ends = [[_after(times, each.ended) for each in those] for times in (taken, delivered)]
        kills = [each for each in those if each.kills]
        begins = [[_after(times, each.began) for each in kills] for times in (taken, delivered)]
        middle = [(statistics.median(waits), max(waits)) for waits in ends]
        found.append(Row(kind, len(those), middle[0], middle[1], *(max(waits) if waits else None for waits in begins)))
    return found


def _after(times: Sequence[float], moment: float) -> float:
    place = bisect_right(times, moment)
    return times[place] - moment if place < len(times) else float("inf")


def table(found: Iterable[Row]) -> str:
    """In Markdown."""
    return HEAD + "".join(_line(row) for row in found)


def _line(row: Row) -> str:
    spans = [f"{middle:.2f} / {most:.2f} s" for middle, most in (row.taken, row.delivered)]
    downs = ["" if each is None else f"{each:.2f} s" for each in (row.down_taken, row.down_delivered)]
    return f"| {' | '.join([row.kind, str(row.count), *spans, *downs])} |\n"
