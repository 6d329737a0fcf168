"""What Tryton ships of the lines of a sale, and when: the product of each line and all of it at once, but for the stock
moves that say otherwise.

Tryton itself moves the product that replaces one which is no longer active, and plans a day for each move; where people
put another product into a line the line has it. Only those moves are asked for that say something: of products that
replace others, and of a later day where such days are told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from workers.erp.attempts import Tried
    from workers.erp.tryton.names import Names
    from workers.erp.tryton.rpc import TrytonRpc

MOVE: Final = ["origin", "product", "quantity", "origin_planned_date"]
LINE: Final = "sale.line"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LineShipment:
    """Of one line: Tryton's code of its product and of what is shipped, boxes that come later, and the last day."""

    product: str
    shipped: str
    later: int = 0
    expected: date | None = None


class Shipments:
    """The shipments of one company. `ships_within` are the days in which it ships as a rule, None: no day is told."""

    def __init__(self, rpc: TrytonRpc, names: Names, ships_within: int | None) -> None:
        self._rpc, self._names, self._within = rpc, names, ships_within

    async def of(self, sales: Sequence[Row], until: float) -> dict[int, LineShipment] | Tried:
        """Of each line of these sales, by its number, or why that could not be read."""
        lines = {line["id"]: line for sale in sales for line in sale["lines."] if line["type"] == "line"}
        days = {line["id"]: self._usual(sale) for sale in sales for line in sale["lines."]}
        asked = self._asked(sales, days, {line["product"] for line in lines.values()} - {None})
        answer = await self._rpc.call("model.stock.move.search_read", *asked, until=until)
        if answer.failed is not None:
            return answer.failed
        moves: dict[int, list[Row]] = {}
        for move in answer.result:
            moves.setdefault(int(move["origin"].partition(",")[2]), []).append(move)
        products = [line["product"] for line in lines.values()] + [move["product"] for move in answer.result]
        if (failed := await self._names.learn_codes(products, until)) is not None:
            return failed
        return {number: self._line(line, moves.get(number, ()), days[number]) for number, line in lines.items()}

    def _usual(self, sale: Row) -> date | None:
        """The last day on which a sale is shipped as a rule; None where none is told."""
        told = sale["sale_date"]
        return None if told is None or self._within is None else day(told) + timedelta(days=self._within)

    def _asked(self, sales: Iterable[Row], days: Mapping[int, date | None], products: Collection[int]) -> list[Any]:
        """The search for moves that say something: of products that no line has, or that replace others."""
        said: list[Any] = ["OR", ["product", "not in", [*products]], ["product.replacing", "!=", None]]
        if known := [each for each in days.values() if each is not None]:
            first = min(known)
            told = {"__class__": "date", "year": first.year, "month": first.month, "day": first.day}
            said.append(["origin_planned_date", ">", told])
        references = [sale["reference"] for sale in sales]
        domain = [["origin.sale.reference", "in", references, LINE], ["state", "!=", "cancelled"], said]
        return [domain, 0, None, None, MOVE]

    def _line(self, line: Row, moves: Sequence[Row], usual: date | None) -> LineShipment:
        product = self._names.code(line["product"])
        shipped = [self._names.code(move["product"]) for move in moves]
        late = [move for move in moves if usual is not None and _planned(move, usual) > usual]
        return LineShipment(
            product,
            next((each for each in shipped if each != product), product),
            sum(int(move["quantity"] or 0) for move in late),
            max((_planned(move, usual) for move in late if usual is not None), default=None),
        )


def day(told: Mapping[str, int]) -> date:
    """A day of Tryton's."""
    return date(told["year"], told["month"], told["day"])


def _planned(move: Row, usual: date) -> date:
    """When a move was meant to go, at first: later changes are no part of what was promised."""
    told = move["origin_planned_date"]
    return usual if told is None else day(told)
