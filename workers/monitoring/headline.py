"""What matters most of how Relais stands, the worst first: the same sentences wherever somebody looks.

Told from one reading of the journal and what Redis and the intake said beside it. Whatever did not answer is told as
not known since then; what the journal last said of who works and what flows is not repeated while it is away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from orders.sentences import Code, Sentence
from orders.states import CircuitState, ReplayState, State
from workers.dispatch.blocked import hindrance, tripped
from workers.replay.gates import named

Row = Mapping[str, Any]

WAITS: Final = timedelta(minutes=1)  # for which an order may wait while all is well
TOO_LONG: Final = {"urgent": timedelta(minutes=15), "normal": timedelta(hours=1)}  # as alerts.yml has it
SILENT: Final = 120.0  # seconds without an answer to a canary, as alerts.yml has it
USED: Final = 0.6  # share of Redis' memory above which it is nearly full


class Grade(StrEnum):
    """How bad it is."""

    BAD = "bad"
    WARN = "warn"
    QUIET = "quiet"
    GOOD = "good"


@dataclass(frozen=True, slots=True)
class Headline:
    """A sentence and how bad it is that it is so."""

    grade: Grade
    text: Sentence


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """What one reading of the journal said as of `at`: rows of `orders.queries` and of `workers.queue.registry`.

    `dead` counts the dead letters, `conflicts` those of them whose place another order has, `faults` what an audit
    found last. `overdue` and `unmapped` are of `orders.queries.troubled`.
    """

    at: datetime
    leading: bool
    backends: Sequence[Row]
    replays: Sequence[Row]
    backlog: Sequence[Row]
    dead: int
    conflicts: int
    workers: Sequence[Row]
    weak: Sequence[Sentence]
    faults: int
    doubt: Sentence | None
    overdue: Sequence[Row] = ()
    unmapped: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known. Each `…_up` says whether there is an answer; `…_since` since when there is none, if that is known.

    `mode` is where the intake keeps what comes now; one that is `intake_silent` only did not answer in time. `spilled`
    orders wait in Redis, which uses `memory` of what it may, None where that is not known.
    """

    journal: JournalFacts | None
    journal_up: bool = True
    journal_since: datetime | None = None
    redis_up: bool = True
    redis_since: datetime | None = None
    spilled: int = 0
    memory: float | None = None
    mode: str | None = None
    intake_up: bool = True
    intake_since: datetime | None = None
    intake_silent: bool = False


def headlines(known: Facts) -> list[Headline]:
    """What is wrong, the worst first; that all is well where nothing is."""
    found = [*_doors(known), *_trust(known), *_work(known), *_orders(known), *_weaknesses(known)]
    if not found and known.journal is None:
        return [Headline(Grade.QUIET, Sentence(Code.NOTHING_KNOWN))]
    if not found:
        return [Headline(Grade.GOOD, Sentence(Code.ALL_WELL))]
    return sorted(found, key=lambda each: list(Grade).index(each.grade))  # stable


def _doors(known: Facts) -> Iterator[Headline]:
    """Whether orders come in, and what keeps them."""
    full = known.memory is not None and known.memory >= 1
    if known.mode == "refusing":
        yield Headline(Grade.BAD, Sentence(Code.SPILL_FULL if full else Code.REFUSES))
    if not known.intake_up and not known.intake_silent:
        yield Headline(Grade.BAD, Sentence(Code.NO_INTAKE, when=_when(known.intake_since)))
    if not known.journal_up:
        codes = {"spill": Code.JOURNAL_SPILLS, "journal": Code.JOURNAL_DOUBTED}
        code = codes.get(known.mode or "", Code.JOURNAL_AWAY)
        yield Headline(Grade.BAD, Sentence(code, when=_when(known.journal_since)))
    if not known.redis_up:
        yield Headline(Grade.BAD, Sentence(Code.REDIS_AWAY, when=_when(known.redis_since)))
    elif full and known.mode != "refusing":
        yield Headline(Grade.BAD, Sentence(Code.REDIS_FULL))
    if not known.intake_up and known.intake_silent:
        yield Headline(Grade.WARN, Sentence(Code.INTAKE_SILENT, when=_when(known.intake_since)))
    if known.mode == "spill" and known.journal_up:
        yield Headline(Grade.WARN, Sentence(Code.INTAKE_SPILLS))


def _trust(known: Facts) -> Iterator[Headline]:
    """What is not to be trusted, and what an operator holds."""
    for row in known.journal.backends if known.journal else ():
        if row["quarantined"]:
            yield from _told(Grade.BAD, hindrance(dict(row), True))
    if known.journal is None or not known.journal_up:
        return
    if known.journal.faults:
        yield Headline(Grade.BAD, Sentence(Code.AUDIT_FAULTS, count=known.journal.faults))
    if known.journal.doubt is not None:
        yield Headline(Grade.BAD, Sentence(Code.SEALS_DOUBTED, why=known.journal.doubt))


