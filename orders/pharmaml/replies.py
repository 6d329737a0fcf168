"""An order's end to the REP_COMMANDE that the pharmacy's software waits for.

The ERP's receipt counts boxes per line of the order; the pharmacy reads them per line of its own, in its own codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from uuid import UUID

from orders.pharmaml.messages import (
    MOST_ADDITIF,
    Awaited,
    Codification,
    RepCommande,
    Replacement,
    ReplyLine,
    Shortage,
    TypeRemplacement,
    shortened,
)
from orders.pharmaml.safe_xml import writable
from orders.receipt_lines import day_of, told
from orders.states import State

OWN_CODE: Final = 1000  # 1000 to 9999 are the wholesaler's own
UNDELIVERED: Final = {
    State.CANCELLED: "Commande annulée par l'officine",
    State.DISCARDED: "Commande non traitée, contactez le répartiteur",
}

_CODIFIED: Final = {13: Codification.EAN13, 7: Codification.CIP39}  # by its digits

_STANDARD: Final = re.compile(r"000([1-7])(?:\s+(.*))?")  # as the protocol writes them, "0005 Manque rayon"
_TOKEN: Final = re.compile(r"[A-Za-z0-9._:-]{1,20}")


@dataclass(frozen=True, slots=True)
class Deposited:
    """An order whose fate is final: its `origin` (see `mapping.to_order`), and the ERP's receipt if it was delivered.

    `accepted` is the receipt's lines as the journal has them, `own` the ERP's reference.
    """

    id: UUID
    reference: str
    state: State
    origin: Mapping[str, Any]
    accepted: Iterable[Mapping[str, Any]] = ()
    own: str | None = None


def message_reference(order_id: UUID) -> str:
    """REF_MESSAGE of an order's reply, always the same: 20 of the id's digits, 74 of them random bits."""
    return order_id.hex[-20:].upper()


def reply_to(deposited: Deposited, client: str, company: tuple[str, str]) -> RepCommande:
    """The reply: what is delivered of each of the pharmacy's lines, the earlier ones first, and why not all."""
    own = deposited.own if deposited.own is not None and _TOKEN.fullmatch(deposited.own) else None
    return RepCommande(client, company, deposited.reference, tuple(_lines(deposited)), own)


@dataclass(slots=True)
class _Taken:
    """What is left of a line of the receipt for the pharmacy's own lines."""

    accepted: int = 0
    back_ordered: int = 0
    expected: date | None = None
    substitute: str | None = None
    reason: str | None = None

    def part(self, boxes: int) -> tuple[int, int]:
        """How many boxes one of them gets of it, now and later."""
        now = min(boxes, self.accepted)
        later = min(boxes - now, self.back_ordered)
        self.accepted -= now
        self.back_ordered -= later
        return now, later


def _lines(deposited: Deposited) -> Iterator[ReplyLine]:
    """A LIGNE_N is of the product that was ordered, of which nothing is delivered where another is in its place."""
    taken = {
        line["line"]: _Taken(line["accepted"], line["back_ordered"], day_of(line), line["substitute"], line["reason"])
        for line in told(deposited.accepted)
    }
    for number, (ordered, codification, code, boxes, place) in enumerate(deposited.origin["lines"], 1):
        line = taken.get(place) or _Taken(reason=UNDELIVERED.get(deposited.state))
        now, later = line.part(boxes)
        instead = line.substitute if now else None
        delivered = 0 if instead else now
        shortage = None if delivered == boxes else _shortage(line, later, instead)
        comment = f"{now} x {instead} à la place" if instead else None
        yield ReplyLine(number, ordered, Codification(codification), code, delivered, shortage, comment)


def _shortage(line: _Taken, later: int, instead: str | None) -> Shortage:
    """The protocol's code where the ERP's reason begins with it, else one of our own with the ERP's words."""
    words = writable(line.reason or "")
    found = _STANDARD.fullmatch(words)
    code, said = (int(found[1]), found[2]) if found else (OWN_CODE, words)
    said = said or ("Produit remplacé" if instead else "En reliquat" if later else "Motif non précisé")
    awaited = Awaited(later or None, line.expected) if later or line.expected else None
    return Shortage(code, shortened(said, MOST_ADDITIF), awaited, _replacement(instead))


def _replacement(code: str | None) -> Replacement | None:
    """The product that is delivered; None where its code is longer than the protocol has room for."""
    if code is None or not _TOKEN.fullmatch(code):
        return None
    codification = _CODIFIED.get(len(code), Codification.SPECIALE) if code.isdigit() else Codification.SPECIALE
    return Replacement(TypeRemplacement.EL, codification, code)
