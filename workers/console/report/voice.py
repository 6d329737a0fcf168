"""The voice of reports: the console's words, its names of codes, and its zone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from workers.console.acts.backend_queries import CIRCUITS
from workers.console.i18n import Words
from workers.console.labels import EVIDENCE, OUTCOMES, REASONS
from workers.console.masking import say
from workers.console.recovery.views import RUN_STATES
from workers.console.report.labels import SAID
from workers.console.report.operations import told

LONGEST: Final = 300  # characters of what an act was about
CALLED: Final[Mapping[str, Mapping[str, str]]] = {
    "outcome": {code: name for code, (name, _) in OUTCOMES.items()},
    "reason": REASONS,
    "kind": EVIDENCE,
    "circuit": CIRCUITS,
    "state": {code: name for code, (_, name) in RUN_STATES.items()},
}


@dataclass(frozen=True, slots=True)
class ReportVoice:
    """A `workers.proof.report.voice.Voice`; `zone` is the one of the words."""

    words: Words
    zone: str
    moment: Callable[[datetime], str]

    @property
    def language(self) -> str:
        """Its tag."""
        return self.words.code

    def text(self, message: str, **params: str) -> str:
        """A message, with its parameters."""
        return self.words.gettext(message) % params if params else self.words.gettext(message)

    def count(self, one: str, many: str, n: int) -> str:
        """A message by a number."""
        return self.words.ngettext(one, many, n) % {"count": self.words.number(n)}

    def heading(self, name: str) -> str:
        """A column's or figure's name."""
        return self.words.gettext(SAID.get(name, name))

    def number(self, value: float, digits: int = 0) -> str:
        """A figure."""
        return self.words.number(value, digits)

    def day(self, at: datetime) -> str:
        """A date of an axis."""
        return self.words.day(at)

    def say(self, kept: Any) -> str:
        """A sentence, of an ERP's words what may be shown."""
        return say(kept, self.words)

    def code(self, heading: str, code: str) -> str:
        """What the pages call it."""
        return self.words.gettext(CALLED.get(heading, {}).get(code, code))

    def facts(self, detail: Mapping[str, Any]) -> str:
        """Names and values, shortly."""
        facts = told(detail, self.words)
        said = " · ".join(
            f"{name}{self.words.colon} {', '.join(values)}{' …' * (more > 0)}" for name, values, more in facts
        )
        return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"


def on_page(words: Words, zone: str) -> ReportVoice:
    """As every page of the console tells times."""
    return ReportVoice(words.of_room("report"), zone, words.moment)


def in_file(words: Words, zone: str) -> ReportVoice:
    """As a file does that says once which zone its times are of."""
    return ReportVoice(words.of_room("report"), zone, words.stamp)
