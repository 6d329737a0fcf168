"""The ERPs that the connector `odata` is tried against: SAP's own CAP server, and the independent mock-sap."""

from __future__ import annotations

import json
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest

from config.embedded.leash import Leash
from config.settings import Settings
from orders.model import parse
from tests.machines import cap
from tests.machines.clock import Clock
from tests.machines.erp import an_order, settings_for
from workers.erp.port import Mapped, Submission

WITHDRAWN, INSTEAD, SCARCE = "WITHDRAWN", "IN-ITS-PLACE", "SCARCE"
DETERMINED = f"""
CREATE TRIGGER IF NOT EXISTS determined AFTER INSERT ON "SALESItem" WHEN NEW.Material = '{WITHDRAWN}'
BEGIN
  UPDATE "SALESItem" SET Material = '{INSTEAD}'
  WHERE SalesOrder = NEW.SalesOrder AND SalesOrderItem = NEW.SalesOrderItem;
END
"""
CHECKED = f"""
CREATE TRIGGER IF NOT EXISTS checked AFTER INSERT ON "SALESItem" WHEN NEW.Material = '{SCARCE}'
BEGIN
  INSERT INTO "SALESScheduleLine" (SalesOrder, SalesOrderItem, ScheduleLine, RequestedDeliveryDate,
    ConfirmedDeliveryDate, ScheduleLineOrderQuantity, ConfdOrderQtyByMatlAvailCheck)
  VALUES (NEW.SalesOrder, NEW.SalesOrderItem, '1', date('now'), date('now'), NEW.RequestedQuantity, 2),
    (NEW.SalesOrder, NEW.SalesOrderItem, '2', NULL, date('now', '+3 days'), 0, NEW.RequestedQuantity - 2);
END
"""
AREA = {"sales_organization": "1710", "distribution_channel": "10", "division": "00"}


class CapSalesOrders:
    """SAP's CAP server. It has no tokens: what is shown of them is shown with mock-sap."""

    server: type[cap.SapServer] = cap.Cap
    without: ClassVar[list[str]] = []
    customer = "P01"

    def __init__(self, directory: Path, leash: Leash) -> None:
        cap.present()
        self._directory = directory
        self._server = self.server(directory / "sap", leash)
        self._password = directory / "password"
        self._password.write_text(cap.PASSWORD)
        self.port = self._server.port

    def start(self) -> None:
        self._server.start()

    def kill(self) -> None:
        self._server.kill()

    def goes_by(self, clock: Clock) -> Clock:
        """It has another clock, from its next start on."""
        self._server.env = clock.env
        return clock

    def freeze(self) -> None:
        self._server.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._server.signal(signal.SIGCONT)

    def close(self) -> None:
        self._server.stop()

    def settings(self, port: int | None = None) -> Settings:
        file = self._directory / "sap.toml"
        own = {"without": self.without, **AREA}
        auth = {"scheme": "basic", "user": cap.USER, "password_file": self._password.name}
        told = [f"{name} = {json.dumps(value)}" for name, value in own.items()]
        file.write_text("\n".join([*told, "[auth]", *(f'{name} = "{value}"' for name, value in auth.items())]))
        url = f"http://127.0.0.1:{port or self.port}"
        return settings_for(url, erp_kind="odata", erp_connector=file, erp_timeout=20.0, erp_absent_after=5.0)

    def order(self, *quantities: int, customer: str = "") -> Submission:
        made = an_order(*quantities)
        order = parse(made.body)
        articles = tuple(line.product for line in order.lines)
        return replace(made, order=order, mapped=Mapped(customer or self.customer, None, None, articles))

    def refused(self) -> Submission:
        """Of a customer whose number the model does not take."""
        return self.order(1, customer="nobody")

    def lock_out(self) -> None:
        self._password.write_text("another")

    def substitute(self) -> Submission:
        """Of a material in whose place another is determined, as SAP's material determination does."""
        self._server.sql(DETERMINED)
        return self.of_material(WITHDRAWN)

    def back_order(self) -> Submission:
        """Of a material of which two boxes are confirmed for the day that is asked for, and the others for three days
        later, as SAP's availability check does.
        """
        self._server.sql(CHECKED)
        return self.of_material(SCARCE, 5)

    def of_material(self, material: str, quantity: int = 4) -> Submission:
        """An order whose product is mapped to that material."""
        made = self.order(quantity)
        assert made.mapped is not None
        return replace(made, mapped=replace(made.mapped, articles=(material,)))

    def log_out(self) -> None:
        """Every request logs in."""

    def effects(self) -> Counter[UUID]:
        return self._server.effects()

    def forget(self) -> None:
        for table in ("SALESItem", "SALES"):
            self._server.sql(f'DELETE FROM "{table}"')

    def sql(self, statement: str, *values: object) -> list[Any]:
        """In its own store."""
        return self._server.sql(statement, *values)

    def plant(self) -> UUID:
        planted = uuid4()
        columns = "SalesOrganization, DistributionChannel, OrganizationDivision, SoldToParty, CreationDate"
        self._server.sql(
            f'INSERT INTO "SALES" (SalesOrder, PurchaseOrderByCustomer, {columns})'
            f" SELECT '0000099999', ?, {columns} FROM \"SALES\" ORDER BY SalesOrder DESC LIMIT 1",
            planted.hex.upper(),
        )
        return planted


class MockSapSalesOrders(CapSalesOrders):
    """The mock has no schedule lines, reasons for rejection, price lists and plants, and one material of an item."""

    server = cap.MockSap
    without: ClassVar[list[str]] = [
        "OriginallyRequestedMaterial",
        "PriceListType",
        "ProductionPlant",
        "PurchaseOrderByShipToParty",
        "SalesDocumentRjcnReason",
        "to_ScheduleLine",
    ]
    customer = "1000001"

    def refused(self) -> Submission:
        """Of a customer whose number is longer than any."""
        return self.order(1, customer="12345678901")

    def substitute(self) -> Submission:
        pytest.skip("an item of the mock has one material")

    def back_order(self) -> Submission:
        pytest.skip("the mock has no schedule lines")

    def log_out(self) -> None:
        """It forgets every token as it starts."""
        self.kill()
        self.start()
