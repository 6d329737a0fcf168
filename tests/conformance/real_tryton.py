"""Tryton, as connectors are tried against it."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from config.embedded.leash import Leash
from config.settings import Settings
from orders.model import parse
from tests.machines import tryton
from tests.machines.clock import Clock
from tests.machines.erp import an_order, settings_for
from workers.erp.port import Mapped, Submission

OPEN = "UPDATE stock_location SET active = $2 WHERE code = $1"
NUMBERS = "SELECT number FROM sale_sale WHERE reference = $1 ORDER BY id"
TERMS = """
SELECT p.name AS price_list, w.code AS warehouse,
  (SELECT array_agg(unit_price ORDER BY id) FROM sale_line WHERE sale = s.id) AS prices
FROM sale_sale s LEFT JOIN product_price_list p ON p.id = s.price_list LEFT JOIN stock_location w ON w.id = s.warehouse
WHERE s.reference = $1
"""


class RealTryton:
    """Tryton 8.2 on a PostgreSQL of its own, with the index that makes a reference unique or without."""

    def __init__(self, directory: Path, leash: Leash, workers: int = 0, *, unique: bool = True) -> None:
        tryton.present()
        self._directory, self._unique = directory, unique
        self._tryton = tryton.Tryton(directory / "tryton", leash, workers)
        self._connector = tryton.connector_file(directory, unique=unique)
        self._own = self._connector.read_text()
        self._connector.write_text(f"{self._own}ships_within = 0\n")
        self.port = self._tryton.port

    def start(self) -> None:
        first = not self._tryton.started
        self._tryton.start()
        if first and self._unique:
            self._tryton.sql(tryton.UNIQUE)

    def kill(self) -> None:
        self._tryton.kill()

    def back_up(self, file: Path) -> None:
        """Put aside all that it has."""
        self._tryton.dump(file)

    def kill_all(self) -> None:
        """SIGKILL it and its PostgreSQL."""
        self._tryton.kill()
        self._tryton.kill_database()

    def restore(self, file: Path) -> None:
        """Once all of it was killed, start it with what a backup has."""
        self._tryton.start_database()
        self._tryton.restore(file)
        self._tryton.start_server()

    def kill_database(self) -> None:
        """SIGKILL its PostgreSQL, and start it again."""
        self._tryton.kill_database()
        self._tryton.start_database()

    def stop_queue(self) -> None:
        """What is queued waits."""
        self._tryton.stop_queue()

    def start_queue(self) -> None:
        """What is queued is done."""
        self._tryton.start_queue()

    @contextmanager
    def overselling(self) -> Iterator[None]:
        """A sale has a box more of each product than was ordered."""
        self._tryton.sql(
            "CREATE FUNCTION one_more() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.quantity := NEW.quantity + 1; RETURN NEW; END $$"
        )
        self._tryton.sql("CREATE TRIGGER more BEFORE INSERT ON sale_line FOR EACH ROW EXECUTE FUNCTION one_more()")
        try:
            yield
        finally:
            self._tryton.sql("DROP FUNCTION one_more CASCADE")

    @contextmanager
    def two_warehouses(self) -> Iterator[None]:
        """The second one is open."""
        self._tryton.sql(OPEN, tryton.WAREHOUSE, True)
        try:
            yield
        finally:
            self._tryton.sql(OPEN, tryton.WAREHOUSE, False)

    @contextmanager
    def not_unique(self) -> Iterator[None]:
        """Its reference is not unique, as Tryton comes."""
        self._tryton.sql("DROP INDEX relais_sale_reference")
        try:
            yield
        finally:
            self._tryton.sql(tryton.UNIQUE)

    def numbers(self, order_id: UUID) -> list[str]:
        """Of its sales."""
        return [row["number"] for row in self._tryton.sql(NUMBERS, str(order_id))]

    def cancel_one(self, order_id: UUID) -> None:
        """Somebody cancels the later one of its sales."""
        self._tryton.sql(
            "UPDATE sale_sale SET state = 'cancelled' WHERE id = (SELECT max(id) FROM sale_sale WHERE reference = $1)",
            str(order_id),
        )

    def terms(self, order_id: UUID) -> tuple[str | None, str | None, list[Decimal]]:
        """Price list, warehouse and prices of the lines of its sale."""
        (row,) = self._tryton.sql(TERMS, str(order_id))
        return row["price_list"], row["warehouse"], list(row["prices"])

    def goes_by(self, clock: Clock) -> Clock:
        """It has another clock, from its next start on."""
        self._tryton.env = clock.env
        return clock

    def freeze(self) -> None:
        self._tryton.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._tryton.signal(signal.SIGCONT)

    def close(self) -> None:
        self._tryton.stop()

    def settings(self, port: int | None = None) -> Settings:
        url = f"http://127.0.0.1:{port or self.port}"
        return settings_for(url, erp_kind="tryton", erp_connector=self._connector, erp_timeout=20.0)

    def order(self, *quantities: int, party: str = tryton.PHARMACIES[0]) -> Submission:
        made = an_order(*quantities)
        order = parse(made.body)
        articles = tuple(line.product for line in order.lines)
        return replace(made, order=order, mapped=Mapped(party, None, None, articles))

    def refused(self) -> Submission:
        """Of a pharmacy without an address, whose sale Tryton makes and does not quote."""
        self._tryton.sql(
            "UPDATE party_address SET active = false WHERE party = (SELECT id FROM party_party WHERE code = 'P19')"
        )
        return self.order(1, party="P19")

    def substitute(self) -> Submission:
        """Of a product in whose place a rule of theirs puts another, when its line is made."""
        was, other, *_ = self.spare()
        self._tryton.sql(tryton.REPLACE.format(was=was["id"], other=other["id"]))
        self._tryton.sql(tryton.REPLACES)
        return self.of_article(was["code"])

    def back_order(self) -> Submission:
        """Of a product that they ship three days after they sell it."""
        *_, late = self.spare()
        self._tryton.sql(tryton.LATER, late["template"])
        return self.of_article(late["code"], 5)

    def spare(self) -> list[Any]:
        """Some products that no other test orders: code, id, template."""
        return self._tryton.sql(tryton.SPARE)

    def of_article(self, code: str, quantity: int = 4) -> Submission:
        """An order whose product is mapped to that article."""
        made = self.order(quantity)
        assert made.mapped is not None
        return replace(made, mapped=replace(made.mapped, articles=(code,)))

    def withdraw(self, product: int, by: int | None) -> None:
        """A product is sold no more, and that one replaces it; where none does, it is sold again."""
        self._tryton.sql(tryton.WITHDRAW, product, by, by is None)

    @contextmanager
    def usually(self, said: str) -> Iterator[None]:
        """The connector's file says that of the days in which it ships, or nothing."""
        self._connector.write_text(self._own + said)
        try:
            yield
        finally:
            self._connector.write_text(f"{self._own}ships_within = 0\n")

    def gives_its_list(self, party: str, name: str) -> None:
        """A customer has that price list in Tryton itself."""
        assert self._tryton.sql(tryton.OWN_LIST, party, name)

    def lock_out(self) -> None:
        (self._directory / "password").write_text("another")
        self._tryton.sql("DELETE FROM ir_session")

    def log_out(self) -> None:
        self._tryton.sql("DELETE FROM ir_session")

    def sql(self, statement: str) -> list[Any]:
        """What its own database says."""
        return self._tryton.sql(statement)

    def sales(self) -> dict[UUID, list[tryton.Sale]]:
        """Those of each order that are not cancelled."""
        return self._tryton.sales()

    def effects(self) -> Counter[UUID]:
        return self._tryton.effects()

    def forget(self) -> None:
        self._tryton.sql("TRUNCATE sale_sale CASCADE")

    def cancel(self, order_id: UUID) -> None:
        """Somebody cancels its sale."""
        self._tryton.sql("UPDATE sale_sale SET state = 'cancelled' WHERE reference = $1", str(order_id))

    def plant(self) -> UUID:
        planted = uuid4()
        self._tryton.sql(
            "INSERT INTO sale_sale (company, currency, party, reference, state, create_date, invoice_method,"
            " shipment_method, invoice_state, shipment_state) SELECT company, currency, party, $1, 'processing', now(),"
            " 'order', 'order', 'none', 'none' FROM sale_sale LIMIT 1",
            str(planted),
        )
        return planted
