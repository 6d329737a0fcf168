"""What `relais erp check` finds of a Tryton: its index, our rights, its company, its clock; by JSON-RPC and by REST."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from tests.conformance.checks.conftest import Check
from tests.conformance.checks.test_every_kind import all_well
from tests.conformance.counterparts import started
from tests.conformance.real_tryton import RealTryton
from tests.conformance.rest_tryton import RestTryton
from tests.machines.clock import Clock

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

NOBODY = """
WITH it AS (UPDATE res_user SET administrator = false WHERE login = 'admin' RETURNING id)
DELETE FROM "res_user-res_group" WHERE "user" = (SELECT id FROM it)
"""
SALES = "SELECT count(*) FROM sale_sale"


@pytest.fixture(scope="module")
def rpc(leash: Leash) -> Iterator[RealTryton]:
    with started(RealTryton, leash) as erp:
        yield erp


@pytest.fixture(scope="module")
def rest(leash: Leash) -> Iterator[RestTryton]:
    with started(RestTryton, leash) as erp:
        yield erp


def test_an_index_that_is_not_there_is_found_out_and_no_sale_is_left(rpc: RealTryton, check: Check) -> None:
    before = rpc.sql(SALES)
    told = check(rpc.settings())
    assert all_well(told)
    assert told.found["reference"][1] == "unique, by the index relais_sale_reference"
    with rpc.not_unique():
        told = check(rpc.settings())
    assert told.failing == {"reference"}
    assert told.found["reference"][1].startswith("not unique: ")
    assert rpc.sql(SALES) == before, "nothing is left of what was tried"


@pytest.mark.parametrize(("key", "failing"), [("company", {"company"}), ("currency", {"currency"})])
def test_a_company_that_is_not_there_or_has_another_currency(
    rpc: RealTryton, check: Check, tmp_path: Path, key: str, failing: set[str]
) -> None:
    settings = rpc.settings()
    own = settings.erp.connector
    assert own is not None
    (tmp_path / "password").write_text((own.parent / "password").read_text())
    (tmp_path / "tryton.toml").write_text(own.read_text().replace(f"{key} = 1", f"{key} = 99"))
    assert failing <= check(settings.replace(erp_connector=tmp_path / "tryton.toml")).failing


def test_a_clock_that_is_off_is_found_out(rest: RestTryton, check: Check, tmp_path: Path) -> None:
    rest.kill()
    rest.goes_by(Clock(tmp_path)).step(7200)
    rest.start()
    told = check(rest.settings())
    assert told.failing == {"ERP's clock"}, told.said
    assert "ahead of ours" in told.found["ERP's clock"][1]


def test_rights_that_are_missing_are_named(rpc: RealTryton, check: Check) -> None:
    rpc.sql(NOBODY)
    rpc.kill()
    rpc.start()
    told = check(rpc.settings())
    assert "rights" in told.failing
    assert "create sale.sale" in told.found["rights"][1]


def test_rights_that_are_missing_are_told_in_its_own_words(rest: RestTryton, check: Check) -> None:
    rest.sql(NOBODY)
    rest.kill()
    rest.start()
    told = check(rest.settings())
    assert "find" in told.failing, told.said
