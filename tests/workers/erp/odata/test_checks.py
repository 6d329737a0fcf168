"""What a look at an SAP asks, and what it finds lacking in how the service describes itself."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.machines.erp import raw_server, settings_for
from tests.workers.erp.odata.test_sales_orders import submission
from tests.workers.erp.odata.test_wire import Answer, Sap, batch, rows
from workers.erp.checks.finding import CheckFinding, CheckVerdict
from workers.erp.connectors import open_erp
from workers.erp.odata.checks import NEEDED, described, needed
from workers.erp.odata.connector import OdataErp
from workers.erp.odata.options import OdataOptions
from workers.erp.odata.sales_orders import selection, values
from workers.erp.port import Mapped

AREA = {"sales_organization": "1710", "distribution_channel": "10", "division": "00"}
EVERYTHING = OdataOptions.model_validate({**AREA, "note_id": "TX01", "unit": "PC"})
XML = {"Content-Type": "application/xml"}


def metadata(of: dict[str, tuple[str, ...]]) -> bytes:
    """As SAP Gateway writes it: the type of a set of entities is named after it."""
    types = ""
    for name, fields in of.items():
        properties = "".join(f'<Property Name="{each}" Type="Edm.String"/>' for each in fields)
        types += f'<EntityType Name="{name}Type"><Key><PropertyRef Name="X"/></Key>{properties}</EntityType>'
    sets = "".join(f'<EntitySet Name="{name}" EntityType="SRV.{name}Type"/>' for name in of)
    return (
        '<?xml version="1.0"?><edmx:Edmx xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"><edmx:DataServices>'
        f'<Schema Namespace="SRV" xmlns="http://schemas.microsoft.com/ado/2008/09/edm">{types}'
        f"<EntityContainer>{sets}</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>"
    ).encode()


WHOLE = {name: (*fields, "to_Text") for name, fields in NEEDED.items()}


class Described(Sap):
    """Says of itself what it is told to, and has no sales order."""

    def __init__(self, says: Answer, first: Answer | None = None) -> None:
        super().__init__(batch(rows()), batch(rows()))
        self._says, self._first = says, first

    def answer(self, method: str) -> Answer:
        if method == "GET":
            if self.heads[-1].get("accept") == "application/xml":
                return self._says
            if self._first is not None:
                return self._first
        return super().answer(method)


def looked(sap: Described, directory: Path, **own: Any) -> dict[str, CheckFinding]:
    file = directory / "sap.toml"
    file.write_text("".join(f"{name} = {value!r}\n" for name, value in {**AREA, **own}.items()))

    async def work() -> dict[str, CheckFinding]:
        async with raw_server(sap) as url:
            erp = open_erp(settings_for(url, erp_kind="odata", erp_connector=file))
            assert isinstance(erp, OdataErp)
            try:
                return {each.name: each async for each in erp.check(budget=5.0)}
            finally:
                await erp.close()

    return asyncio.run(work())


def test_all_that_is_sent_and_asked_for_is_needed() -> None:
    plain = submission(1)
    assert plain.order is not None
    full = replace(
        plain,
        order=plain.order.model_copy(update={"note": "a note"}),
        mapped=Mapped("1000001", "P1", "1710", ("TG11",)),
    )
    made = values(full, EVERYTHING)
    wanted = needed(EVERYTHING)
    assert {*made} - {*wanted["A_SalesOrder"]} == set()
    assert {*made["to_Item"][0]} - {*wanted["A_SalesOrderItem"]} == set()
    assert {*made["to_Text"][0]} == {*wanted["A_SalesOrderText"]}
    asked = re.search(r"\$select=([^&]*)", selection(EVERYTHING))
    assert asked is not None
    every = {each for fields in wanted.values() for each in fields}
    assert {each.rpartition("/")[2] for each in asked[1].split(",")} <= every
    left_out = OdataOptions.model_validate({**AREA, "without": ["to_ScheduleLine", "PriceListType"]})
    assert {*needed(left_out)} == {"A_SalesOrder", "A_SalesOrderItem"}
    assert "PriceListType" not in needed(left_out)["A_SalesOrder"]


def test_a_service_that_has_every_field_is_fit_and_takes_nothing(tmp_path: Path) -> None:
    sap = Described((200, XML, metadata(WHOLE)))
    found = looked(sap, tmp_path)
    assert [*found] == ["credentials", "rights", "token", "service", "find", "list", "creating"]
    assert {each.name: each.verdict for each in found.values() if each.verdict is not CheckVerdict.OK} == {
        "creating": CheckVerdict.NOT_KNOWN
    }
    assert found["token"].detail == "SAP gave one"
    assert found["list"].detail == "it tells 0 orders of the last day; none read"
    assert not any(b"POST" in each for each in sap.bodies), "nothing is made"


def test_what_a_service_lacks_is_named(tmp_path: Path) -> None:
    some = {name: fields for name, fields in WHOLE.items() if name != "A_SalesOrderScheduleLine"}
    some["A_SalesOrder"] = tuple(each for each in some["A_SalesOrder"] if each != "PriceListType")
    found = looked(Described((200, XML, metadata(some))), tmp_path)["service"]
    assert found.verdict is CheckVerdict.WOULD_FAIL
    assert found.detail.startswith("it lacks A_SalesOrder.PriceListType, A_SalesOrderScheduleLine; ")
    without = looked(Described((200, XML, metadata(some))), tmp_path, without=["PriceListType", "to_ScheduleLine"])
    assert without["service"].verdict is CheckVerdict.OK


@pytest.mark.parametrize(
    "told", [(404, {}, b""), (200, XML, b"<no>"), (200, XML, b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>"), (200, XML, b"")]
)
def test_a_description_that_cannot_be_read_is_no_fault(tmp_path: Path, told: Answer) -> None:
    found = looked(Described(told), tmp_path)
    assert (found["service"].verdict, found["find"].verdict) == (CheckVerdict.NOT_KNOWN, CheckVerdict.OK)


@pytest.mark.parametrize(
    ("status", "name"), [(401, "credentials"), (403, "rights"), (404, "service"), (500, "service")]
)
def test_where_we_are_not_let_in_nothing_else_is_asked(tmp_path: Path, status: int, name: str) -> None:
    found = looked(Described((200, XML, b""), (status, {}, b"")), tmp_path)
    assert [(each.name, each.verdict) for each in found.values()] == [(name, CheckVerdict.WOULD_FAIL)]


def test_a_set_of_a_type_that_is_not_there_cannot_be_read() -> None:
    with pytest.raises(KeyError):
        described(b'<a><EntitySet Name="A" EntityType="S.B"/></a>')
