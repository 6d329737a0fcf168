"""The language and the zone that a report is told in: whoever wants one hands in the words.

A report says once which zone its times are of, and tells every time alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from config.telemetry.visible import visible
from orders.sentences import Sentence

if TYPE_CHECKING:
    from workers.proof.report.report_model import Contents, Section


class Voice(Protocol):
    """Tells what a report holds."""

    @property
    def language(self) -> str:
        """Its tag, such as `fr`."""

    @property
    def zone(self) -> str:
        """The name of the zone that its times are of."""

    def text(self, message: str, **params: str) -> str:
        """A message, with its parameters."""

    def count(self, one: str, many: str, n: int) -> str:
        """A message about `%(count)s` things, by their number."""

    def heading(self, name: str) -> str:
        """What a column or a figure of that name is called."""

    def number(self, value: float, digits: int = 0) -> str:
        """A figure with at most so many decimals."""

    def moment(self, at: datetime, /) -> str:
        """A time to the second."""

    def day(self, at: datetime) -> str:
        """Its date, as an axis has it."""

    def say(self, kept: Any) -> str:
        """A sentence, or what the journal keeps of one."""

    def code(self, heading: str, code: str) -> str:
        """What a code of ours is called that stands under that heading."""

    def facts(self, detail: Mapping[str, Any]) -> str:
        """What an act was about."""


@dataclass(frozen=True, slots=True)
class Table:
    """A section as it is shown; `figures` says of each column whether it stands on the right."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Sequence[bool]
    remark: str


def tabled(section: Section, voice: Voice) -> Table:
    """The section in that voice."""
    first = section.rows[0] if section.rows else {}
    return Table(
        voice.text(section.title),
        [voice.heading(name) for name in section.headings],
        [[_of_row(section, name, row.get(name), voice) for name in section.headings] for row in section.rows],
        [isinstance(first.get(name), int) and not isinstance(first.get(name), bool) for name in section.headings],
        section.remark and voice.text(section.remark),
    )


def _of_row(section: Section, name: str, value: object, voice: Voice) -> str:
    return voice.code(name, value) if name in section.codes and isinstance(value, str) else cell(value, voice)


def cell(value: object, voice: Voice) -> str:
    """A value for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return voice.text("yes" if value else "no")
    if isinstance(value, int):
        return voice.number(value)
    if isinstance(value, datetime):
        return voice.moment(value)
    if isinstance(value, Sentence) or (isinstance(value, Mapping) and "code" in value):
        return visible(voice.say(value))
    return visible(voice.facts(value) if isinstance(value, Mapping) else str(value))


COUNTED = {  # orders, by what became of them
    "accepted": ("%(count)s accepted", "%(count)s accepted"),
    "backlog": ("%(count)s backlog", "%(count)s backlog"),
    "delivered": ("%(count)s delivered", "%(count)s delivered"),
    "dead": ("%(count)s dead", "%(count)s dead"),
    "cancelled": ("%(count)s cancelled", "%(count)s cancelled"),
    "discarded": ("%(count)s discarded", "%(count)s discarded"),
}


def equation(ledger: Mapping[str, int], voice: Voice) -> str:
    """What was accepted, as the sum of what became of it."""
    accepted, *parts = (voice.count(*COUNTED[name], count).replace(" ", "\xa0") for name, count in ledger.items())
    whole, *summands = ledger.values()
    return f"{accepted} {'=' if whole == sum(summands) else '≠'} {' + '.join(parts)}"


def opening(told: Contents, voice: Voice) -> str:
    """Of which time the report is, who made it and when, and in which zone it tells times."""
    since, until, at = (cell(each, voice) for each in (told.incident.since, told.incident.until, told.at))
    return " ".join(
        (
            voice.text("From %(since)s to %(until)s.", since=since, until=until),
            voice.text("Made on %(at)s by %(by)s.", at=at, by=cell(told.by, voice)),
            voice.text("Times are those of %(zone)s.", zone=voice.zone),
        )
    )


def named(what: Sentence, ids: Sequence[object], voice: Voice) -> str:
    """The first of what is wrong in that way."""
    return voice.text("%(what)s: %(ids)s", what=cell(what, voice), ids=", ".join(map(str, ids)))
