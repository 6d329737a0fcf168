"""The timeline of an incident, drawn as SVG: orders in and out, attempts that failed, the backlog, and who did what.

No script and nothing from elsewhere: colours are classes of the page's style sheet, so that it follows light, dark
and paper. Acts of operators are numbered as in the report's table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Final

from workers.proof.report.incident import Incident
from workers.proof.report.voice import Voice

WIDE, LEFT, RIGHT = 960, 62, 28  # px
# Where each panel begins and ends, px from the top. Accepted and delivered have scales of their own: after an outage
# one is a hundred times the other.
ACCEPTED, DELIVERED, FAILED, BACKLOG = (34, 124), (154, 264), (294, 314), (344, 464)
AXIS: Final = BACKLOG[1]
HIGH: Final = AXIS + 40
HELD: Final = {"pause": "resume", "quarantine": "release"}  # what begins a hold, and what ends it
MOST_MARKS: Final = 40
STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)


TITLE: Final = "Orders accepted and delivered, attempts that failed, and the backlog over time"
UNITS: Final = (  # s
    (86_400, "%(count)s day", "%(count)s days"),
    (3600, "%(count)s hour", "%(count)s hours"),
    (60, "%(count)s minute", "%(count)s minutes"),
    (1, "%(count)s second", "%(count)s seconds"),
)


def timeline(incident: Incident, voice: Voice) -> str:
    """The drawing."""
    incident = incident.told_in(voice.zone)
    parts = [
        *_holds(incident, voice),
        *_panel(incident, ACCEPTED, "accepted", voice),
        *_panel(incident, DELIVERED, "delivered", voice),
        *_failed(incident, voice),
        *_backlog(incident, voice),
        *_hours(incident, voice),
        *_marks(incident, voice),
    ]
    title = escape(voice.text(TITLE))
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{title}" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(parts)}</svg>"
    )


def _x(incident: Incident, at: datetime) -> float:
    share = (at - incident.since) / (incident.until - incident.since)
    return LEFT + min(1.0, max(0.0, share)) * (WIDE - LEFT - RIGHT)


def _panel(incident: Incident, place: tuple[int, int], name: str, voice: Voice) -> Iterator[str]:
    top = ceiling(max(incident.series[name], default=0))
    what, span = voice.text(name), _span(incident.width, voice)
    yield from _scale(place, top, voice.text("%(what)s, orders in %(span)s", what=what, span=span), voice)
    yield f'<polyline class="line {name}" points="{_points(incident, incident.series[name], place, top)}"/>'


def _backlog(incident: Incident, voice: Voice) -> Iterator[str]:
    top = ceiling(max(incident.waiting, default=0))
    yield from _scale(BACKLOG, top, voice.text("backlog, in orders"), voice)
    points = _points(incident, incident.waiting, BACKLOG, top)
    first, last = points.split()[0].split(",")[0], points.split()[-1].split(",")[0]
    yield f'<polygon class="area backlog" points="{first},{BACKLOG[1]} {points} {last},{BACKLOG[1]}"/>'


def _failed(incident: Incident, voice: Voice) -> Iterator[str]:
    """A strip that is the darker the more attempts failed."""
    yield f'<text class="label" x="{LEFT}" y="{FAILED[0] - 8}">{escape(voice.text("attempts that failed"))}</text>'
    most = max(incident.series["failed"], default=0)
    step = timedelta(seconds=incident.width)
    for number, count in enumerate(incident.series["failed"]):
        if count:
            left = _x(incident, incident.since + number * step)
            wide = max(1.5, _x(incident, incident.since + (number + 1) * step) - left)
            shade = 0.25 + 0.75 * count / most
            yield (
                f'<rect class="failed" x="{left:.1f}" y="{FAILED[0]}" width="{wide:.1f}" '
                f'height="{FAILED[1] - FAILED[0]}" opacity="{shade:.2f}"><title>{voice.number(count)}</title></rect>'
            )
    yield f'<path class="axis" d="M{LEFT} {FAILED[1]}H{WIDE - RIGHT}"/>'


def _points(incident: Incident, figures: Sequence[int], place: tuple[int, int], top: int) -> str:
    """In the middle of each slice."""
    half = timedelta(seconds=incident.width / 2)
    step, (ceiling_y, floor_y) = timedelta(seconds=incident.width), place
    return " ".join(
        f"{_x(incident, incident.since + number * step + half):.1f},"
        f"{floor_y - figure / top * (floor_y - ceiling_y):.1f}"
        for number, figure in enumerate(figures)
    )


def _scale(place: tuple[int, int], top: int, label: str, voice: Voice) -> Iterator[str]:
    yield f'<text class="label" x="{LEFT}" y="{place[0] - 8}">{escape(label)}</text>'
    for part in (0, 0.5, 1):
        y = place[1] - part * (place[1] - place[0])
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDE - RIGHT}"/>'
        figure = voice.number(top * part, 1)
        yield f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{figure}</text>'


def _hours(incident: Incident, voice: Voice) -> Iterator[str]:
    seconds = (incident.until - incident.since).total_seconds()
    step = next((step for step in STEPS if seconds / step <= 8), -(-seconds // 8 // 86_400) * 86_400)
    start = incident.since.timestamp()
    tick = -(-start // step) * step
    while tick <= incident.until.timestamp():
        at = datetime.fromtimestamp(tick, incident.since.tzinfo)
        x = _x(incident, at)
        clock = f"{at:%H:%M:%S}" if step < 60 else f"{at:%H:%M}"
        yield f'<path class="axis" d="M{x:.1f} {AXIS}v5"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{AXIS + 18}" text-anchor="middle">{clock}</text>'
        yield f'<text class="tick" x="{x:.1f}" y="{AXIS + 32}" text-anchor="middle">{escape(voice.day(at))}</text>'
        tick += step


def _holds(incident: Incident, voice: Voice) -> Iterator[str]:
    """Where a backend was paused or in quarantine."""
    begun: dict[tuple[str, str], datetime] = {}
    for act in incident.acts:
        backend = str(act["detail"].get("backend", ""))
        for begins, ends in HELD.items():
            if act["act"] == begins:
                begun.setdefault((begins, backend), act["at"])
            elif act["act"] == ends and (begins, backend) in begun:
                yield _hold(incident, begins, begun.pop((begins, backend)), act["at"], voice)
    for (begins, _), since in begun.items():
        yield _hold(incident, begins, since, incident.until, voice)


def _hold(incident: Incident, name: str, since: datetime, until: datetime, voice: Voice) -> str:
    left, right = _x(incident, since), _x(incident, until)
    return (
        f'<rect class="hold {name}" x="{left:.1f}" y="{ACCEPTED[0]}" width="{max(1.0, right - left):.1f}" '
        f'height="{BACKLOG[1] - ACCEPTED[0]}"><title>{escape(voice.text(name))}</title></rect>'
    )


def _marks(incident: Incident, voice: Voice) -> Iterator[str]:
    """A line for each act, numbered; numbers that would lie on one another are left to the table."""
    free = 0.0
    for number, act in enumerate(incident.acts[:MOST_MARKS], 1):
        x = _x(incident, act["at"])
        name = escape(voice.code("act", act["act"]))
        yield f'<path class="mark" d="M{x:.1f} {ACCEPTED[0]}V{BACKLOG[1]}"><title>{name}</title></path>'
        if x >= free:
            yield f'<text class="number" x="{x:.1f}" y="12" text-anchor="middle">{number}</text>'
            free = x + 14


def ceiling(most: int) -> int:
    """A round number that is not less: one digit times a power of ten."""
    power = 10 ** (len(str(most)) - 1) if most > 0 else 1
    return next(power * step for step in (1, 2, 3, 4, 5, 6, 8, 10) if power * step >= most)


def _span(seconds: int, voice: Voice) -> str:
    size, one, many = next(unit for unit in UNITS if seconds % unit[0] == 0)
    return voice.count(one, many, seconds // size)
