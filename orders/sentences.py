"""What Relais says to people of what it found: a code with parameters, of which English and French are renderings.

A `Sentence` is a string, the English one, so that logs, the command line and JSON take it as it is; the console tells
it in the person's language by its code (`workers.console.masking.told`). The journal keeps code and parameters. What
an operator or an ERP wrote is quoted: under `TEXT`, or as the parameter `detail`, which only an ERP's words have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache, reduce
from typing import Any, Final
from uuid import UUID

from orders.refusals import NotDone, Phrase

MOMENTS: Final = ("since", "probe", "at")  # parameters that are times
MOST_DETAIL: Final = 500  # characters


class Code(Phrase):
    """What can be said of what was found."""

    TEXT = "{text}"
    BECAUSE = "{what}: {why}"
    BOTH = "{one}; {other}"
    MORE_FAULTS = "and {count:,} more fault", "and {count:,} more faults"

    # a replay: `workers.replay`
    STAGE = "stage {stage}"
    RAMP = "the ramp"
    NO_RECEIPT = "{unreceipted} of {delivered} delivered without a receipt"
    NO_VERIFIED_RECEIPT = "{unsigned} of {delivered} delivered without a verified receipt"
    ERRORS = (
        "{failed} of {count} attempt failed, {allowed:.0%} is allowed",
        "{failed} of {count} attempts failed, {allowed:.0%} is allowed",
    )
    REFUSALS = (
        "{refused} of {count} order refused, which is not the backend's norm",
        "{refused} of {count} orders refused, which is not the backend's norm",
    )
    SLOW = "one answer in twenty takes {slow:.2f} s, {allowed:.2f} s is allowed"
    FOUND = "{answered} answered, {failed} failed"
    FOUND_TIMED = "{answered} answered, {failed} failed, p95 {slow:.2f} s"
    STAGE_PASSED = "{stage} is passed: {found}; it waits for a word"

    # what stops forwarding: `workers.dispatch.blocked`, and why a backend is as it is
    NEVER_WORKED = "no worker has ever run here"
    NO_WORKER = "no worker is running"
    REPLAY_HOLDS = "the replay of {backend} is holding at {stage}"
    REPLAY_PAUSED = "the replay of {backend} is paused at {stage}"
    PAUSED = "{backend} is paused"
    QUARANTINED = "{backend} is in quarantine"
    QUARANTINED_SINCE = "{backend} is in quarantine since {since:%Y-%m-%d %H:%M:%SZ} by {by}"
    CIRCUIT_OPEN = (
        "{backend}: the circuit is open since {since:%Y-%m-%d %H:%M:%SZ}: {why}; next canary at {probe:%H:%M:%SZ}"
    )
    CANARY_DUE = (
        "{backend}: the circuit is open since {since:%Y-%m-%d %H:%M:%SZ}: {why}; the next order due is the canary"
    )
    CANARY_HELD = (
        "{backend}: the circuit is open since {since:%Y-%m-%d %H:%M:%SZ}: {why}; no canary goes while it is held"
    )
    CANARY_OUT = "{backend}: nothing was taken since {since:%Y-%m-%d %H:%M:%SZ}; one canary is out"
    MET = "{detail}"
    SUSPICIOUS = "suspicious: {detail}"
    FAILURES = "failures in a row"
    RELEASED = "released from quarantine"
    PROVED = "{evidence}, order {order}: {detail}"

    # how Relais stands: `workers.monitoring.headline`
    SINCE = " since {since:%Y-%m-%d %H:%M:%SZ}"
    ALL_WELL = "All is well: orders flow to every backend"
    NOTHING_KNOWN = "Nothing is known yet"
    REFUSES = "Orders are refused: neither PostgreSQL nor Redis can keep one"
    SPILL_FULL = "Orders are refused: PostgreSQL is away and Redis is full"
    NO_INTAKE = "Nobody takes orders at the intake's address{when}: no order comes in there"
    INTAKE_SILENT = "Whether the intake takes orders is not known{when}: it does not answer in time"
    INTAKE_SPILLS = "The intake keeps orders in Redis: it does not reach PostgreSQL"
    JOURNAL_SPILLS = "PostgreSQL has not answered{when}: orders are taken in and wait in Redis, nothing is forwarded"
    JOURNAL_AWAY = "PostgreSQL has not answered{when}: without it nothing is forwarded"
    JOURNAL_DOUBTED = "PostgreSQL has not answered here{when}; the intake says that it reaches it"
    REDIS_AWAY = "Redis has not answered{when}: without it nothing is forwarded"
    REDIS_FULL = "Redis is full: nothing is forwarded, and there is no spill"
    REDIS_FILLS = "Redis uses {used:.0%} of its memory: once it is full nothing is forwarded"
    AUDIT_FAULTS = "The last audit found {count:,} fault", "The last audit found {count:,} faults"
    SEALS_DOUBTED = "The seals are not to be believed: {why}"
    NOBODY_EVER = "No worker has ever run here: orders wait"
    NOBODY_WORKS = "Nobody works: orders wait for a worker"
    DEAF = "{worker} takes no orders since {since:%Y-%m-%d %H:%M:%SZ}, though some wait: it is to be restarted"
    SILENT_WORKERS = (
        "{count:,} worker has answered no canary since {since:%Y-%m-%d %H:%M:%SZ}",
        "{count:,} workers have answered no canary, the first of them since {since:%Y-%m-%d %H:%M:%SZ}",
    )
    REPLAY_HELD = "The replay of {backend} holds at {stage}: {why}"
    REPLAY_STOPPED = "The replay of {backend} is paused at {stage}"
    REPLAY_WAITS = "The replay of {backend} has passed {stage} and waits for a word"
    IN_SPILL = "{count:,} order in Redis waits for the journal", "{count:,} orders in Redis wait for the journal"
    ORDERS_WAIT = (
        "{count:,} order waits since {since:%Y-%m-%d %H:%M:%SZ}",
        "{count:,} orders wait, the oldest since {since:%Y-%m-%d %H:%M:%SZ}",
    )
    CONFLICTS = (
        "{count:,} order was answered 202, and another order has its place",
        "{count:,} orders were answered 202, and others have their places",
    )
    FAILING = (
        "{backend}: {count:,} attempt failed since {since:%Y-%m-%d %H:%M:%SZ}, and no order was answered",
        "{backend}: {count:,} attempts failed since {since:%Y-%m-%d %H:%M:%SZ}, and no order was answered",
    )
    OVERDUE = (
        "{backend} owes its decision on {count:,} order, sent at {since:%Y-%m-%d %H:%M:%SZ}",
        "{backend} owes its decision on {count:,} orders, the oldest sent at {since:%Y-%m-%d %H:%M:%SZ}",
    )
    UNMAPPED = (
        "{count:,} code is not mapped for {backend}; dead letters for want of it: {orders:,}",
        "{count:,} codes are not mapped for {backend}; dead letters for want of them: {orders:,}",
    )
    UNMAPPED_AT_LEAST = (
        "at least {count:,} code is not mapped for {backend}; dead letters for want of it: at least {orders:,}",
        "at least {count:,} codes are not mapped for {backend}; dead letters for want of them: at least {orders:,}",
    )
    SET_ASIDE = "{count:,} unread answer of {backend} set aside", "{count:,} unread answers of {backend} set aside"
    DEAD_LETTERS = "{count:,} dead letter needs a person", "{count:,} dead letters need a person"

    # what a journal's settings weaken: `orders.journal.durability`
    FSYNC_OFF = "fsync is off: a power cut may lose or damage anything in the journal, also what was answered 202"
    FULL_PAGE_WRITES_OFF = "full_page_writes is off: a power cut may damage the journal"
    COMMIT_OFF = "synchronous_commit is off here: what Relais answers for waits for the disk all the same"
    COMMIT_AHEAD = "synchronous_commit is {mode}, ahead of the standby's disk: a failover may lose the last orders"
    STANDBY_BEHIND = "a standby is asynchronous: a failover may lose the last orders"

    # codes of an order that are not mapped: in quotation marks, so that all such orders have one cause
    NOT_MAPPED = "not mapped: {codes}"
    LISTED = "{one}, {other}"
    PHARMACY_CODE = '"pharmacy {said}"'
    PRODUCT_CODE = '"product {said}"'
    MORE_CODES = '"{count} more"', '"{count} more"'

    # a forecast: `workers.forecast`
    NOTHING_DELIVERED = "{backend} has delivered nothing yet, so its rate is not known"
    UNLIKELY = "in more than one future of twenty the backlog is not empty within eight weeks"
    NEVER = "never at this rate: {come:.3g}/s come in on average, and {taken:.3g}/s go out"
    TOO_LATE = "not within eight weeks"
    BACK = "{backend} is back by then and a canary opens the way"
    CANARY_PASSES = "the next canary gets through"
    RATE_ASKED = "as asked"
    RATE_UNKNOWN = "nothing was delivered yet"
    RATE_BETWEEN = (
        "not seen busy lately: between its best, {best:.3g}/s, and what its latency lets through, {ceiling:.3g}/s"
    )
    RATE_SEEN = ("{count} busy sample of {width:.0f} s", "{count} busy samples of {width:.0f} s")
    PAST_WEEKS = "the same hours of {count} past week", "the same hours of {count} past weeks"
    PAST_DAYS = "the same hours of {count} past day", "the same hours of {count} past days"
    LEVEL = "{basis}, taken at {level:.0%} as the last hours suggest"
    LAST_HOURS = "the last {minutes:.0f} min alone: there are no past weeks yet"

    # a reconciliation: `workers.reconcile`
    GONE = "the ERP acknowledged it and has it no more"
    NOT_LISTED_YET = "the ERP does not have it, which is not believed before {at:%Y-%m-%d %H:%M:%SZ}"
    BECAME = "acknowledged, and now {kind}: {detail}"
    OTHER_REFERENCE = "its reference is {reference}, and was {was}"
    OTHER_LINE = (
        "line {line}: {count} box of {product}, and was {was} of {was_product}",
        "line {line}: {count} boxes of {product}, and was {was} of {was_product}",
    )
    NEW_LINE = (
        "line {line}: {count} box of {product}, and was no such line",
        "line {line}: {count} boxes of {product}, and was no such line",
    )
    OTHER_BACK_ORDER = (
        "line {line}: {count} box to come ({expected}), and was {was} ({was_expected})",
        "line {line}: {count} boxes to come ({expected}), and was {was} ({was_expected})",
    )
    EXPECTED = "expected {day}"
    NO_DAY = "no day told"
    OTHER_LINES = "{count} line, and was {were}", "{count} lines, and was {were}"
    NOT_KNOWN = "the ERP has it as {reference}, the journal does not know it"
    NOT_SENT = "the ERP has it as {reference}, it was never sent"
    OTHER_BYTES = "the ERP lists other bytes under its id"

    # what Relais does by itself and records: `workers.up`, `workers.demo`
    OF_SIMULATOR = "the simulated ERP signs its receipts with it"
    OF_DEMO = "for the orders of `relais demo`"


@cache
def codes() -> Mapping[str, Phrase]:
    """Every phrase by its key. Those of audits are loaded here, for who reads a kept sentence."""
    from orders.audit_codes import AuditCode

    return {each.key: each for each in (*Code, *AuditCode, *NotDone)}


class Sentence(str):
    """A code with its parameters, which may be sentences too; equal to what it says in English."""

    code: Phrase
    params: dict[str, Any]

    def __new__(cls, code: Phrase, **params: Any) -> Sentence:
        params = {name: str(value) if isinstance(value, UUID) else value for name, value in params.items()}
        template = code.many if code.many and params["count"] != 1 else code.one
        said = super().__new__(cls, template.format_map(params))
        said.code, said.params = code, params
        return said

    def __deepcopy__(self, memo: object) -> Sentence:
        return self

    def stored(self) -> dict[str, Any]:
        """As the journal keeps it, in JSON: the parameters beside `code`; of an ERP's words the first MOST_DETAIL."""
        return {"code": self.code.key, **{name: _plain(name, value) for name, value in self.params.items()}}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Sentence):
        return value.stored()
    if name == "detail":
        return value[:MOST_DETAIL]
    return value.isoformat() if isinstance(value, datetime) else value


def sentence_of(kept: Any) -> Sentence | None:
    """The sentence that the journal keeps so; a bare text is quoted, and None is none."""
    if kept is None or isinstance(kept, Sentence):
        return kept
    if isinstance(kept, str):
        return Sentence(Code.TEXT, text=kept)
    return Sentence(codes()[kept["code"]], **{name: _read(name, kept[name]) for name in kept if name != "code"})


def joined(told: Iterable[Sentence]) -> Sentence | None:
    """All of them as one, None for none."""
    found = list(told)
    return reduce(lambda one, other: Sentence(Code.BOTH, one=one, other=other), found) if found else None


def _read(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return sentence_of(value)
    return datetime.fromisoformat(value) if name in MOMENTS and value else value


def count(number: int, one: str, many: str | None = None) -> str:
    """So many of something, as it reads: `1 order`, `2,500 orders`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
