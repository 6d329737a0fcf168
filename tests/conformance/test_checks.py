"""What a connector finds out by itself of a real ERP before an order goes, and that it leaves nothing there."""

import asyncio

import pytest

from tests.conformance.counterparts import Counterpart, RealTryton, connect
from workers.erp.checks.finding import Checkable, CheckFinding, CheckVerdict

pytestmark = pytest.mark.timeout(300)


def looked(counterpart: Counterpart) -> dict[str, CheckFinding]:
    async def work() -> dict[str, CheckFinding]:
        erp = connect(counterpart)
        try:
            if not isinstance(erp, Checkable):
                pytest.skip("it looks for nothing by itself")
            return {each.name: each async for each in erp.check(budget=20.0)}
        finally:
            await erp.close()

    return asyncio.run(work())


def test_an_erp_that_is_fit_lacks_nothing_and_gets_nothing(counterpart: Counterpart) -> None:
    before = counterpart.effects()
    told = looked(counterpart)
    assert {each.verdict for each in told.values()} == {CheckVerdict.OK}, told
    assert counterpart.effects() == before


def test_a_tryton_whose_reference_is_not_unique_or_whose_user_may_not_is_found_out(counterpart: Counterpart) -> None:
    if not isinstance(counterpart, RealTryton):
        pytest.skip("of Tryton")
    sales = "SELECT count(*) FROM sale_sale"
    before = counterpart.sql(sales)
    assert looked(counterpart)["reference"].detail == "unique, by the index relais_sale_reference"
    counterpart.sql("DROP INDEX relais_sale_reference")
    told = looked(counterpart)["reference"]
    assert (told.verdict, told.detail.partition(":")[0]) == (CheckVerdict.WOULD_FAIL, "not unique")
    assert counterpart.sql(sales) == before, "nothing is left of what was tried"


def test_who_is_not_let_in_is_told_so(counterpart: Counterpart) -> None:
    counterpart.lock_out()
    told = looked(counterpart)
    assert told["credentials"].verdict is CheckVerdict.WOULD_FAIL, told
