"""What is done in pieces, done without a break."""

from collections.abc import Generator
from typing import Any, TypeVar
from xml.etree.ElementTree import Element

from orders.pharmaml import decoding, safe_xml
from orders.pharmaml.messages import Envelope

T = TypeVar("T")


def whole(work: Generator[None, None, T]) -> T:
    while True:
        try:
            next(work)
        except StopIteration as done:
            found: Any = done.value
            return found  # type: ignore[no-any-return]


def decode(raw: bytes, encoding: str) -> Envelope:
    return whole(decoding.decode(raw, encoding))


def read(raw: bytes, encoding: str) -> Element:
    return whole(safe_xml.read(raw, encoding))
