"""How a connector finds the size of its batches: by the time that they take."""

import pytest

from workers.erp.batch_size import MOST_ORDERS, SHARE, BatchSize

TIMEOUT = 10.0


def run(size: BatchSize, batches: int, call: float, order: float) -> list[int]:
    """The sizes of so many batches, where a batch costs `call` seconds and `order` for each of its orders."""
    sizes = []
    for _ in range(batches):
        sizes.append(size.orders)
        size.took(size.orders, call + order * size.orders)
    return sizes


@pytest.mark.parametrize("order", [0.005, 0.05, 0.1, 0.3, 1.0])
def test_it_settles_on_the_largest_batch_that_fits(order: float) -> None:
    sizes = run(BatchSize(TIMEOUT), 20, 0.5, order)
    fitting = min(MOST_ORDERS, (SHARE * TIMEOUT - 0.5) / order)
    assert len({*sizes[8:]}) == 1, "it moves no more"
    assert 0.7 * fitting <= sizes[-1] <= max(1, 1.25 * fitting)


def test_a_slower_erp_gets_smaller_batches_and_a_quick_one_larger_ones_again() -> None:
    size = BatchSize(TIMEOUT)
    before = run(size, 12, 0.2, 0.05)[-1]
    slow = run(size, 6, 0.2, 0.5)
    assert slow[-1] * 0.5 <= SHARE * TIMEOUT
    assert run(size, 8, 0.2, 0.05)[-1] == pytest.approx(before, rel=0.3)


def test_what_ran_out_of_time_goes_in_halves() -> None:
    size = BatchSize(TIMEOUT)
    run(size, 12, 0.1, 0.02)
    before = size.orders
    size.took(before, TIMEOUT)
    assert size.orders == before // 2


def test_one_order_that_was_quick_proves_little() -> None:
    size = BatchSize(TIMEOUT)
    before = run(size, 12, 0.5, 0.1)[-1]
    size.took(1, 0.05)
    assert size.orders == before


def test_what_failed_at_once_says_nothing_and_what_ran_out_of_time_does() -> None:
    size = BatchSize(TIMEOUT)
    before = run(size, 12, 0.1, 0.05)[-1]
    size.took(before, 0.01, done=False)
    assert size.orders == before
    size.took(before, TIMEOUT, done=False)
    assert size.orders == before // 2
