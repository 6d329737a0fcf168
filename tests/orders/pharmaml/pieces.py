"""What is done in pieces, done without a break."""

from typing import Any
from xml.etree.ElementTree import Element

from orders.model import Order
from orders.pharmaml import decoding, mapping, safe_xml
from orders.pharmaml import encoding as encoding_room
from orders.pharmaml.messages import Commande, Envelope, EnvelopeHead
from orders.pharmaml.pieces import whole


def encode(envelope: Envelope, encoding: str) -> bytes:
    return whole(encoding_room.encode(envelope, encoding))


def to_order(head: EnvelopeHead, commande: Commande) -> tuple[Order, dict[str, Any]]:
    return whole(mapping.to_order(head, commande))


def decode(raw: bytes, encoding: str) -> Envelope:
    return whole(decoding.decode(raw, encoding))


def read(raw: bytes, encoding: str) -> Element:
    return whole(safe_xml.read(raw, encoding))
