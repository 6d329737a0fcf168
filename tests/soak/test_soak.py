"""Ten minutes of the soak; `make soak` runs an hour."""

from __future__ import annotations

import os
import random

import pytest

from tests.soak.driver import soak

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(1800)]

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))


def test_nothing_is_lost_doubled_altered_or_stuck_under_random_faults() -> None:
    found = soak(SECONDS, os.environ.get("SOAK_SEED", str(random.SystemRandom().randrange(10**9))))
    assert found["wrong"] == []
    assert found["faults"] >= SECONDS / 10
