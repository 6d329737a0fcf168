"""An order's end to the REP_COMMANDE that the pharmacy's software waits for.

The ERP's receipt counts boxes per line of the order; the pharmacy reads them per line of its own, in its own codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from orders.pharmaml.messages import (
    MOST_ADDITIF,
    Codification,
    RepCommande,
    ReplyLine,
    Shortage,
    shortened,
)
from orders.pharmaml.safe_xml import writable
from orders.states import State

OWN_CODE: Final = 1000  # 1000 to 9999 are the wholesaler's own
UNDELIVERED: Final = {
    State.CANCELLED: "Commande annulée par l'officine",
    State.DISCARDED: "Commande non traitée, contactez le répartiteur",
}

_STANDARD: Final = re.compile(r"000([1-7])(?:\s+(.*))?")  # as the protocol writes them, "0005 Manque rayon"
_TOKEN: Final = re.compile(r"[A-Za-z0-9._:-]{1,20}")


@dataclass(frozen=True, slots=True)
class Deposited:
    """An order whose fate is final: its `origin` (see `mapping.to_order`), and the ERP's receipt if it was delivered.

    `accepted` is [{line, product, accepted, reason}] of the receipt, `own` the ERP's reference.
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


def _lines(deposited: Deposited) -> Iterator[ReplyLine]:
    left = {line["line"]: line["accepted"] for line in deposited.accepted}
    reasons = {line["line"]: line["reason"] for line in deposited.accepted}
    for number, (ordered, codification, code, boxes, place) in enumerate(deposited.origin["lines"], 1):
        delivered = min(boxes, left.get(place, 0))
        left[place] = left.get(place, 0) - delivered
        reason = UNDELIVERED.get(deposited.state) or reasons.get(place)
        shortage = None if delivered == boxes else _shortage(reason)
        yield ReplyLine(number, ordered, Codification(codification), code, delivered, shortage)


def _shortage(reason: str | None) -> Shortage:
    """The protocol's code where the ERP's reason begins with it, else one of our own with the ERP's words."""
    words = writable(reason or "")
    found = _STANDARD.fullmatch(words)
    code, told = (int(found[1]), found[2]) if found else (OWN_CODE, words)
    return Shortage(code, shortened(told or "Motif non précisé", MOST_ADDITIF))
