"""A whole Relais before a real Tryton: orders go in by the intake and end as sales, each once, whoever is killed."""

import json
from collections.abc import Iterator

import pytest

from config.embedded.leash import Leash
from tests.conformance.whole.tryton_site import TrytonSite, before_tryton
from tests.machines.erp import MEDICINES
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

UNMAPPED = MEDICINES[1]


@pytest.fixture
def site(leash: Leash, capsys: pytest.CaptureFixture[str]) -> Iterator[TrytonSite]:
    with before_tryton(leash, capsys, RELAIS_ERP_ALLOW_SUBSTITUTION="true") as site:
        site.map("products", "product,article", {MEDICINES[0]: MEDICINES[0]})
        site.open()
        yield site


@pytest.fixture
def not_unique(leash: Leash, capsys: pytest.CaptureFixture[str]) -> Iterator[TrytonSite]:
    """Tryton as it comes, of which one process of a worker believes too soon that it lacks an order."""
    hasty = {"RELAIS_ERP_TIMEOUT": "5", "RELAIS_ERP_ABSENT_AFTER": "1", "RELAIS_WORKER_CONCURRENCY": "1"}
    with before_tryton(leash, capsys, unique=False, **hasty) as site:
        site.map("products", "product,article", {MEDICINES[0]: MEDICINES[0]})
        site.open()
        yield site


def test_an_order_becomes_a_sale_and_one_that_is_not_mapped_waits_for_its_import(site: TrytonSite) -> None:
    good, bad = site.order(MEDICINES[0]), site.order(MEDICINES[0], UNMAPPED)
    until(lambda: site.state(good) == ("delivered", None), 120, 0.3, "it is delivered")
    until(lambda: site.state(bad) == ("dead", "unmapped"), 60, 0.3, "the other one is not mapped")
    assert UNMAPPED in site.relais("order", "show", str(bad)).out
    assert site.relais("mapping", "coverage").code == 1
    site.map("more", "product,article", {UNMAPPED: UNMAPPED})
    until(lambda: site.state(bad) == ("delivered", None), 120, 0.3, "it goes by itself")
    assert site.erp.effects() == {good: 1, bad: 1}


def test_what_tryton_sells_in_a_product_s_place_is_told_by_our_code_and_is_no_difference_later(
    site: TrytonSite,
) -> None:
    site.erp.substitute()  # from now on a rule of theirs replaces the first of these products by the second
    was, instead, elsewhere, _ = (each["code"] for each in site.erp.spare())
    site.map("more", "product,article", {MEDICINES[1]: was, MEDICINES[2]: instead})
    order = site.order(MEDICINES[0], MEDICINES[1], quantity=2)
    until(lambda: site.state(order) == ("delivered", None), 120, 0.3, "it is delivered")
    lines = json.loads(site.relais("order", "show", str(order), "--json").out)["receipt"]["lines"]
    assert [(each["product"], each["substitute"], each["accepted"]) for each in lines] == [
        (MEDICINES[0], None, 2),
        (MEDICINES[1], MEDICINES[2], 2),
    ]
    site.map("others", "product,article", {MEDICINES[2]: elsewhere})
    found = json.loads(site.relais("reconcile", "--since", "1h", "--because", "a test", "--yes", "--json").out)
    assert (found["present"], found["altered"], found["missing"], found["foreign"]) == (1, 0, 0, 0)


def test_worker_and_tryton_are_killed_at_once_and_every_order_is_one_sale(site: TrytonSite) -> None:
    for _ in range(3):
        orders(site, 20)
        site.erp.kill()
        site.kill_worker()
        orders(site, 10)
        site.erp.start()
    site.all_is_taken(site.told)
    assert site.erp.effects() == dict.fromkeys(site.told, 1)


def orders(site: TrytonSite, count: int) -> None:
    """So many come, whatever runs but the intake: no more of them where all takes longer."""
    for _ in range(count):
        site.order(MEDICINES[0])


def test_a_sale_that_the_network_kept_back_until_another_was_made_is_told_when_reconciling(
    not_unique: TrytonSite,
) -> None:
    site = not_unique
    alike = {"pharmacy": "P000", "quantity": 2}  # so that nothing is asked before the second one is sent
    first = site.order(MEDICINES[0], **alike)
    until(lambda: site.state(first) == ("delivered", None), 120, 0.3, "names and prices are known")
    site.wire.hold()
    second = site.order(MEDICINES[0], **alike)
    until(lambda: site.attempts().get("unknown"), 60, 0.3, "it was sent, and no answer comes")
    site.wire.pass_by()
    until(lambda: site.state(second) == ("delivered", None), 120, 0.3, "it was sent again")
    site.wire.release()
    until(lambda: len(site.erp.sales()[second]) == 2, 60, 0.3, "the first sending arrives")
    done = site.relais("reconcile", "--since", "1d", "--because", "a test", "--json")
    told = json.loads(done.out)
    assert (done.code, told["present"], told["altered"], told["missing"]) == (1, 1, 1, 0)
    assert "taken more than once" in told["findings"][0]["detail"]
