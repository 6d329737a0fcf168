"""What `relais erp check` finds of an ERP of every kind: fit, away, hanging, of a wrong certificate, closed to us. And
it leaves nothing there.
"""

import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from yarl import URL

from tests.conformance.checks.conftest import Check, Checked
from tests.conformance.counterparts import Counterpart
from tests.conformance.test_connector import all_taken, at, settled
from tests.machines.tls import self_signed, tls_before
from workers.erp.checks.finding import Checkable, CheckVerdict
from workers.erp.port import Erp

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

UNTOLD = {"creating", "decision", "ERP's clock"}  # what an ERP may leave open
DIRECTORIES = {"work", "orders", "answers"}


def all_well(told: Checked) -> bool:
    assert told.failing == set(), told.said
    assert told.names("not known") <= UNTOLD, told.said
    return True


def test_an_erp_that_is_fit_lacks_nothing_and_gets_nothing(counterpart: Counterpart, check: Check) -> None:
    order = counterpart.order(2, 3)
    assert all_taken(at(counterpart, lambda erp: settled(erp, [order])))
    before = counterpart.effects()
    told = check(counterpart.settings())
    assert all_well(told)
    promised = "exactly once" if at(counterpart, is_unique) else "at most one duplicate, detected"
    assert told.found["duplicates"][1].startswith(promised)
    assert counterpart.effects() == before


async def is_unique(erp: Erp) -> bool:
    return erp.capabilities.unique_reference


def test_one_that_is_away_is_told_so(counterpart: Counterpart, check: Check) -> None:
    counterpart.kill()
    try:
        told = check(counterpart.settings())
    finally:
        counterpart.start()
    assert told.failing in ({"reach"}, DIRECTORIES), told.said
    assert all_well(check(counterpart.settings()))


def test_one_that_hangs_is_waited_for_no_longer_than_each_look_may_take(counterpart: Counterpart, check: Check) -> None:
    counterpart.freeze()
    began = time.monotonic()
    try:
        told = check(counterpart.settings().replace(erp_timeout=1.0))
    finally:
        counterpart.thaw()
    assert told.failing, told.said
    assert "reach" not in told.failing, "it takes connections, and answers nothing"
    assert time.monotonic() - began < 60
    assert all_well(check(counterpart.settings()))


def test_a_certificate_is_believed_by_its_pin_alone_where_nobody_vouches_for_it(
    counterpart: Counterpart, check: Check, tmp_path: Path
) -> None:
    plain = URL(counterpart.settings().need("erp_url"))
    if plain.scheme != "http":
        pytest.skip("it shows no certificate")
    certificate, file = self_signed(tmp_path)
    with tls_before(counterpart.port, file) as port:
        settings = counterpart.settings(port).replace(erp_url=str(plain.with_scheme("https").with_port(port)))
        unknown, pin = check(settings), certificate.fingerprint(hashes.SHA256()).hex()
        assert unknown.failing == {"certificate"}
        assert unknown.found["service"] == ("not known", "it was not asked, since it cannot be reached")
        other = check(settings.replace(erp_pin="0" * 64))
        assert other.failing == {"certificate"}
        assert other.found["certificate"][1] == f"not the pinned one; it shows {pin}"
        assert all_well(check(settings.replace(erp_pin=pin)))


async def looked(erp: Erp) -> dict[str, CheckVerdict]:
    assert isinstance(erp, Checkable)
    return {each.name: each.verdict async for each in erp.check(budget=20.0)}


def test_who_is_not_let_in_is_told_so(counterpart: Counterpart) -> None:
    counterpart.lock_out()  # for good: the last test of this counterpart
    told = at(counterpart, looked)
    assert told["work" if "work" in told else "credentials"] is CheckVerdict.WOULD_FAIL, told
