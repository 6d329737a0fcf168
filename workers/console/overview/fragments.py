"""The overview drawn: its parts as HTML, once for each language and role that somebody reads it in.

A page shows all parts, a stream sends those that have changed. Whoever saw the beat before gets the difference,
anyone else all of it; either is made once, and the same bytes go to everybody.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

from workers.console.access.people import Role
from workers.console.live.poller import Poller
from workers.console.live.probes import COUNTED, PollerSnapshot
from workers.console.overview.headlines import told
from workers.console.rendering import Pages
from workers.replay.gates import named

PARTS: Final = ("now", "beat", "figures", "backends", "cutoffs", "stands")
STORES: Final = "stores"  # the part that every page has


@dataclass(slots=True)
class _Drawn:
    beat: int = -1
    before: int = -1  # the beat that `news` is the difference to
    parts: dict[str, str] = field(default_factory=dict)
    news: bytes = b""
    whole: bytes = b""


class Board:
    """What of the poller is shown, drawn when it is asked for. Belongs to one event loop."""

    def __init__(self, poller: Poller, pages: Pages) -> None:
        """Nothing is drawn yet."""
        self._poller, self._pages = poller, pages
        self._drawn: dict[tuple[str, Role], _Drawn] = {}

    def parts(self, language: str, role: Role) -> dict[str, str]:
        """Each part's HTML by its name."""
        return self._draw(language, role).parts

    def news(self, language: str, role: Role, seen: int) -> bytes:
        """Events for one who has seen up to that beat."""
        drawn = self._draw(language, role)
        return drawn.news if seen == drawn.before else drawn.whole

    def stores(self, language: str) -> str:
        """The part for every page, empty while no store is out."""
        return self._part(STORES, language, Role.VIEWER, self._poller.seen)

    def _draw(self, language: str, role: Role) -> _Drawn:
        drawn, seen = self._drawn.setdefault((language, role), _Drawn()), self._poller.seen
        if drawn.beat == seen.beat:
            return drawn
        parts = {name: self._part(name, language, role, seen) for name in (STORES, *PARTS)}
        changed = {name: html for name, html in parts.items() if drawn.parts.get(name) != html}
        point = sample(seen)
        drawn.news, drawn.whole = frame(changed) + point, frame(parts) + point
        drawn.before, drawn.beat, drawn.parts = drawn.beat, seen.beat, parts
        return drawn

    def _part(self, name: str, language: str, role: Role, seen: PollerSnapshot) -> str:
        words = self._pages.words[language]
        return self._pages.fragment(
            language,
            f"overview/_{name}.html",
            seen=seen,
            said=told(seen, words),
            stage=named,
            most=COUNTED,
            may=lambda least: role.covers(Role(least)),
            stale=seen.journal.out is not None,  # figures are of a time that is past
        )


def frame(parts: dict[str, str]) -> bytes:
    """One event that swaps these parts in, each into the element of its name (htmx 4, `hx-partial`)."""
    lines = "".join(
        f'<hx-partial hx-target="#{name}" hx-swap="innerMorph">{html}</hx-partial>\n' for name, html in parts.items()
    )
    data = "".join(f"data: {line}\n" for line in lines.splitlines() if line.strip())
    return f"{data}\n".encode() if data else b""


def sample(seen: PollerSnapshot) -> bytes:
    """The event that carries the newest point of the charts."""
    glance = seen.journal.value
    if glance is None or glance.sample is None:
        return b""
    return f"event: sample\ndata: {json.dumps(asdict(glance.sample))}\n\n".encode()
