"""What the pharmacies order: real medicines, made-up customers, and the odd things that real front ends do.

An order has 4 to 6 lines on average and 75 at most, mostly of 1 to 5 boxes. The same seed orders the same goods.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import accumulate
from typing import Any, Final

from orders.model import canonical, digest, parse
from orders.rules.catalogue import Catalogue
from orders.states import Reason

PHARMACIES: Final = 1800
MOST_LINES: Final = 75
UNKNOWN: Final = "3400900000006"  # well formed, and in no catalogue
VALID: Final = timedelta(seconds=3)  # an outage outlasts it


class Habit(StrEnum):
    """What is odd about an order, if anything."""

    PLAIN = "plain"
    UNKNOWN_PRODUCT = "unknown product"  # a dead letter `invalid`
    SHORT_LIVED = "short-lived"  # given while the ERP is down, so a dead letter `expired`
    RETRIED = "retried"  # the client sends it again, and again is told the first id
    REFERENCE_REUSED = "reference reused"  # with other content: 409


DEAD: Final = {Habit.UNKNOWN_PRODUCT: Reason.INVALID, Habit.SHORT_LIVED: Reason.EXPIRED}


@dataclass(frozen=True, slots=True)
class Planned:
    """An order on its way to the intake: the bytes that are posted, and the digest that the ERP must end up with."""

    body: bytes
    digest: bytes
    habit: Habit
    valid_until: datetime | None

    @property
    def expected(self) -> Reason | None:
        """The reason of the dead letter that this order must become; None when it must be delivered."""
        return DEAD.get(self.habit)

    @property
    def named(self) -> str:
        """The pharmacy, its reference, and what is odd about the order."""
        order = json.loads(self.body)
        return f"{order['reference']} of {order['pharmacy']}: {self.habit}"

    def altered(self) -> bytes:
        """The same reference with other content."""
        order = json.loads(self.body)
        order["lines"][0]["quantity"] += 1
        return json.dumps(order).encode()


class Pharmacies:
    """The customers, each ordering in turn, in an order of their own every round."""

    def __init__(self, catalogue: Catalogue, seed: int = 20241019) -> None:
        self._dice = random.Random(seed)
        self._products = list(catalogue)
        self._dice.shuffle(self._products)
        # What sells, sells far more often: the first product ten times as often as the hundredth.
        self._sales = list(accumulate(1.0 / (rank + 12) for rank in range(len(self._products))))
        self._turn = self._turns()
        self._number = 0

    def order(self, habit: Habit = Habit.PLAIN) -> Planned:
        """The next order, with this habit."""
        self._number += 1
        order: dict[str, Any] = {
            "pharmacy": next(self._turn),
            "reference": f"CMD-1019-{self._number:05}",
            "lines": self._lines(habit),
            **self._wishes(habit),
        }
        body = json.dumps(order).encode()
        parsed = parse(body)
        return Planned(body, digest(canonical(parsed)), habit, parsed.valid_until)

    def _turns(self) -> Iterator[str]:
        codes = [f"C{number:05}" for number in range(10_001, 10_001 + PHARMACIES)]
        while True:
            self._dice.shuffle(codes)
            yield from codes

    def _lines(self, habit: Habit) -> list[dict[str, Any]]:
        count = min(MOST_LINES, max(1, round(self._dice.lognormvariate(1.4, 0.7))))
        if self._number % 1500 == 40:
            count = MOST_LINES
        products = dict.fromkeys(self._dice.choices(self._products, cum_weights=self._sales, k=count))
        while len(products) < count:
            products[self._dice.choice(self._products)] = None
        if habit is Habit.UNKNOWN_PRODUCT:
            products[UNKNOWN] = None
        return [{"product": product, "quantity": self._boxes()} for product in products]

    def _boxes(self) -> int:
        if self._dice.random() < 0.03:
            return self._dice.randint(6, 30)
        return self._dice.choices((1, 2, 3, 4, 5), (50, 25, 12, 8, 5))[0]

    def _wishes(self, habit: Habit) -> dict[str, str]:
        """Urgency, the delivery round to make, and how long the order is good for."""
        wishes = {}
        now = datetime.now(UTC)
        if habit is Habit.SHORT_LIVED:
            return {"valid_until": (now + VALID).isoformat()}
        if self._dice.random() < 0.08:
            wishes["priority"] = "urgent"
        if self._dice.random() < 0.20:
            wishes["cut_off"] = (now + timedelta(hours=self._dice.choice((2, 4, 8)))).isoformat()
        if self._dice.random() < 0.10:
            wishes["valid_until"] = (now + timedelta(days=2)).isoformat()
        return wishes
