"""What of free text is shown: our own constant phrases, and nothing else unless somebody asks and says why.

An order's note may name a patient, and an ERP may repeat it in any answer. So of what came from outside only a phrase
that stands in our own table is shown, up to its colon; a line's reason only where it is a word of the trade. Asking
is an act: it is recorded, and shows that one order to that one person for UNMASKED_FOR seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import Fault, Malformed, NotFound
from orders.journal import transactional
from orders.sentences import Code, sentence_of
from orders.states import Reason
from workers.console.access.people import Person, Role
from workers.console.i18n import Figure, Words
from workers.erp.failures import TABLE
from workers.operations import acting_as, record

UNMASK: Final = "unmask"
UNMASKED_FOR: Final = 300.0  # seconds
REASON_LENGTH: Final = 500  # characters of a reason

OURS: Final = frozenset(failure.says for failure in TABLE.values()) | {
    "not with the ERP",
    "the worker did not settle in time",
    "the batch's budget ran out",
    "the batch was stopped or its budget ran out",
    "the receipt's reference is another order's",
    "answered in quarantine, which counts as unknown",
    "released from quarantine",
    "failures in a row",
}
GIVEN: Final = frozenset({"reference", "product", "was", "was_product"})  # parameters that an ERP may have written
PLAIN: Final = re.compile(r"[\w./-]{1,64}")  # what is shown of these
PENDING: Final = re.compile(r"pending as [A-Za-z0-9._/-]{1,64}")  # the ERP's reference
VETTED: Final = (Reason.INVALID, Reason.EXPIRED, Reason.STALE)  # their errors are our own sentences
TRADE: Final = frozenset(
    {  # what an ERP says of a line that it does not deliver whole; PharmaML's codes among them
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "unknown",
        "unknown product",
        "out of stock",
        "discontinued",
        "recalled",
        "not authorised",
        "quota",
        "limited",
        "rupture",
        "rupture de stock",
        "manque fabricant",
        "manque en rayon",
        "inconnu",
        "produit inconnu",
        "arrêté",
        "retiré",
        "rappel",
        "rappel de lot",
        "non autorisé",
        "contingenté",
        "contingentement",
        "en rupture",
        "manquant",
        "indisponible",
        "unavailable",
        "withdrawn",
    }
)

ASKED: Final = text("""
SELECT max(at) FROM operations
WHERE detail ? 'order' AND detail ->> 'order' = :order AND act = :act AND operator = :operator AND at > :since
""")
THERE: Final = text("SELECT clock_timestamp() FROM orders WHERE id = :order")


@dataclass(frozen=True, slots=True)
class Text:
    """Free text as it may be shown: `shown`, and whether anything of it is `hidden`."""

    shown: str
    hidden: bool = False


def said(detail: str | None, *, whole: bool = False) -> Text:
    """An attempt's detail or a delivery's error; `whole` when it may all be seen."""
    if not detail or whole or detail in OURS or PENDING.fullmatch(detail):
        return Text(detail or "")
    phrase = next(
        (detail[: match.start()] for match in re.finditer(": ", detail) if detail[: match.start()] in OURS), ""
    )
    return Text(phrase, hidden=True)


def error(why: str | None, reason: str | None, *, whole: bool = False) -> Text:
    """A delivery's last error, by the reason of the dead letter that it is."""
    return said(why, whole=whole or reason in VETTED)


def line_reason(reason: str | None, *, whole: bool = False) -> Text:
    """Why the ERP takes less of a line than was ordered."""
    if not reason or whole or reason.strip().lower().replace("_", " ") in TRADE:
        return Text(reason or "")
    return Text("", hidden=True)


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
    if name == "kind":
        return words.gettext(value)
    if name in GIVEN and isinstance(value, str) and not PLAIN.fullmatch(value):
        return "…"
    if isinstance(value, int | float | datetime):
        return Figure(value, words)
    return say(value, words, whole=whole)


def in_line(text: Text, words: Words) -> str:
    """The text as part of a line, our own phrases in this language."""
    shown = words.gettext(text.shown)
    return f"{shown} ({words.gettext('masked')})".lstrip() if text.hidden else shown


async def unmasked_until(connection: AsyncConnection, order: UUID, person: Person, now: datetime) -> datetime | None:
    """Until when this person sees this order's free text; None when they have not asked lately."""
    if not person.role.covers(Role.OPERATOR):
        return None
    length = timedelta(seconds=UNMASKED_FOR)
    values = {"order": str(order), "act": UNMASK, "operator": person.name, "since": now - length}
    asked = (await connection.execute(ASKED, values)).scalar()
    return None if asked is None else asked + length


async def unmask(engine: AsyncEngine, order: UUID, person: Person, reason: str) -> None:
    """Let this person see this order's free text for a while, and record it. Raises Malformed and NotFound."""
    if not 3 <= len(reason) <= REASON_LENGTH or not reason.isprintable():
        raise Malformed([Fault("reason", None, f"must be 3 to {REASON_LENGTH} printable characters")])
    async with transactional(engine).begin() as connection:
        if (await connection.execute(THERE, {"order": order})).scalar() is None:
            raise NotFound(f"no order {order}")
        with acting_as(person.name):
            await record(connection, UNMASK, reason, {"order": str(order)})
