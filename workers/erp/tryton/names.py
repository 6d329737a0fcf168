"""Tryton's own ids, taxes and addresses by the codes and names that people use, kept for some minutes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from workers.erp.attempts import Tried
from workers.erp.port import Mapped, Submission
from workers.erp.tryton.prices import Prices, Wanted
from workers.erp.tryton.read_cache import ReadCache
from workers.erp.tryton.rpc import TrytonRpc

PRODUCT: Final = ["code", "sale_uom", "account_category.customer_taxes"]
PARTY: Final = ["code", "addresses", "customer_payment_term"]
PRICE_LIST: Final = "sale_price_list"  # a field of a party where the module of that name is


@dataclass(frozen=True, slots=True)
class TrytonProduct:
    """A product: its id, the unit that it is sold in, its taxes."""

    id: int
    unit: int
    taxes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TrytonParty:
    """A customer: id, its first address, its terms of payment, its own price list."""

    id: int
    address: int | None
    payment_term: int | None
    price_list: int | None


class Names:
    """What one company calls things. What Tryton does not have is asked for again each time."""

    def __init__(self, rpc: TrytonRpc, company: int, currency: int) -> None:
        self._rpc, self._company = rpc, company
        self._party_fields: list[str] | None = None
        self.prices = Prices(rpc, currency)
        self.products: ReadCache[str, TrytonProduct] = ReadCache()
        self.parties: ReadCache[str, TrytonParty] = ReadCache()
        self.price_lists: ReadCache[str, int] = ReadCache()
        self.warehouses: ReadCache[str, int] = ReadCache()
        self._codes: ReadCache[int, str] = ReadCache()

    async def learn(self, orders: Sequence[Submission], until: float) -> Tried | None:
        """Ask for what is not known; the failure when that could not be asked."""
        mapped = [each.mapped for each in orders if each.mapped]
        failed = await self._look(until) or await self._learn_names(mapped, until)
        return failed or await self.prices.learn(self._wanted(orders), until)

    def price_list(self, mapped: Mapped) -> int | None:
        """The one that holds for a customer: the mapping's, or its own in Tryton. Raises KeyError."""
        if mapped.price_list is None:
            party = self.parties.get(mapped.customer)
            return party.price_list if party else None
        if (found := self.price_lists.get(mapped.price_list)) is None:
            raise KeyError(mapped.price_list)
        return found

    async def learn_codes(self, products: Iterable[int | None], until: float) -> Tried | None:
        """Ask for the codes of these products, by their ids, that are not known; the failure when that could not be."""
        if not (missing := self._codes.missing(each for each in products if each is not None)):
            return None
        answer = await self._rpc.call("model.product.product.read", missing, ["code"], until=until)
        if answer.failed is not None:
            return answer.failed
        for row in answer.result:
            self._codes.keep(row["id"], row["code"] or f"number {row['id']}")
        return None

    def code(self, product: int | None) -> str:
        """The code of a product by its id, its number in Tryton where it has none; of no product in words."""
        return "no product" if product is None else self._codes.get(product) or f"number {product}"

    async def _look(self, until: float) -> Tried | None:
        """Once: whether this Tryton has price lists."""
        if self._party_fields is None:
            answer = await self._rpc.call("model.party.party.fields_get", [PRICE_LIST], until=until)
            if answer.failed is not None:
                return answer.failed
            self._party_fields = [*PARTY, *answer.result]
        return None

    async def _learn_names(self, mapped: Sequence[Mapped], until: float) -> Tried | None:
        company = ["company", "=", self._company]
        wanted: list[tuple[ReadCache[str, Any], Iterable[str | None], str, str, list[str], Any, list[Any]]] = [
            (self.products, (a for m in mapped for a in m.articles), "product.product", "code", PRODUCT, _product, []),
            (self.parties, (m.customer for m in mapped), "party.party", "code", self._party_fields or [], _party, []),
            (self.warehouses, (m.warehouse for m in mapped), "stock.location", "code", ["code"], _id, [WAREHOUSE]),
        ]
        if PRICE_LIST in (self._party_fields or []):
            names = (m.price_list for m in mapped)
            wanted.append((self.price_lists, names, "product.price_list", "name", ["name"], _id, [company]))
        for kept, codes, model, field, fields, made, narrower in wanted:
            if missing := kept.missing(code for code in codes if code is not None):
                domain = [[field, "in", missing], *narrower]
                answer = await self._rpc.call(f"model.{model}.search_read", domain, 0, None, None, fields, until=until)
                if answer.failed is not None:
                    return answer.failed
                for row in answer.result:
                    kept.keep(row[field], made(row))
                    if kept is self.products:
                        self._codes.keep(row["id"], row[field])
        return None

    def _wanted(self, orders: Sequence[Submission]) -> Iterable[Wanted]:
        """The prices that the orders need, of what Tryton has."""
        for each in orders:
            assert each.mapped is not None
            assert each.order is not None
            try:
                price_list = self.price_list(each.mapped)
            except KeyError:
                continue
            for article, line in zip(each.mapped.articles, each.order.lines, strict=True):
                if (product := self.products.get(article)) is not None:
                    yield Wanted.of(product.id, product.taxes, price_list, line.quantity)


WAREHOUSE: Final = ["type", "=", "warehouse"]


def _product(row: dict[str, Any]) -> TrytonProduct:
    taxes = (row.get("account_category.") or {}).get("customer_taxes") or ()
    return TrytonProduct(row["id"], row["sale_uom"], tuple(taxes))


def _party(row: dict[str, Any]) -> TrytonParty:
    return TrytonParty(row["id"], next(iter(row["addresses"]), None), row["customer_payment_term"], row.get(PRICE_LIST))


def _id(row: dict[str, Any]) -> int:
    return int(row["id"])
