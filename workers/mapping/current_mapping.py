"""A backend's mapping as a worker's process holds it: read whole once, then only what is newer.

An import has one version, and the next one waits until it is committed, so that whoever has read a version has read
all before it. Whether there is a newer one is asked before each batch: the end of an index.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import reduce
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.model import Order
from orders.sentences import Code, Sentence
from orders.states import CodeKind
from workers.erp.port import Mapped

NEWEST: Final = text("SELECT version FROM mappings WHERE backend = :backend ORDER BY version DESC LIMIT 1")
SINCE: Final = text("""
SELECT DISTINCT ON (kind, code) kind, code, version, target, price_list, warehouse
FROM mappings WHERE backend = :backend AND version > :version ORDER BY kind, code, version DESC
""")

MOST_NAMED: Final = 20  # codes; of the others their number is told
TOLD: Final = {CodeKind.PHARMACY: Code.PHARMACY_CODE, CodeKind.PRODUCT: Code.PRODUCT_CODE}

Target = tuple[str, str | None, str | None]  # article or customer, price list, warehouse


class CurrentMapping:
    """The newest target of each code of a backend; `version` is the import that it is as of, 0 before the first."""

    def __init__(self, engine: AsyncEngine, backend: str) -> None:
        """Nothing is read yet."""
        self._engine, self._backend = engine, backend
        self._targets: dict[tuple[str, str], Target] = {}
        self.version = 0

    async def renew(self) -> None:
        """Read what was imported since. Raises what the journal raises."""
        async with self._engine.connect() as connection:
            if await newest(connection, self._backend) <= self.version:
                return
            since = {"backend": self._backend, "version": self.version}
            rows = (await connection.execute(SINCE, since)).all()
        version = max(row.version for row in rows)
        if version <= self.version:  # another batch has read it meanwhile
            return
        for row in rows:
            if row.target is None:
                self._targets.pop((row.kind, row.code), None)
            else:
                self._targets[row.kind, row.code] = (row.target, row.price_list, row.warehouse)
        self.version = version

    def of(self, order: Order) -> Mapped | Sentence:
        """What the ERP calls the order's pharmacy and products, or which codes it has no name for."""
        codes = [(CodeKind.PHARMACY, order.pharmacy), *((CodeKind.PRODUCT, line.product) for line in order.lines)]
        if missing := [each for each in codes if each not in self._targets]:
            return unmapped(missing)
        (customer, price_list, warehouse), *articles = [self._targets[each] for each in codes]
        return Mapped(customer, price_list, warehouse, tuple(article for article, _, _ in articles))

    def products(self, articles: Collection[str]) -> dict[str, str]:
        """What orders call these articles of the ERP's, as far as one product alone is mapped to each."""
        found: dict[str, list[str]] = {}
        for (kind, code), (target, _, _) in self._targets.items():
            if kind == CodeKind.PRODUCT and target in articles:
                found.setdefault(target, []).append(code)
        return {article: codes[0] for article, codes in found.items() if len(codes) == 1}


async def newest(connection: AsyncConnection, backend: str) -> int:
    """The version of the last import that is committed, 0 where there is none."""
    return int((await connection.execute(NEWEST, {"backend": backend})).scalar_one_or_none() or 0)


def unmapped(codes: Sequence[tuple[CodeKind, str]]) -> Sentence:
    """Which codes are not mapped, at least one."""
    told = [Sentence(TOLD[kind], said=code) for kind, code in codes[:MOST_NAMED]]
    if rest := len(codes) - len(told):
        told.append(Sentence(Code.MORE_CODES, count=rest))
    named = reduce(lambda one, other: Sentence(Code.LISTED, one=one, other=other), told)
    return Sentence(Code.NOT_MAPPED, codes=named)
