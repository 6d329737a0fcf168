"""An order's life as a list of what happened, and the same as a drawing along the time.

The drawing is geometry alone (a bar for each attempt, a line where it waited, a mark for each thing else): all that
it says stands beside it in the list, in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from orders.receipt_lines import told
from orders.states import State
from workers.console.i18n import N_, Words
from workers.console.labels import EVENTS, EVIDENCE, FINDINGS, OUTCOMES, REASONS
from workers.console.masking import Text, error, in_line, reference, said, say
from workers.console.search.order_life import OrderLife

WIDE: Final = 1000  # units of the drawing, along the time
THIN: Final = 6.0  # units: the narrowest that can be seen
NOTHING: Final = Text("")
COLOURS: Final = {State.DELIVERED: "good", State.DEAD: "bad", State.SUBMITTED: "warn", State.ACCEPTED: "act"}
FAMILIES: Final = {  # what marks of one row are
    "order": N_("Order"),
    "attempt": N_("Attempt"),
    "operation": N_("Operator"),
    "proof": N_("Proof"),
    "told": N_("Told"),
    "wait": N_("Wait"),
}


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened, or a wait: what, when, until when; `colour` is good, bad, warn, act or quiet."""

    family: str
    at: datetime
    title: str
    colour: str = "quiet"
    until: datetime | None = None
    text: Text = NOTHING
    facts: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class Shape:
    """A bar or a mark of the drawing: where it begins, how wide it is, in which row and colour."""

    x: float
    width: float
    row: int
    colour: str
    family: str


def entries(life: OrderLife, words: Words, *, whole: bool = False) -> list[TimelineEntry]:
    """What happened, from the first to the last, waits among it. `whole` when free text may be shown."""
    found = [*_order(life, words, whole), *_attempts(life, words, whole), *_others(life, words, whole)]
    found.sort(key=lambda each: (each.at, each.family != "order"))
    return sorted([*found, *_waits(life, words)], key=lambda each: each.at)


def _order(life: OrderLife, words: Words, whole: bool) -> Iterator[TimelineEntry]:
    order, _ = life.order, words.gettext
    facts = [_("by the client %s") % order.client]
    if order.request_id:
        facts.append(_("request %s") % order.request_id)
    yield TimelineEntry("order", order.received_at, _("accepted, and on disk"), "act", facts=facts)
    for event in life.parts["events"]:
        why = [_(REASONS[event.reason])] if event.reason in REASONS else []
        code = order.why if event.error == order.error else None  # of an earlier death only the words are kept
        text = error(event.error, event.reason, words, code, whole=whole) if event.state == State.DEAD else NOTHING
        title = _(EVENTS[event.state]) if event.state in EVENTS else event.state
        yield TimelineEntry("order", event.at, title, COLOURS.get(event.state, "quiet"), text=text, facts=why)


def _attempts(life: OrderLife, words: Words, whole: bool) -> Iterator[TimelineEntry]:
    _ = words.gettext
    for tried in life.parts["attempts"]:
        name, colour = OUTCOMES.get(tried.outcome, (tried.outcome, "quiet"))
        took = (tried.ended_at - tried.started_at).total_seconds()
        facts = [_("took %s s") % words.number(took, 3)]
        if tried.status is not None:
            facts.append(f"HTTP {tried.status}")
        if tried.worker:
            facts.append(_("worker %s") % tried.worker)
        yield TimelineEntry(
            "attempt", tried.started_at, _(name), colour, tried.ended_at, said(tried.detail, whole=whole), facts
        )


