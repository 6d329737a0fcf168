from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orders.errors import PAST, Fault
from orders.identifiers import product
from orders.model import Line, Order
from orders.refusals import NotDone
from orders.rules.catalogue import Product
from orders.rules.validation import MOST_TOLD, Verdict, validate
from orders.states import Reason

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SOLD, RATIONED, WITHDRAWN, UNKNOWN = (product(code) for code in ("3731804", "3861547", "2664804", "3200805"))
CATALOGUE = {
    SOLD: Product(SOLD, "sold"),
    RATIONED: Product(RATIONED, "rationed", max_quantity=5),
    WITHDRAWN: Product(WITHDRAWN, "withdrawn", withdrawn=True),
}
REGISTER = frozenset({"OFF-1", "2A0000014"})


def order(*lines: tuple[str, int], **fields: Any) -> Order:
    wanted = [Line(product=code, quantity=quantity) for code, quantity in lines or [(SOLD, 1)]]
    return Order(**{"pharmacy": "OFF-1", "reference": "R1", "lines": wanted} | fields)


def verdict(checked: Order) -> Verdict | None:
    return validate(checked, now=NOW, catalogue=CATALOGUE, register=REGISTER)


def test_a_fit_order_has_no_verdict() -> None:
    assert verdict(order((SOLD, 99_999), (RATIONED, 5), valid_until=NOW + timedelta(hours=1))) is None


@pytest.mark.parametrize(
    ("lines", "faults"),
    [
        ([(SOLD, 1), (UNKNOWN, 1)], [Fault("lines.2.product", 2, "not in the catalogue")]),
        ([(WITHDRAWN, 1)], [Fault("lines.1.product", 1, "withdrawn from the catalogue")]),
        ([(RATIONED, 6)], [Fault("lines.1.quantity", 1, "more than the 5 that one order may ask for")]),
    ],
)
def test_unfit_lines(lines: list[tuple[str, int]], faults: list[Fault]) -> None:
    assert verdict(order(*lines)) == Verdict(Reason.INVALID, tuple(faults))


@pytest.mark.parametrize(
    ("pharmacy", "hint"), [("OFF-2", False), ("2A0000170", False), ("2A0000171", True), ("750712185", True)]
)
def test_an_unknown_pharmacy_and_a_hint_at_a_wrong_finess_key(pharmacy: str, hint: bool) -> None:
    found = verdict(order(pharmacy=pharmacy))
    assert found is not None
    assert (found.reason, found.faults[0].field) == (Reason.INVALID, "pharmacy")
    assert ("its key is wrong" in found.faults[0].message) == hint


@pytest.mark.parametrize(("late", "expired"), [(-1, False), (0, False), (1, True)])
def test_an_order_expires_once_its_time_has_passed(late: int, expired: bool) -> None:
    stale = Verdict(Reason.EXPIRED, (Fault("valid_until", None, "this time has passed"),))
    assert verdict(order(valid_until=NOW - timedelta(seconds=late))) == (stale if expired else None)


def test_all_reasons_are_given_at_once_and_invalid_outranks_expired() -> None:
    lines = [(UNKNOWN, 1), (WITHDRAWN, 1), (RATIONED, 6)]
    found = verdict(order(*lines, pharmacy="OFF-9", valid_until=NOW - timedelta(days=1)))
    assert found is not None
    assert found.reason is Reason.INVALID
    assert [(fault.field.rpartition(".")[2], fault.line) for fault in found.faults] == [
        ("pharmacy", None),
        ("product", 1),
        ("product", 2),
        ("quantity", 3),
        ("valid_until", None),
    ]


def test_the_faults_are_one_sentence_by_code_which_is_bounded() -> None:
    found = verdict(order((RATIONED, 6), (UNKNOWN, 1), valid_until=NOW - timedelta(seconds=1)))
    assert found is not None
    assert found.sentence() == (
        "lines.1.quantity: more than the 5 that one order may ask for; lines.2.product: not in the catalogue; "
        "valid_until: this time has passed"
    )
    assert PAST.message == NotDone.PAST.one
    products = [product(f"{number}") for number in range(3_200_001, 3_200_023)]
    long = validate(order(*((each, 1) for each in products)), now=NOW, catalogue={})
    assert long is not None and len(long.faults) == 22
    told = str(long.sentence())
    assert told.count("not in the catalogue") == MOST_TOLD == 20
    assert told.endswith("; and 2 more faults")


def test_without_lists_only_the_order_itself_is_looked_at() -> None:
    assert validate(order((UNKNOWN, 9), pharmacy="X"), now=NOW) is None


def test_an_empty_list_is_a_list() -> None:
    found = validate(order(), now=NOW, catalogue={}, register=frozenset())
    assert found is not None
    assert len(found.faults) == 2
