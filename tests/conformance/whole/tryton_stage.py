"""The demo's stage with a real Tryton in the simulator's place."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

from orders.model import canonical, digest, parse
from orders.rules.catalogue import demo_catalogue
from tests.conformance.real_tryton import RealTryton
from tests.machines.tryton import CUSTOMERS, Sale
from workers.demo.pharmacies import Planned
from workers.demo.stage import DemoInstallation
from workers.erp.sim import Effect

# A sale takes longer than an order of the simulator's.
UNHURRIED: Final = {"RELAIS_ERP_TIMEOUT": "20", "RELAIS_BATCH_BUDGET": "30", "RELAIS_LEASE": "60"}


class TrytonInstallation(DemoInstallation):
    """One Relais before a Tryton, each on a PostgreSQL of its own."""

    starts = "Tryton with a PostgreSQL, and of Relais PostgreSQL, Valkey, Flower, console, worker and intake"
    leaves = "logs/, postgres/"
    account = "Tryton's own tables"
    own = ("database_url", "redis_url")

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self._directory, self._backup = data_dir / "erp", data_dir / "tryton.dump"
        self._tryton: RealTryton | None = None

    @property
    def tryton(self) -> RealTryton:
        """Once it was opened."""
        assert self._tryton is not None
        return self._tryton

    async def open(self) -> None:
        """Tryton, Relais before it, and what Tryton calls pharmacies and products. Raises StartFailed."""
        self._directory.mkdir(parents=True)
        self._tryton = await asyncio.to_thread(RealTryton, self._directory, self.leash)
        await asyncio.to_thread(self.tryton.start)
        told = self.tryton.settings().erp
        named = {"KIND": told.kind, "URL": str(told.url), "CONNECTOR": str(told.connector)}
        self.env |= {**{f"RELAIS_ERP_{name}": value for name, value in named.items()}, **UNHURRIED}
        await super().open()
        await self._map("product,article", demo_catalogue())
        await self._map("pharmacy,customer", CUSTOMERS)
        code, said = await self.command("erp", "check", "erp")
        if code:
            raise RuntimeError(f"Tryton is not fit to receive: {said}")

    def close(self) -> None:
        """Stop Relais, and then Tryton."""
        try:
            if self._process is not None:
                self._process.end()
            if self._tryton is not None:
                self._tryton.close()
        finally:
            super().close()

    async def back_up(self) -> int:
        """Put aside what Tryton has: how many orders."""
        await asyncio.to_thread(self.tryton.back_up, self._backup)
        return len(await asyncio.to_thread(self.tryton.sales))

    async def kill_tryton(self) -> None:
        """SIGKILL of Tryton and of its PostgreSQL."""
        await asyncio.to_thread(self.tryton.kill_all)

    async def restore(self) -> None:
        """Start Tryton with what was put aside."""
        await asyncio.to_thread(self.tryton.restore, self._backup)

    async def calls(self) -> list[int]:
        """How many sales each call made, by Tryton's own tables."""
        sales = await asyncio.to_thread(self.tryton.sales)
        return [*Counter(sale.made for each in sales.values() for sale in each).values()]

    async def effects(self, orders: Mapping[UUID, Planned]) -> Iterable[Effect]:
        """Its sales, with the digest of what each says of its order."""
        sales = await asyncio.to_thread(self.tryton.sales)
        return [effect for order, each in sales.items() for effect in _effects(order, each, orders.get(order))]

    async def _map(self, header: str, codes: Iterable[str]) -> None:
        """Import a mapping in which each is called as it is in Relais."""
        file = self.place / f"{header.partition(',')[0]}.csv"
        file.write_text("\n".join([header, *(f"{code},{code}" for code in codes)]))
        code, said = await self.command("mapping", "import", str(file), "--because", "the demo begins", "--yes")
        if code:
            raise RuntimeError(f"the mapping was not imported: {said}")


def _effects(order: UUID, sales: Iterable[Sale], planned: Planned | None) -> Iterator[Effect]:
    """What is not in the columns of a sale, as whether it is urgent, is as it was ordered."""
    for sale in sales:
        body = {**(json.loads(planned.body) if planned else {}), "pharmacy": sale.customer, "reference": sale.of}
        said = canonical(parse(json.dumps({**body, "lines": sale.lines}).encode()))
        yield {
            "id": str(order),
            "digest": digest(said).hex(),
            "received_at": sale.made.isoformat(),
            "reference": sale.number or "",
            "pharmacy": sale.customer,
            "order_reference": sale.of,
            "lines": [],
        }
