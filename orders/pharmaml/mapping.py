"""COMMANDE to the order that the journal keeps, and the `origin` beside it that the reply will need.

The same message gives the same order, byte for byte: that is how a message that comes again is known. Lines of the
same product become one, of the sum, since an order has one line a product; `origin` keeps the pharmacy's own lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from orders.identifiers import CUSTOMER_CODE, product
from orders.model import MOST_LINES, Order
from orders.pharmaml.fields import refused
from orders.pharmaml.messages import Codification, Commande, EnvelopeHead, LigneCommande, NotUnderstood, Statut
from orders.pharmaml.pieces import Pieces, each
from orders.pharmaml.safe_xml import writable

CHANNEL: Final = "pharmaml"
MOST_BOXES: Final = 99_999  # of a product, as an order's
MOST_NOTE: Final = 500
CUT: Final = " [...]"

_WINDOWS: Final = re.compile("[\x7f-\x9f]")  # in ISO-8859-1 control characters, from Windows letters and marks


def to_order(head: EnvelopeHead, commande: Commande) -> Pieces[tuple[Order, dict[str, Any]]]:
    """The order and its origin: channel, message (REF_MESSAGE), lines of [Num_Ligne, Type_Codification,
    Code_Produit, boxes, place in the order from 1]. Raises NotUnderstood, which names every line at fault.
    """
    pharmacy = _pharmacy(head, commande)
    if len(commande.lines) > MOST_LINES:
        raise refused(Statut.MESSAGE, f"{len(commande.lines)} lignes : au plus {MOST_LINES} par commande")
    products = yield from _products(commande.lines)
    boxes: dict[str, int] = {}
    for line, code in zip(commande.lines, products, strict=True):
        boxes[code] = boxes.get(code, 0) + line.quantity
    if too_many := [line for line, code in zip(commande.lines, products, strict=True) if boxes[code] > MOST_BOXES]:
        raise _at_fault(f"plus de {MOST_BOXES} boîtes", too_many)
    places = {code: place for place, code in enumerate(boxes, 1)}
    origin = {
        "channel": CHANNEL,
        "message": head.reference,
        "lines": [
            [line.number, str(line.codification), line.code, line.quantity, places[code]]
            for line, code in zip(commande.lines, products, strict=True)
        ],
    }
    content = {
        "pharmacy": pharmacy,
        "reference": commande.reference,
        "lines": [{"product": code, "quantity": quantity} for code, quantity in boxes.items()],
        "note": _note(commande),
    }
    yield
    return Order.model_validate(content), origin


def _pharmacy(head: EnvelopeHead, commande: Commande) -> str:
    """The sender; the message within must name the same one, or it is open for whom the order is."""
    if commande.client != head.sender.id:
        raise refused(Statut.SENDER, "EMETTEUR : Id de l'enveloppe et Id_Client du message diffèrent")
    if not re.fullmatch(CUSTOMER_CODE, head.sender.id):
        raise refused(Statut.SENDER, "EMETTEUR : Id non conforme (lettres, chiffres, point, tiret, souligné)")
    return head.sender.id


def _products(lines: tuple[LigneCommande, ...]) -> Pieces[list[str]]:
    """The 13 digits of each line's product; all lines that have none are named at once."""
    products = yield from each(_product, lines)
    if unknown := [line for line, code in zip(lines, products, strict=True) if code is None]:
        raise _at_fault("code produit non reconnu (EAN13 en 3400 ou 3401, ou CIP39)", unknown)
    return [code for code in products if code is not None]


def _product(line: LigneCommande) -> str | None:
    """None for a code that is not of its kind, and for the kinds that only a wholesaler can resolve."""
    if line.codification in (Codification.SPECIALE, Codification.CLAIR):
        return None
    if line.codification is Codification.EAN13 and len(line.code) != 13:
        return None
    try:
        return product(line.code)
    except ValueError:
        return None


def _at_fault(why: str, lines: list[LigneCommande]) -> NotUnderstood:
    shown, more = [str(line.number) for line in lines[:8]], len(lines) - 8
    numbers = ", ".join(shown) + (f" et {more} autres" if more > 0 else "")
    return refused(Statut.MESSAGE, f"Lignes {numbers} : {why}")


def _note(commande: Commande) -> str | None:
    """All that is free text, and the wanted day; what does not fit is cut, which shows."""
    note = "\n".join(_remarks(commande))
    if len(note) > MOST_NOTE:
        note = note[: MOST_NOTE - len(CUT)] + CUT
    return note or None


def _remarks(commande: Commande) -> Iterator[str]:
    if commande.delivery is not None:
        yield f"Date_livraison {commande.delivery.isoformat()}"
    for comment in (commande.comment, commande.delivery_comment):
        if words := _readable(comment):
            yield words
    for line in commande.lines:
        if words := _readable(line.comment):
            yield f"Ligne {line.number} : {words}"


def _readable(comment: str | None) -> str:
    """In one line; bytes that only make sense in Windows-1252 are read as that."""
    words = _WINDOWS.sub(lambda found: found[0].encode("latin-1").decode("cp1252", "replace"), comment or "")
    return _WINDOWS.sub(" ", writable(words)).strip()
