"""The figures of an incident: what waited at most, to the second, however coarse its slices are."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.journal import Journal
from tests.past import HOURS, Past
from workers.proof.report.incident import Incident, read_incident


def test_a_backlog_that_came_and_went_within_a_slice_is_told(owner_url: str) -> None:
    journal = Journal(owner_url)
    past = Past(journal)
    past.came(40, 10 * HOURS, 10 * HOURS - timedelta(seconds=5))
    journal.sql("UPDATE deliveries SET settled_at = accepted_at + interval '8 minutes'")
    past.came(10, 2 * HOURS, HOURS)
    journal.sql("UPDATE deliveries SET settled_at = accepted_at WHERE settled_at IS NULL")
    past.came(3, HOURS, HOURS / 2, "accepted")

    async def read(engine: AsyncEngine) -> Incident:
        now = datetime.now(UTC)
        return await read_incident(engine, now - 24 * HOURS, now, now)

    found = journal(read)
    assert (found.width, max(found.waiting), found.left) == (900, 40, 3)
    assert sum(waited == 40 for waited in found.waiting) in (1, 2), "of 8 minutes"
    assert found.waiting[88:92] == [0] * 4, "who was gone within the second did not wait"
