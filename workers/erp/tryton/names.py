"""Tryton's own ids, prices and addresses by the codes that people use, kept for some minutes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar

from workers.erp.attempts import Tried
from workers.erp.tryton.rpc import RpcAnswer, TrytonRpc

KEPT: Final = 300.0  # seconds: a price that was changed holds for new orders after that

PRODUCT: Final = ["code", "default_uom", "sale_price_uom", "account_category.customer_taxes"]
PARTY: Final = ["code", "addresses", "customer_payment_term"]


@dataclass(frozen=True, slots=True)
class TrytonProduct:
    """A product: its id, unit, sale price a unit in the company's currency, and taxes."""

    id: int
    unit: int
    price: Decimal | None
    taxes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TrytonParty:
    """A customer: id, its first address, its terms of payment."""

    id: int
    address: int | None
    payment_term: int | None


Of = TypeVar("Of", TrytonProduct, TrytonParty)


class _Kept(Generic[Of]):
    """What was read, and when."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Of]] = {}

    def missing(self, codes: Iterable[str]) -> list[str]:
        """Those that have to be asked for."""
        old = time.monotonic() - KEPT
        return sorted(code for code in {*codes} if self._known.get(code, (0.0,))[0] <= old)

    def keep(self, code: str, found: Of) -> None:
        self._known[code] = time.monotonic(), found

    def get(self, code: str) -> Of | None:
        return self._known[code][1] if code in self._known else None


class Names:
    """The products and parties of one company. What Tryton does not have is asked for again each time."""

    def __init__(self, rpc: TrytonRpc) -> None:
        self._rpc = rpc
        self.products: _Kept[TrytonProduct] = _Kept()
        self.parties: _Kept[TrytonParty] = _Kept()

    async def learn(self, articles: Iterable[str], customers: Iterable[str], until: float) -> Tried | None:
        """Ask for what is not known; the failure when that could not be asked."""
        if codes := self.products.missing(articles):
            answer = await self._search("product.product", codes, PRODUCT, until)
            if answer.failed is not None:
                return answer.failed
            for row in answer.result:
                self.products.keep(row["code"], _product(row))
        if codes := self.parties.missing(customers):
            answer = await self._search("party.party", codes, PARTY, until)
            if answer.failed is not None:
                return answer.failed
            for row in answer.result:
                self.parties.keep(row["code"], _party(row))
        return None

    async def _search(self, model: str, codes: list[str], fields: list[str], until: float) -> RpcAnswer:
        domain = [["code", "in", codes]]
        return await self._rpc.call(f"model.{model}.search_read", domain, 0, None, None, fields, until=until)


def _product(row: dict[str, Any]) -> TrytonProduct:
    price = row["sale_price_uom"]
    taxes = (row.get("account_category.") or {}).get("customer_taxes") or ()
    return TrytonProduct(
        row["id"], row["default_uom"], None if price is None else Decimal(price["decimal"]), tuple(taxes)
    )


def _party(row: dict[str, Any]) -> TrytonParty:
    return TrytonParty(row["id"], next(iter(row["addresses"]), None), row["customer_payment_term"])
