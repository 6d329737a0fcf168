"""What a product costs, as Tryton itself says.

Its client asks for `get_sale_price` with price list, quantity and taxes in the context; the field `sale_price_uom` is
that function, so that one search tells the prices of many products. Without a price list the quantity is nothing to
the price.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from workers.erp.tryton.read_cache import ReadCache

if TYPE_CHECKING:
    from workers.erp.attempts import Tried
    from workers.erp.tryton.rpc import TrytonRpc


class Terms(NamedTuple):
    """What a price depends on beside the product."""

    price_list: int | None
    quantity: int
    taxes: tuple[int, ...]


class Wanted(NamedTuple):
    """A product, by its id, on some terms."""

    product: int
    terms: Terms

    @classmethod
    def of(cls, product: int, taxes: tuple[int, ...], price_list: int | None, quantity: int) -> Wanted:
        """So many of the product, for whom that price list holds."""
        return cls(product, Terms(None, 0, ()) if price_list is None else Terms(price_list, quantity, taxes))


class Prices:
    """Sale prices in one currency, a unit; None where Tryton has none."""

    def __init__(self, rpc: TrytonRpc, currency: int) -> None:
        self._rpc, self._currency = rpc, currency
        self._kept: ReadCache[Wanted, Decimal | None] = ReadCache()

    async def learn(self, wanted: Iterable[Wanted], until: float) -> Tried | None:
        """Ask for those that are not known, all products of the same terms at once."""
        groups: dict[Terms, list[int]] = {}
        for product, terms in self._kept.missing(wanted):
            groups.setdefault(terms, []).append(product)
        for terms, products in groups.items():
            answer = await self._rpc.call(
                "model.product.product.read", products, ["sale_price_uom"], until=until, context=self._context(terms)
            )
            if answer.failed is not None:
                return answer.failed
            for row in answer.result:
                told = row["sale_price_uom"]
                self._kept.keep(Wanted(row["id"], terms), None if told is None else Decimal(told["decimal"]))
        return None

    def get(self, wanted: Wanted) -> Decimal | None:
        """The price."""
        return self._kept.get(wanted)

    def _context(self, terms: Terms) -> dict[str, Any]:
        context: dict[str, Any] = {"currency": self._currency}
        if terms.price_list is not None:
            context |= {"price_list": terms.price_list, "quantity": terms.quantity, "taxes": list(terms.taxes)}
        return context
