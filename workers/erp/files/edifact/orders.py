"""An order as an EDIFACT interchange with one ORDERS D.96A.

UNB's control reference and the order's number both come from the order's id, so that CONTRL and ORDRSP lead back to it.
A code that the character set or the element cannot hold is never altered: the order is not written. Free text is.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from orders.model import Order
from workers.erp.files.edifact.syntax import Element, fits, folded, write_interchange
from workers.erp.files.names import control_of, number_of
from workers.erp.files.options import EdifactOptions
from workers.erp.files.verdicts import Unwritable
from workers.erp.port import Mapped

PARTY, ITEM, REFERENCE, TEXT, TEXTS = 17, 35, 35, 70, 5  # characters of 3039, 7140, 1154 and 4440; FTX has five of it
FIRST_MESSAGE: Final = "1"


def write_orders(order_id: UUID, order: Order, mapped: Mapped | None, own: EdifactOptions, at: datetime) -> bytes:
    """The file of an order. Raises Unwritable."""
    body = [*_head(order_id, order, mapped, own, at), *_lines(order, mapped, own)]
    body += [["UNS", "S"], ["CNT", ["2", str(len(order.lines))]]]
    control = control_of(order_id)
    envelope: list[Element] = [
        [own.syntax, "4" if own.syntax == "UNOY" else "3"],
        [own.sender, own.sender_qualifier],
        [own.recipient, own.recipient_qualifier],
        [at.strftime("%Y%m%d" if own.syntax == "UNOY" else "%y%m%d"), at.strftime("%H%M")],
        control,
    ]
    if own.test:
        envelope += ["", "", "", "", "", "1"]
    segments: list[list[Element]] = [
        ["UNB", *envelope],
        ["UNH", FIRST_MESSAGE, ["ORDERS", "D", "96A", "UN"]],
        *body,
        ["UNT", str(len(body) + 2), FIRST_MESSAGE],
        ["UNZ", "1", control],
    ]
    return write_interchange(segments, own.syntax)


def _head(
    order_id: UUID, order: Order, mapped: Mapped | None, own: EdifactOptions, at: datetime
) -> list[list[Element]]:
    customer = mapped.customer if own.customers == "mapped" and mapped else order.pharmacy
    segments: list[list[Element]] = [
        ["BGM", "220", number_of(order_id), "9"],
        ["DTM", ["137", at.strftime("%Y%m%d%H%M"), "203"]],
    ]
    for text in _texts(order, own):
        segments.append(["FTX", "AAI", "", "", text])
    if _holds(order.reference, REFERENCE, own):
        segments.append(["RFF", ["CR", order.reference]])
    segments += [
        ["NAD", "BY", [_code(customer, PARTY, "customer", own), "", own.customer_agency]],
        ["NAD", "SU", [_code(own.recipient[:PARTY], PARTY, "recipient", own), "", own.customer_agency]],
    ]
    return segments


def _texts(order: Order, own: EdifactOptions) -> list[list[str]]:
    """What has no element of its own, five texts a segment."""
    said = ["URGENT"] if order.priority == "urgent" else []
    if order.cut_off is not None:
        said.append(order.cut_off.strftime("CUT-OFF %Y-%m-%d %H:%M UTC"))
    if not _holds(order.reference, REFERENCE, own):
        said.append(f"REFERENCE {order.reference}")
    note = " ".join((order.note or "").split())
    said += [note[start : start + TEXT] for start in range(0, len(note), TEXT)]
    said = [folded(each, own.syntax)[:TEXT].strip() for each in said]
    return [said[start : start + TEXTS] for start in range(0, len(said), TEXTS)]


def _lines(order: Order, mapped: Mapped | None, own: EdifactOptions) -> list[list[Element]]:
    segments: list[list[Element]] = []
    for number, line in enumerate(order.lines, 1):
        if own.articles == "mapped" and mapped:
            article = _code(mapped.articles[number - 1], ITEM, f"article of line {number}", own)
            segments.append(["LIN", str(number), "", [article, "SA"]])
            segments.append(["PIA", "1", [line.product, "EN"]])
        else:
            segments.append(["LIN", str(number), "", [line.product, "EN"]])
        quantity = ["21", str(line.quantity), own.unit] if own.unit else ["21", str(line.quantity)]
        segments.append(["QTY", quantity])
    return segments


def _holds(value: str, most: int, own: EdifactOptions) -> bool:
    return len(value) <= most and fits(value, own.syntax)


def _code(value: str, most: int, what: str, own: EdifactOptions) -> str:
    if not _holds(value, most, own):
        raise Unwritable(f"the {what}, {value}, does not fit: {most} characters of {own.syntax} at most")
    return value
