"""A whole Relais before a real Tryton: workers, their processes, Tryton, its PostgreSQL and the network in between are
killed again and again, and by Tryton's own tables each order is one sale, of the lines that were ordered.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from config.embedded.leash import Leash
from tests.conformance.whole.tryton_site import FAULTS, TrytonSite, before_tryton
from tests.machines.erp import MEDICINES

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

TAKEN = {"processing", "done"}
log = logging.getLogger("relais.test")


@contextmanager
def opened(leash: Leash, capsys: pytest.CaptureFixture[str], *, unique: bool, **env: str) -> Iterator[TrytonSite]:
    with before_tryton(leash, capsys, unique=unique, **env) as site:
        site.map("products", "product,article", {code: code for code in MEDICINES})
        site.open()
        yield site


@pytest.fixture
def site(leash: Leash, capsys: pytest.CaptureFixture[str]) -> Iterator[TrytonSite]:
    with opened(leash, capsys, unique=True) as site:
        yield site


@pytest.fixture
def not_unique(leash: Leash, capsys: pytest.CaptureFixture[str]) -> Iterator[TrytonSite]:
    """Tryton as it comes, asked by a Relais that gives up a call sooner than Tryton."""
    with opened(leash, capsys, unique=False, RELAIS_ERP_TIMEOUT="5") as site:
        yield site


def endure(site: TrytonSite, kills: int, frozen: int = 0) -> set[str]:
    """Each order that was answered 202 is in Tryton, as it was ordered, and Relais has its number; which are there
    more than once.
    """
    kinds = {site.kill_worker: 15, site.kill_child: 30, site.kill_tryton: 30, site.kill_database: 25, site.cut: 20}
    met = site.endure(kills, {**kinds, site.freeze: frozen})
    site.all_is_taken(site.told)
    sales, receipts = site.erp.sales(), site.receipts()
    assert sales.keys() == site.told.keys()
    assert {sale.state for each in sales.values() for sale in each} <= TAKEN
    unlike = {id for id, each in sales.items() if any(sale.lines != site.told[id] for sale in each)}
    assert unlike == set(), "a sale has the lines of its order"
    assert {id for id, each in sales.items() if receipts[id] not in {sale.number for sale in each}} == set()
    doubled = {str(id) for id, each in sales.items() if len(each) > 1}
    assert max(map(len, sales.values())) <= 2
    reconciled = site.relais("reconcile", "--since", "1d", "--because", "a test")
    assert (reconciled.code == 0) == (not doubled), reconciled.out
    log.warning("%d orders, %s, attempts: %s, %d taken twice", len(sales), dict(met), site.attempts(), len(doubled))
    return doubled


def test_a_few_are_killed_and_each_order_is_one_sale(site: TrytonSite) -> None:
    assert endure(site, 10) == set()
    assert site.evidence() == []


@pytest.mark.slow
def test_two_hundred_are_killed_and_each_order_is_one_sale(site: TrytonSite) -> None:
    assert endure(site, FAULTS) == set()
    assert site.evidence() == []


@pytest.mark.slow
def test_without_the_index_none_is_lost_and_what_is_taken_twice_is_told(not_unique: TrytonSite) -> None:
    doubled = endure(not_unique, 30, frozen=20)
    told = {(each["kind"], each["order_id"]) for each in not_unique.evidence()}
    assert told == {("taken_twice", each) for each in doubled}