def _others(life: OrderLife, words: Words, whole: bool) -> Iterator[TimelineEntry]:
    _, parts = words.gettext, life.parts
    for act in life.operations:
        about = _("about this order") if act.named else _("about its backend")
        yield TimelineEntry(
            "operation",
            act.at,
            f"{act.operator}{words.colon} {_(act.act)}",
            "act",
            text=Text(act.reason or ""),
            facts=[about],
        )
    for piece in parts["evidence"]:
        facts = [_("proof: its backend went into quarantine")] if piece.conclusive else []
        title = _(EVIDENCE[piece.kind]) if piece.kind in EVIDENCE else piece.kind
        yield TimelineEntry("proof", piece.at, title, "bad", text=said(piece.detail, whole=whole), facts=facts)
    for finding in parts["findings"]:
        title = _(FINDINGS[finding.kind]) if finding.kind in FINDINGS else finding.kind
        yield TimelineEntry("proof", finding.at, title, "bad", text=Text(say(finding.detail, words, whole=whole)))
    for row in parts["receipts"]:
        named = in_line(reference(row.reference, whole=whole), words)
        facts = _of_lines(row.lines, words)
        yield TimelineEntry("proof", row.received_at, _("receipt %s journalled") % named, "good", facts=facts)
    for seal in parts["seal"]:
        yield TimelineEntry("proof", seal.sealed_at, _("sealed in block %s") % words.number(seal.block), "good")
    for row in parts["fetched"]:
        yield TimelineEntry("told", row.at, _("the pharmacy's software took the reply"), "good")
    for notice in parts["notices"]:
        yield _notice(notice, words)


def _of_lines(lines: str, words: Words) -> list[str]:
    """How many lines of a receipt are otherwise than ordered."""
    found = told(json.loads(lines))
    refused = sum(line.get("accepted") == line["back_ordered"] == 0 for line in found)
    replaced = sum(line["substitute"] is not None for line in found)
    later = sum(line["back_ordered"] != 0 for line in found)
    counted = (
        (refused, words.ngettext("%s line refused", "%s lines refused", refused)),
        (replaced, words.ngettext("%s line replaced", "%s lines replaced", replaced)),
        (later, words.ngettext("%s line to come later", "%s lines to come later", later)),
    )
    return [each % words.number(count) for count, each in counted if count]


def _notice(notice: Any, words: Words) -> TimelineEntry:
    _ = words.gettext
    what = [_(EVENTS[notice.state])] if notice.state in EVENTS else []
    if notice.told_at is not None:
        return TimelineEntry("told", notice.told_at, _("webhook of %s told") % notice.client, "good", facts=what)
    tries = words.ngettext("%s try so far", "%s tries so far", notice.attempts) % words.number(notice.attempts)
    return TimelineEntry(
        "told", notice.due_at, _("webhook of %s is still to be told") % notice.client, "warn", facts=[*what, tries]
    )


def _waits(life: OrderLife, words: Words) -> Iterator[TimelineEntry]:
    """Where nothing was tried for more than a second: before, between and after the attempts."""
    tried = sorted((each.started_at, each.ended_at) for each in life.parts["attempts"])
    since, end = life.lasts
    for began, ended in [*tried, (end, end)]:
        if (began - since).total_seconds() > 1.0:
            length = words.duration(began - since)
            yield TimelineEntry("wait", since, words.gettext("waited %s") % length, "quiet", began)
        since = max(since, ended)


def shapes(found: Sequence[TimelineEntry], life: OrderLife) -> list[Shape]:
    """The drawing: row 0 the waits and attempts, row 1 the order and its proof, row 2 operators and who was told.

    What lies outside the order's own time, as a seal that came later, is drawn at its edge; what is bad over all else.
    """
    start, end = life.lasts
    length = max((end - start).total_seconds(), 0.001)
    rows = {"wait": 0, "attempt": 0, "order": 1, "proof": 1, "operation": 2, "told": 2}
    drawn = []
    for each in found:
        x = _place((each.at - start).total_seconds() / length)
        upto = x if each.until is None else _place((each.until - start).total_seconds() / length)
        width = max(THIN, upto - x)
        drawn.append(
            Shape(round(min(x, WIDE - width), 1), round(width, 1), rows[each.family], each.colour, each.family)
        )
    return sorted(drawn, key=lambda shape: (shape.family != "wait", shape.colour == "bad"))


def _place(share: float) -> float:
    return WIDE * min(1.0, max(0.0, share))
