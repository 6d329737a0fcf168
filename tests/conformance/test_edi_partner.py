"""An EDI partner that misbehaves on demand: late, silent, corrupt, short, refusing (mock-edi's own behaviours)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from tests.conformance.files import Directory
from tests.conformance.test_connector import BUDGET, at, settled, submit
from tests.waiting import until
from workers.dispatch.aside_watch import SetsAside
from workers.erp.port import Erp, Kind, Outcome, Submission

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def partner(leash: Leash) -> Iterator[Directory]:
    with tempfile.TemporaryDirectory(prefix="relais-erp-") as directory:
        erp = Directory(Path(directory), leash)
        erp.start()
        yield erp
        erp.close()


def asked(partner: Directory, order: Submission) -> Outcome:
    return at(partner, lambda erp: erp.poll([order.id], budget=BUDGET))[order.id]


def taken(partner: Directory, behaviour: str, *quantities: int) -> Submission:
    """An order that the partner has read while it behaves so."""
    partner.edi.behave(behaviour)
    order = partner.order(*quantities)
    assert at(partner, lambda erp: submit(erp, [order]))[order.id].kind is Kind.PENDING
    until(lambda: not [*(partner.edi.directory / "orders").glob("*.*")], what="it is taken away")
    partner.edi.read_now()
    return order


def aside(partner: Directory) -> str:
    return "".join(each.read_text() for each in (partner.edi.directory / "relais" / "aside").glob("*.reason.txt"))


@pytest.mark.parametrize("behaviour", ["no-ack", "late"])
def test_one_that_does_not_answer_leaves_an_order_pending(partner: Directory, behaviour: str) -> None:
    order = taken(partner, behaviour, 3)
    told = asked(partner, order)
    assert told.kind is Kind.PENDING
    assert "was taken away" in told.detail
    partner.edi.ask("/_mock/advance?all=1")
    if behaviour == "late":
        until(lambda: asked(partner, order).kind is Kind.ACCEPTED, every=0.6, what="the late answer is read")


def test_a_corrupt_answer_is_set_aside_and_the_order_stays_pending(partner: Directory) -> None:
    order = taken(partner, "corrupt", 3)
    until(lambda: "acknowledged" in asked(partner, order).detail, every=0.6, what="the CONTRL is read")
    until(lambda: asked(partner, order) and "UNT counts" in aside(partner), every=0.6, what="the ORDRSP is set aside")
    assert asked(partner, order).kind is Kind.PENDING
    assert at(partner, set_aside) == 1


async def set_aside(erp: Erp) -> int | None:
    """How many answers its connector has set aside."""
    assert isinstance(erp, SetsAside)
    return await erp.set_aside(budget=BUDGET)


@pytest.mark.parametrize(("behaviour", "least"), [("short-ship", 1), ("reject-line", 0)])
def test_one_that_delivers_less_says_so_line_by_line(partner: Directory, behaviour: str, least: int) -> None:
    order = taken(partner, behaviour, 10, 10, 10)
    until(lambda: asked(partner, order).kind is Kind.ACCEPTED, every=0.6, what="it is answered")
    receipt = asked(partner, order).receipt
    assert receipt is not None
    boxes = [each.accepted for each in receipt.lines]
    assert least <= min(boxes) < 10
    assert all(each.reason for each in receipt.lines if each.accepted < 10)


@pytest.mark.parametrize(
    ("behaviour", "words"), [("reject-all", "the ERP refuses the order"), ("reject-ack", "translator refuses")]
)
def test_one_that_refuses_is_believed(partner: Directory, behaviour: str, words: str) -> None:
    order = taken(partner, behaviour, 3)
    until(lambda: asked(partner, order).kind is Kind.REFUSED, every=0.6, what="it is refused")
    assert words in asked(partner, order).detail


def test_a_file_that_it_gets_twice_is_no_second_order(partner: Directory) -> None:
    partner.edi.behave("accept")
    order = partner.order(3)
    first = at(partner, lambda erp: settled(erp, [order]))[order.id]
    processed = partner.edi.directory / "orders" / "processed"
    (file,) = processed.glob(f"{order.id.hex.upper()}*")
    (processed.parent / file.name).write_bytes(file.read_bytes())  # as where `relais` was restored from an older backup
    until(lambda: len([*processed.parent.rglob(f"{order.id.hex.upper()}*")]) == 2, what="it is read again")
    partner.edi.read_now()
    assert asked(partner, order).receipt == first.receipt
    assert list(partner.edi.orders()).count(order.id) == 1
