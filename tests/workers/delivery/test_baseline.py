"""A backend's norm is learned while all is well, and a sudden share of refusals far from it is odd."""

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from workers.delivery.backend_state import BatchCounts
from workers.delivery.baseline import Baseline, learn, tail

NOW = datetime(2024, 10, 19, 12, tzinfo=UTC)


def batch(answered: int, refused: int = 0, **more: object) -> BatchCounts:
    return replace(BatchCounts(answered, 0, 0, NOW, 0.0, refused=refused, seconds=0.1), **more)  # type: ignore[arg-type]


def after(*batches: BatchCounts, was: Baseline | None = None, closed: bool = True) -> tuple[Baseline, list[str]]:
    norm, found = was or Baseline(), []
    for each in batches:
        norm, odd = learn(norm, each, closed=closed)
        found += [odd] if odd else []
    return norm, found


def test_the_norm_follows_what_is_usual() -> None:
    norm, _ = after(*[batch(100, 5)] * 100)
    assert norm.refusing == pytest.approx(0.05, abs=0.01)
    assert norm.latency == pytest.approx(0.1)
    slower, _ = after(*[batch(100, 5, seconds=0.3)] * 50, was=norm)
    assert slower.latency == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("size", [1, 7, 200])
def test_a_sudden_share_of_refusals_is_told_whatever_the_batches(size: int) -> None:
    norm, before = after(*[batch(size)] * (4000 // size))
    _, odd = after(*[batch(size, size)] * (400 // size), was=norm)
    assert before == []
    assert odd
    assert len(odd) <= 400 // 8


def test_what_the_norm_explains_is_not_odd() -> None:
    chance = random.Random(7)
    taught = [batch(20, sum(chance.random() < 0.1 for _ in range(20))) for _ in range(2000)]
    norm, _ = after(*taught[:1000])
    assert after(*taught[1000:], was=norm)[1] == []
    assert after(*[batch(1, 1)] * 7)[1] == [], "a handful proves nothing"


def test_a_backend_that_is_unwell_or_just_back_teaches_nothing() -> None:
    norm, _ = after(*[batch(100)] * 20)
    assert after(batch(100, 3, failed=50), was=norm)[0].refusing == norm.refusing
    assert after(batch(100, 3), was=norm, closed=False)[0].latency == norm.latency
    assert after(replace(batch(0), seconds=None), was=norm)[0] == norm


def test_the_tail_of_the_binomial() -> None:
    assert tail(10, 0, 0.3) == pytest.approx(1.0)
    assert tail(10, 10, 0.5) == pytest.approx(2**-10)
    assert tail(5, 3, 1.0) == 1.0
