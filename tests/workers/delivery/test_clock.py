"""A worker's wall clock may be a day off: what it journals is by the journal's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest

from config.settings import Settings
from workers.delivery.judgement import Result, judge
from workers.erp import steady_clock
from workers.erp.port import Kind, Outcome


@pytest.mark.parametrize("off", [timedelta(days=1), timedelta(days=-1), timedelta(seconds=18)])
@pytest.mark.parametrize("kind", [Kind.ACCEPTED, Kind.TRANSIENT])
def test_attempts_and_when_they_go_again_are_by_the_journals_clock(off: timedelta, kind: Kind) -> None:
    order, journal, ours = uuid4(), datetime.now(UTC) + off, steady_clock.now()
    outcome = Outcome(kind, started=ours - timedelta(seconds=2), ended=ours - timedelta(seconds=1))
    result = Result(uuid4(), journal, 0.0, {order: (1, None)}, {}, {order: outcome})
    seen = SimpleNamespace(quarantined=False, succeeded_at=None, trips=0, now=journal)
    judged = judge(result, seen, Settings(_env_file=None))  # type: ignore[arg-type]
    found = judged.outcomes[order]
    assert found.started is not None
    assert found.ended is not None
    assert (found.ended - found.started).total_seconds() == pytest.approx(1.0)
    assert (journal - found.ended).total_seconds() == pytest.approx(1.0, abs=0.5)
    if kind is Kind.ACCEPTED:
        assert judged.met.succeeded_at == found.ended
    else:
        due = judged.dispositions[order].due_at
        assert due is not None
        assert timedelta() <= due - journal < timedelta(seconds=10)
