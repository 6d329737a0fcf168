"""What of free text is shown: our own constant phrases, and nothing else unless somebody asks and says why.

An order's note may name a patient, and an ERP may repeat it in any answer. So of what came from outside only a phrase
that stands in our own table is shown, up to its colon; a line's reason only where it is a word of the trade. Who
asks, and says why, sees the whole of one order for a while: `search.unmasking`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from orders.sentences import Code, Sentence, joined, sentence_of
from orders.states import UNFIT, Reason
from workers.console.i18n import Figure, Words
from workers.console.labels import ASKED, REASONS
from workers.erp.own_words import GIVEN, PLAIN, is_trade, own_words

FIGURES: Final = re.compile(r"[\w-]*\d[\w-]*(?: [\w-]*\d[\w-]*)*")  # 3, 6h 05m, an id
WORDS: Final = frozenset({"field", "has", "kind", "role", "state"})  # parameters that are words of ours


@dataclass(frozen=True, slots=True)
class Text:
    """Free text as it may be shown: `shown`, whether any of it is `hidden`, and if it is a phrase of `ours`."""

    shown: str
    hidden: bool = False
    ours: bool = False


def said(detail: str | None, *, whole: bool = False) -> Text:
    """An attempt's detail or a delivery's error; `whole` when it may all be seen."""
    if not detail or whole:
        return Text(detail or "")
    own = own_words(detail)
    return Text(own, hidden=own != detail, ours=True)


def error(told: str | None, reason: str | None, words: Words, code: Any = None, *, whole: bool = False) -> Text:
    """A delivery's last error, by the reason of the dead letter that it is; by its code where the journal has one."""
    if reason in UNFIT:
        return Text(say(code, words) or told or "")  # our own sentences
    return said(told, whole=whole)


def line_reason(reason: str | None, *, whole: bool = False) -> Text:
    """Why the ERP takes less of a line than was ordered."""
    if not reason or whole or is_trade(reason):
        return Text(reason or "", ours=not whole)
    return Text("", hidden=True)


def reference(told: str, *, whole: bool = False) -> Text:
    """The ERP's own reference: a number or a code, anything else may be a name."""
    return Text(told) if whole or PLAIN.fullmatch(told) else Text("", hidden=True)


def cause(group: Mapping[str, Any], words: Words, code: Sentence | None = None) -> str:
    """What the orders of a group died of: its message as an order's error is shown, or a word of the trade. `code` is
    of one of them, where the journal has it.
    """
    if group["reason"] == Reason.UNMAPPED:
        return words.gettext(REASONS[Reason.UNMAPPED])  # which codes differs from order to order
    if code is not None and group["reason"] in UNFIT:
        faults = dict.fromkeys(map(_of_any, _parted(code)))
        return say(joined(each for each in faults if each.code is not Code.MORE_FAULTS), words)
    told = group["message"]
    if (trade := line_reason(told)).shown:
        return trade.shown
    found = error(told, group["reason"], words)
    if found.hidden and not found.shown and group["reason"] in REASONS:
        return words.gettext(REASONS[group["reason"]]) + words.gettext(" (the ERP's words are masked)")
    return in_line(found, words) or words.gettext("no words")


def _parted(said: Sentence) -> list[Sentence]:
    """The sentences that `joined` made one of."""
    return [*_parted(said.params["one"]), said.params["other"]] if said.code is Code.BOTH else [said]


def _of_any(fault: Sentence) -> Sentence:
    """The fault without what differs from order to order: # stands for it, as in a group's message."""
    return Sentence(fault.code, **{name: _without_figures(value) for name, value in fault.params.items()})


def _without_figures(value: Any) -> Any:
    if isinstance(value, Sentence):
        return _of_any(value)
    return FIGURES.sub("#", value) if isinstance(value, str) else "#"


def say(kept: Any, words: Words, *, whole: bool = False) -> str:
    """A sentence, or what the journal keeps of one, in this language; of an ERP's words only what may be shown."""
    sentence = sentence_of(kept)
    if sentence is None or sentence.code is Code.TEXT:
        return sentence or ""
    code, params = sentence.code, sentence.params
    form = words.ngettext(code.one, code.many, params["count"]) if code.many else words.gettext(code.one)
    return form.format_map({name: _param(name, value, words, whole) for name, value in params.items()})


def _param(name: str, value: Any, words: Words, whole: bool) -> str | Figure:
    if name == "detail":
        return in_line(said(value, whole=whole), words)
    if name in WORDS and isinstance(value, str):
        return words.gettext(ASKED.get(value, value))
    if name in GIVEN and isinstance(value, str) and not PLAIN.fullmatch(value):
        return "…"
    if isinstance(value, int | float | datetime):
        return Figure(value, words)
    return say(value, words, whole=whole)


def in_line(text: Text, words: Words) -> str:
    """The text as part of a line, our own phrases in this language."""
    shown = words.gettext(text.shown)
    return f"{shown} ({words.gettext('masked')})".lstrip() if text.hidden else shown
