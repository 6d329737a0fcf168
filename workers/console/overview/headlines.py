"""The headline of the overview: what matters most, from what the poller knows, in the reader's language."""

from __future__ import annotations

from dataclasses import dataclass

from orders.states import Reason
from workers.console.i18n import Words
from workers.console.live.probes import Glance, PollerSnapshot, Survey
from workers.console.masking import say
from workers.monitoring.headline import Facts, JournalFacts, headlines


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence; `kind` is good, warn, bad or quiet."""

    kind: str
    text: str


def told(seen: PollerSnapshot, words: Words) -> list[Said]:
    """What is wrong, the worst first; that all is well where nothing is."""
    return [Said(each.grade, say(each.text, words)) for each in headlines(facts_of(seen))]


def facts_of(seen: PollerSnapshot) -> Facts:
    """What the poller knows, as the headline is made of it."""
    glance, survey, queue = seen.journal.value, seen.survey.value, seen.queue.value
    reached = queue if seen.queue.out is None else None
    return Facts(
        journal=_journal(glance, survey) if glance and survey else None,
        journal_up=seen.journal.out is None,
        journal_since=seen.journal.out,
        redis_up=seen.queue.out is None,
        redis_since=seen.queue.out,
        spilled=(reached.spilled or 0) if reached else 0,
        memory=reached.share if reached else None,
        mode=seen.intake.value if seen.intake.out is None else None,
        intake_up=seen.intake.out is None,
        intake_since=seen.intake.out,
        intake_silent=seen.intake.silent,
    )


def _journal(glance: Glance, survey: Survey) -> JournalFacts:
    """All counts are the survey's, as they are on the page."""
    return JournalFacts(
        at=survey.at,
        leading=glance.leading,
        backends=glance.backends,
        replays=glance.replays,
        backlog=survey.backlog,
        dead=survey.totals["dead_now"],
        conflicts=sum(row["orders"] for row in survey.dead if row["reason"] == Reason.CONFLICT),
        workers=glance.workers,
        weak=glance.weak,
        faults=survey.audit["faults"] if survey.audit else 0,
        doubt=survey.seals["doubt"],
        overdue=survey.overdue,
        unmapped=survey.unmapped,
    )
