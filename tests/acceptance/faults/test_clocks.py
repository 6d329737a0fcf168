"""The wall clock of all that Relais runs is set, or stands still, while orders flow. Run by `make test-all`.

PostgreSQL's, by which receipts are judged, goes right here: `tests/workers/dispatch/test_journal_clock.py` sets that.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from config.embedded.leash import Leash
from tests.acceptance.running import Relais, sql, up
from tests.machines.clock import Clock
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(600)]

DAY = 86_400
HEARD = 1.5  # seconds until each process has looked at its clock's file


@pytest.fixture
def clock() -> Iterator[Clock]:
    with tempfile.TemporaryDirectory(prefix="relais-clock-") as directory:
        yield Clock(Path(directory))


@pytest.fixture
def relais(leash: Leash, clock: Clock) -> Iterator[Relais]:
    with up(leash, **clock.env, RELAIS_RECEIPTS="ignore") as running:
        yield running


STEPS = [(18, "postgres"), (-18, "worker"), (DAY, "api"), (-DAY, "worker"), (None, "postgres"), (None, "worker")]


def test_a_clock_that_is_set_or_stands_still_loses_doubles_and_suspects_nothing(relais: Relais, clock: Clock) -> None:
    ids: list[UUID] = []
    for step, part in STEPS:
        clock.stop() if step is None else clock.step(step)
        threading.Event().wait(HEARD)
        ids += relais.submit(20)
        all_delivered(relais, ids, f"all are delivered, {step}")
        relais.restarted(part, relais.kill(part))
        ids += relais.submit(20)
        all_delivered(relais, ids, f"and after {part} was killed, {step}")
        assert sql(relais, "SELECT quarantined FROM backends") == [(False,)], step
    relais.delivered_once(ids)


def all_delivered(relais: Relais, ids: list[UUID], what: str) -> None:
    until(lambda: relais.effects().keys() >= {*ids}, 60, 0.2, what)
