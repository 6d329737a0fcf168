"""What matters most of how Relais stands, in sentences: the first is what somebody reads who is called at night."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from orders.states import CircuitState
from workers.console.i18n import N_, Words
from workers.console.live.probes import Glance, PollerSnapshot
from workers.console.masking import say
from workers.dispatch.blocked import tripped
from workers.replay.gates import named

Row = dict[str, Any]

# By where the intake keeps what comes now; None where it does not say.
OUT: Final = {
    "journal": N_("PostgreSQL does not answer this console since %(since)s; the intake says that it reaches it."),
    "spill": N_("PostgreSQL is out since %(since)s: orders are taken in and wait in Redis, nothing is forwarded."),
    None: N_("PostgreSQL is out since %(since)s: nothing is forwarded."),
}
SILENT: Final = {
    "journal": OUT["journal"],
    "spill": N_(
        "PostgreSQL has not answered since %(since)s: orders are taken in and wait in Redis, nothing is forwarded."
    ),
    None: N_("PostgreSQL has not answered since %(since)s: without it nothing is forwarded."),
}
IDLE: Final = N_("Nobody works: orders are taken in and wait for a worker.")
IDLE_AND_SHUT: Final = N_("Nobody works: orders that are here wait for a worker.")


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence; `kind` is good, warn, bad or quiet."""

    kind: str
    text: str


def told(seen: PollerSnapshot, words: Words) -> list[Said]:
    """What is wrong, the worst first; that all is well where nothing is, and what is weak all the same."""
    found = [*_stores(seen, words), *_flows(seen, words)]
    journal = seen.journal.value
    weak = [Said("warn", say(each, words)) for each in journal.weak] if journal is not None else []
    if not found:
        return [Said("good", words.gettext("All is well: orders flow to every backend.")), *weak]
    return sorted([*found, *weak], key=lambda each: ("bad", "warn", "quiet").index(each.kind))  # stable


def _stores(seen: PollerSnapshot, words: Words) -> Iterator[Said]:
    _ = words.gettext
    takes = None if seen.intake.out is not None else seen.intake.value
    if takes == "refusing":
        yield Said("bad", _("Orders are refused: neither PostgreSQL nor Redis can keep one."))
    if seen.journal.out is not None:
        sentences = SILENT if seen.journal.silent else OUT
        sentence = sentences.get(takes, sentences[None])
        yield Said("bad", _(sentence) % {"since": words.clock(seen.journal.out)})
        if seen.journal.value is None:
            yield Said("bad", _("It has not answered since this console started: nothing is known yet."))
    if seen.queue.out is not None:
        since = words.clock(seen.queue.out)
        told = N_("Redis is out since %(since)s: nothing is forwarded.")
        silent = N_("Redis has not answered since %(since)s: without it nothing is forwarded.")
        yield Said("bad", _(silent if seen.queue.silent else told) % {"since": since})
    if seen.intake.out is not None:
        since = words.clock(seen.intake.out)
        told = N_("Nobody takes orders at the intake's address since %(since)s: no order comes in there.")
        silent = N_("Whether the intake takes orders is not known since %(since)s: it does not answer in time.")
        yield Said("bad", _(silent if seen.intake.silent else told) % {"since": since})
    elif takes == "spill" and seen.journal.out is None:
        yield Said("warn", _("The intake keeps orders in Redis: it does not reach PostgreSQL."))


def _flows(seen: PollerSnapshot, words: Words) -> Iterator[Said]:
    journal = seen.journal.value
    if journal is None:
        if seen.journal.out is None:
            yield Said("quiet", words.gettext("Nothing is known yet."))
        return
    if not journal.backends:
        yield Said("warn", words.gettext("No worker has ever run here: orders are taken in and wait."))
        return
    stale = seen.journal.out is not None  # who works, and how it goes, is not known then
    if not journal.leading and not stale:
        taken = seen.intake.out is None and seen.intake.value in ("journal", "spill")
        yield Said("bad", words.gettext(IDLE if taken else IDLE_AND_SHUT))
    yield from () if stale else _deaf(journal, words)
    for row in journal.backends:
        yield from _held(row, words)
        if not stale and (down := tripped(row)) is not None:
            yield Said("bad" if row["circuit"] == CircuitState.OPEN else "warn", say(down, words))
    yield from _replays(journal, words)


def _deaf(journal: Glance, words: Words) -> Iterator[Said]:
    _ = words.gettext
    for row in (each for each in journal.workers if each["deaf_since"] is not None):
        sentence = _("%(name)s takes no orders since %(since)s, though some wait: it is to be restarted.")
        yield Said("bad", sentence % {"name": row["name"], "since": words.clock(row["deaf_since"])})


def _held(row: Row, words: Words) -> Iterator[Said]:
    _ = words.gettext
    name, why = row["name"], say(row["held_why"], words) or _("no reason given")
    if row["quarantined"]:
        by, since = row["quarantined_by"], words.clock(row["quarantined_at"])
        sentence = _("%(name)s was put in quarantine by %(by)s at %(since)s: %(why)s")
        yield Said("bad", sentence % {"name": name, "by": by, "since": since, "why": why})
    if row["paused"]:
        yield Said("warn", _("%(name)s is paused: %(why)s") % {"name": name, "why": why})


def _replays(journal: Glance, words: Words) -> Iterator[Said]:
    _ = words.gettext
    for row in journal.replays:
        told = {"name": row["backend"], "stage": say(named(row["stage"]), words), "why": say(row["why"], words)}
        if row["state"] == "holding" and row["passed"] == row["stage"]:
            yield Said("warn", _("The replay of %(name)s has passed %(stage)s and waits for a word.") % told)
        elif row["state"] == "holding":
            yield Said("bad", _("The replay of %(name)s holds at %(stage)s: %(why)s") % told)
        elif row["state"] == "paused":
            yield Said("warn", _("The replay of %(name)s is paused at %(stage)s.") % told)
