"""Samples for the charts: what they say, that they are thinned out, that rates come out right over gaps."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import text

from orders.queries.samples import newest, series, stands, thin
from tests.bench import Bench, OnBench
from workers.console.live.series import points
from workers.dispatch.maintenance import Sampler

ADD = """INSERT INTO samples SELECT now() - n * interval '10 s', 5000 - n, 4000 - n, 0, 0, 0, 7, NULL, NULL,
  {lasting} FROM generate_series({first}, {last}) n"""


@pytest.fixture
def process() -> str:
    """Who takes samples."""
    return "worker"


def test_a_sample_is_what_the_journal_counts(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        ids = await bench.accept(5)
        await bench.sql(f"UPDATE deliveries SET state = 'cancelled', settled_at = now() WHERE order_id = '{ids[0]}'")
        async with bench.engine.connect() as connection:
            await Sampler().take(connection)
            found = (await newest(connection, 2))[-1]
            true = (
                await connection.execute(text("SELECT min(accepted_at) FROM deliveries WHERE state = 'accepted'"))
            ).scalar_one()
        assert (found["accepted"], found["cancelled"], found["backlog"]) == (5, 1, 4)
        assert (found["by_backend"], found["oldest"], found["lasting"]) == ({bench.settings.erp.backend: 4}, true, True)
        assert (await stands(bench.engine))["backlog"] == 4

    on_bench(work)


def test_a_peak_between_two_samples_is_kept_as_long_as_samples_are(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        sampler = Sampler()
        async with bench.engine.connect() as connection:
            await sampler.take(connection)
            ids = await bench.accept(5)
            await sampler.look(connection)
            gone = ", ".join(f"'{each}'" for each in ids)
            await bench.sql(f"UPDATE deliveries SET state = 'cancelled', settled_at = now() WHERE order_id IN ({gone})")
            await sampler.look(connection)
            for _ in range(2):
                await sampler.take(connection)
            rows = await newest(connection, 3)
            assert [(row["backlog"], row["most"]) for row in rows] == [(0, 0), (0, 5), (0, 0)]
            minute = "date_trunc('minute', now()) - interval '7 hours' + interval '30 s' + (at - now()) * 0.001"
            await bench.sql(f"UPDATE samples SET at = {minute}, lasting = at = (SELECT min(at) FROM samples)")
            await thin(connection)
            [kept] = await newest(connection, 3)
            assert (kept["lasting"], kept["backlog"], kept["most"]) == (True, 0, 5)
            [point] = await series(connection, datetime.now(UTC), 3600.0, 24)
            assert point["most"] == 5

    on_bench(work)


def test_old_samples_go_but_for_the_first_of_each_minute(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await bench.sql(ADD.format(lasting="n % 6 = 0", first=1, last=2280))  # 6 h 20 min
        await bench.sql(ADD.format(lasting="true", first=120_960, last=120_970))  # a fortnight and more
        async with bench.engine.connect() as connection:
            await thin(connection)
            rows = await newest(connection, 5000)
        ages = [(datetime.now(UTC) - row["at"]).total_seconds() for row in rows]
        assert max(ages) < 6 * 3600 + 1300
        assert all(row["lasting"] for row, age in zip(rows, ages, strict=True) if age > 6 * 3600 + 60)
        assert len([age for age in ages if age < 6 * 3600 - 60]) == 2153, "the newer ones are all there"

    on_bench(work)


def test_rates_are_right_over_gaps_never_negative_and_never_more_than_came_in_a_minute() -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)

    def row(seconds: int, accepted: int) -> dict[str, Any]:
        counts = {"accepted": accepted, "delivered": 0, "dead": 0, "most": 0, "age": None}
        return {"at": start + timedelta(seconds=seconds), **counts}

    found = points([row(0, 0), row(600, 60), row(1200, 120), row(1210, 60)])
    assert [each.accepted for each in found] == [6.0, 6.0, 0.0], "over the minutes between them"
    burst = points([row(second, 30_000 if second >= 30 else 0) for second in range(0, 130, 10)])
    assert [each.accepted for each in burst] == [0, 0, *[30_000] * 6, *[0] * 4], "a burst is so many a minute, for one"


def test_a_series_is_thinned_where_it_is_read(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await bench.sql(ADD.format(lasting="true", first=1, last=2000))
        await bench.sql("UPDATE samples SET backlog = 4000, oldest = at - interval '8 min' WHERE accepted = 4300")
        found = await series(bench.engine, datetime.now(UTC), 60.0, 200)
        assert [row["most"] for row in found if row["most"] != 7] == [4000], "the largest of its step"
        assert [row["age"] for row in found if row["age"]] == [480.0]
        found = await series(bench.engine, datetime.now(UTC), 60.0, 100)
        assert 99 <= len(found) <= 101
        steps = {round((b["at"] - a["at"]).total_seconds()) for a, b in pairwise(found)}
        assert steps <= {50, 60}

    on_bench(work)
