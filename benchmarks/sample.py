"""The orders that both sides are measured with: eight lines each, of real medicines, the same in every run."""

from __future__ import annotations

import json
import random
from typing import Any

from orders.rules.catalogue import demo_catalogue

LINES = 8
PHARMACIES = 1_800


def orders(count: int, first: int = 0) -> list[dict[str, Any]]:
    """`count` orders from number `first` on, each with a reference of its own; keys in canonical order."""
    dice = random.Random(19_10_2024)
    codes = [code for code, product in demo_catalogue().items() if not product.withdrawn]
    return [_order(number, dice, codes) for number in range(first, first + count)]


def body(order: dict[str, Any]) -> bytes:
    """The order as a front end sends it: compact JSON."""
    return json.dumps(order, separators=(",", ":")).encode()


def _order(number: int, dice: random.Random, codes: list[str]) -> dict[str, Any]:
    products = dice.sample(codes, LINES)
    return {
        "lines": [{"product": code, "quantity": dice.choice((1, 1, 1, 2, 2, 3, 5))} for code in products],
        "pharmacy": f"C{number % PHARMACIES:05}",
        "priority": "normal",
        "reference": f"B-{number:07}",
    }
