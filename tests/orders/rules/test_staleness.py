"""How old an order may be: the strictest of what its priority and its products ask for; any age without a policy."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from orders.errors import Fault
from orders.model import Line, Order
from orders.rules.catalogue import BadList, NoList, Product, load_catalogue
from orders.rules.staleness import open_policy, stale
from orders.rules.validation import validate
from orders.states import Reason

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
COLD, STRONG, PLAIN, UNKNOWN = "3400937318044", "3400938615470", "3400930000007", "3401097617718"
CATALOGUE = {
    COLD: Product(COLD, "cold", classes=frozenset({"cold_chain"})),
    STRONG: Product(STRONG, "strong", classes=frozenset({"narcotic", "quota"})),
    PLAIN: Product(PLAIN, "plain"),
}
POLICY = {"urgent": timedelta(hours=4), "normal": timedelta(hours=36), "cold_chain": timedelta(hours=2)}


def order(*products: str, **fields: Any) -> Order:
    lines = [Line(product=each, quantity=1) for each in products or (PLAIN,)]
    return Order(**{"pharmacy": "P1", "reference": "R1", "lines": lines} | fields)


@pytest.mark.parametrize(
    ("wanted", "bound"),
    [
        (order(), 36),
        (order(priority="urgent"), 4),
        (order(PLAIN, COLD), 2),
        (order(COLD, priority="urgent"), 2),
        (order(STRONG), 36),
    ],
)
def test_the_strictest_bound_that_applies_counts(wanted: Order, bound: float) -> None:
    at = NOW - timedelta(hours=bound)
    assert stale(wanted, at, NOW, POLICY, CATALOGUE) is None
    assert stale(wanted, at - timedelta(seconds=1), NOW, POLICY, CATALOGUE) is not None


def test_the_reason_is_said_in_words() -> None:
    fault = stale(order(COLD), NOW - timedelta(hours=51, minutes=5), NOW, POLICY, CATALOGUE)
    says = "2d 03h when it was to be forwarded, and an order with a product of the cold chain may be 2h 00m old"
    assert fault == Fault("age", None, says)


def test_what_no_policy_speaks_of_never_goes_stale() -> None:
    ages = NOW - timedelta(days=900)
    assert stale(order(COLD), ages, NOW, {}, CATALOGUE) is None
    assert stale(order(STRONG), ages, NOW, {"urgent": timedelta(hours=1)}, CATALOGUE) is None
    assert stale(order(COLD), ages, NOW, {"cold_chain": timedelta(hours=1)}, None) is None


def test_invalid_outranks_expired_and_expired_outranks_stale_and_all_are_told() -> None:
    old = {"since": NOW - timedelta(days=9), "policy": POLICY, "catalogue": CATALOGUE, "now": NOW}
    found = [
        validate(order(), **old),  # type: ignore[arg-type]
        validate(order(valid_until=NOW - timedelta(days=1)), **old),  # type: ignore[arg-type]
        validate(order(UNKNOWN, PLAIN, valid_until=NOW - timedelta(days=1)), **old),  # type: ignore[arg-type]
    ]
    told = [(one.reason, [fault.field for fault in one.faults]) for one in found if one is not None]
    assert told == [
        (Reason.STALE, ["age"]),
        (Reason.EXPIRED, ["valid_until", "age"]),
        (Reason.INVALID, ["lines.1.product", "valid_until", "age"]),
    ]


def test_the_catalogue_may_flag_classes_in_columns_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_text(f"cip13,label,withdrawn,max_quantity,narcotic,quota\n{COLD},A,0,,0,\n{STRONG},B,0,,1,yes\n")
    assert {code: one.classes for code, one in load_catalogue(path).items()} == {
        COLD: frozenset(),
        STRONG: frozenset({"narcotic", "quota"}),
    }
    path.write_text(f"cip13,label,withdrawn,max_quantity,cold_chain\n{COLD},A,0,,cold\n")
    with pytest.raises(BadList, match="0 or 1") as caught:
        load_catalogue(path)
    assert (caught.value.line, caught.value.field) == (2, "cold_chain")


def test_a_policy_about_classes_needs_a_catalogue(tmp_path: Path) -> None:
    (tmp_path / "backends.toml").write_text('[stale]\nquota = "1d"\n')
    settings = Settings(backends=tmp_path / "backends.toml", _env_file=None)
    with pytest.raises(NoList, match="quota"):
        open_policy(settings)
    assert open_policy(settings.replace(catalogue=tmp_path / "c.csv")) == {"quota": timedelta(days=1)}
