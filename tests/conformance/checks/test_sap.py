"""What `relais erp check` finds of SAP's own CAP server and of mock-sap: service, fields, rights, clock."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from config.settings import Settings
from tests.conformance.checks.conftest import Check
from tests.conformance.checks.test_every_kind import all_well
from tests.conformance.counterparts import started
from tests.conformance.sap import CapSalesOrders, MockSapSalesOrders
from tests.machines.clock import Clock

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cap(leash: Leash) -> Iterator[CapSalesOrders]:
    with started(CapSalesOrders, leash) as sap:
        yield sap


@pytest.fixture(scope="module")
def mock(leash: Leash) -> Iterator[MockSapSalesOrders]:
    with started(MockSapSalesOrders, leash) as sap:
        yield sap


def changed(settings: Settings, old: str, new: str) -> Settings:
    """With other settings of the connector's own."""
    own = settings.erp.connector
    assert own is not None
    assert old in own.read_text()
    file = own.with_name("changed.toml")
    file.write_text(own.read_text().replace(old, new))
    return settings.replace(erp_connector=file)


def test_what_is_there_of_tokens_and_fields_is_told(
    cap: CapSalesOrders, mock: MockSapSalesOrders, check: Check
) -> None:
    for sap, token in ((cap, "SAP gave none, and is shown none"), (mock, "SAP gave one")):
        told = check(sap.settings())
        assert all_well(told)
        assert told.found["token"] == ("ok", token)
        assert told.found["service"] == ("ok", "it has every field that is sent and read")


def test_a_service_of_another_name_is_not_there(cap: CapSalesOrders, check: Check) -> None:
    told = check(changed(cap.settings(), "without = []", 'without = []\nservice = "/sap/opu/odata/sap/API_SALES"'))
    assert told.failing == {"service"}, told.said
    assert told.found["service"][1].startswith("/sap/opu/odata/sap/API_SALES: 404")


def test_fields_that_a_service_lacks_are_named(mock: MockSapSalesOrders, check: Check) -> None:
    told = check(changed(mock.settings(), f"without = {json.dumps(mock.without)}", "without = []"))
    assert "service" in told.failing
    lacking = told.found["service"][1]
    assert all(each in lacking for each in mock.without), lacking
    assert "A_SalesOrderScheduleLine" in lacking


def test_who_may_not_read_is_told_so(mock: MockSapSalesOrders, check: Check) -> None:
    rule = {"method": "GET", "scenario": "forbidden", "count": 1, "match": "A_SalesOrder"}
    url = f"http://127.0.0.1:{mock.port}/_mock/faults"
    request = urllib.request.Request(url, json.dumps(rule).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()
    told = check(mock.settings())
    assert told.failing == {"rights"}, told.said
    assert told.found["rights"][1].startswith("we may not read sales orders: 403")
    assert all_well(check(mock.settings()))


@pytest.mark.parametrize("kind", ["cap", "mock"])
def test_a_clock_that_is_off_is_found_out(
    request: pytest.FixtureRequest, check: Check, tmp_path: Path, kind: str
) -> None:
    sap: CapSalesOrders = request.getfixturevalue(kind)
    sap.kill()
    sap.goes_by(Clock(tmp_path)).step(-7200)
    sap.start()
    told = check(sap.settings())
    assert told.failing == {"ERP's clock"}, told.said
    assert "behind ours" in told.found["ERP's clock"][1]