def _work(known: Facts) -> Iterator[Headline]:
    """Whether anybody works, and what backends and replays keep back."""
    journal = known.journal
    if journal is None:
        return
    if known.journal_up:
        if not journal.backends:
            yield Headline(Grade.WARN, Sentence(Code.NOBODY_EVER))
        elif not journal.leading:
            yield Headline(Grade.BAD, Sentence(Code.NOBODY_WORKS))
        yield from _workers(journal, known.redis_up)
        for row in journal.backends:
            grade = Grade.BAD if row["circuit"] == CircuitState.OPEN else Grade.WARN
            yield from _told(grade, tripped(dict(row)) or _failing(row))
        for row in journal.replays:
            yield from _replay(row)
    for row in journal.backends:
        if row["paused"] and not row["quarantined"]:
            yield from _told(Grade.WARN, hindrance(dict(row), True))


def _failing(row: Row) -> Sentence | None:
    """An outage that has not opened the circuit yet."""
    if row["failing_since"] is None or row["quarantined"] or row["paused"]:
        return None
    since = row["failing_since"].astimezone(UTC)
    return Sentence(Code.FAILING, backend=row["name"], count=row["failures"], since=since)


def _workers(journal: JournalFacts, asked: bool) -> Iterator[Headline]:
    """Those that run and do not work; without Redis no canary is `asked`."""
    for row in journal.workers:
        if row["deaf_since"] is not None:
            since = row["deaf_since"].astimezone(UTC)
            yield Headline(Grade.BAD, Sentence(Code.DEAF, worker=row["name"], since=since))
    silent = [row["age"] for row in journal.workers if row["age"] > SILENT and row["deaf_since"] is None]
    if silent and asked:
        since = (journal.at - timedelta(seconds=max(silent))).astimezone(UTC)
        yield Headline(Grade.BAD, Sentence(Code.SILENT_WORKERS, count=len(silent), since=since))


def _replay(row: Row) -> Iterator[Headline]:
    told = {"backend": row["backend"], "stage": named(row["stage"])}
    if row["state"] == ReplayState.HOLDING and row["passed"] == row["stage"]:
        yield Headline(Grade.WARN, Sentence(Code.REPLAY_WAITS, **told))
    elif row["state"] == ReplayState.HOLDING:
        yield Headline(Grade.BAD, Sentence(Code.REPLAY_HELD, **told, why=row["why"]))
    elif row["state"] == ReplayState.PAUSED:
        yield Headline(Grade.WARN, Sentence(Code.REPLAY_STOPPED, **told))


def _orders(known: Facts) -> Iterator[Headline]:
    """Orders that wait, or that nobody but a person can help."""
    if known.spilled:
        yield Headline(Grade.WARN, Sentence(Code.IN_SPILL, count=known.spilled))
    journal = known.journal
    if journal is None or not known.journal_up:
        return
    if journal.conflicts:
        yield Headline(Grade.BAD, Sentence(Code.CONFLICTS, count=journal.conflicts))
    waiting = [row for row in journal.backlog if row["state"] != State.SUBMITTED]  # those are with the ERP
    oldest = min((row["oldest"] for row in waiting), default=journal.at)
    if oldest < journal.at - WAITS:
        late = any(row["oldest"] < journal.at - TOO_LONG[row["priority"]] for row in waiting)
        count = sum(row["orders"] for row in waiting)
        told = Sentence(Code.ORDERS_WAIT, count=count, since=oldest.astimezone(UTC))
        yield Headline(Grade.BAD if late else Grade.WARN, told)
    for row in journal.overdue:
        if row["orders"]:
            since = row["oldest"].astimezone(UTC)
            owed = Sentence(Code.OVERDUE, backend=row["backend"], count=row["orders"], since=since)
            yield Headline(Grade.WARN, owed)
    for row in journal.unmapped:
        code = Code.UNMAPPED if row["whole"] else Code.UNMAPPED_AT_LEAST
        yield Headline(Grade.WARN, Sentence(code, backend=row["backend"], count=row["codes"], orders=row["orders"]))
    for row in journal.backends:
        if row["set_aside"]:
            unread = Sentence(Code.SET_ASIDE, backend=row["name"], count=row["set_aside"])
            yield Headline(Grade.WARN, unread)
    if dead := journal.dead - journal.conflicts:
        yield Headline(Grade.WARN, Sentence(Code.DEAD_LETTERS, count=dead))


def _weaknesses(known: Facts) -> Iterator[Headline]:
    """What has done no harm as yet."""
    if known.memory is not None and USED < known.memory < 1:
        yield Headline(Grade.WARN, Sentence(Code.REDIS_FILLS, used=known.memory))
    for each in known.journal.weak if known.journal and known.journal_up else ():
        yield Headline(Grade.WARN, each)


def _when(since: datetime | None) -> Sentence:
    """Since when, at the end of a clause; nothing where nobody knows."""
    return Sentence(Code.TEXT, text="") if since is None else Sentence(Code.SINCE, since=since.astimezone(UTC))


def _told(grade: Grade, *found: Sentence | None) -> Iterable[Headline]:
    return [Headline(grade, each) for each in found if each is not None]
