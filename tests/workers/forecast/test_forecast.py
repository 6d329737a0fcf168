"""The forecast from a real journal: what it reads, what it says when nothing can flow, and what if."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.journal import connect
from tests.cli import CommandLine, environment
from tests.journal import Journal
from tests.past import HOURS, Past, leading
from workers.forecast import queries
from workers.forecast.forecast import Ask, draining, foretell
from workers.forecast.foretold import Forecast
from workers.forecast.pace import PaceSample


@pytest.fixture
def relais(settings: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys, environment(settings))


@pytest.fixture
def journal(owner_url: str) -> Journal:
    return Journal(owner_url)


@pytest.fixture
def past(journal: Journal) -> Past:
    return Past(journal)


DAY = timedelta(days=1)


def foretold(relais: CommandLine, *words: str, code: int = 0) -> dict[str, Any]:
    done = relais("forecast", "--json", *words)
    assert done.code == code, done
    found: dict[str, Any] = json.loads(done.out)
    return found


def seconds(found: dict[str, Any], name: str) -> float:
    return (datetime.fromisoformat(found[name]) - datetime.fromisoformat(found["now"])).total_seconds()


def test_a_backlog_is_foretold_from_weeks_and_from_what_the_erp_took(
    relais: CommandLine, journal: Journal, past: Past
) -> None:
    past.came(30_000, 30 * DAY, 5 * HOURS)
    past.took(3000, 300.0)
    past.came(1000, 5 * HOURS, HOURS * 0, "accepted")
    with leading(journal):
        found = foretold(relais)
        assert found["backlog"] == 1000
        assert found["rate"]["p50"] == pytest.approx(10, rel=0.1)
        assert "busy samples" in found["rate"]["basis"]
        assert "4 past weeks" in found["arrivals"]["basis"]
        assert found["arrivals"]["per_hour"] == pytest.approx(42, rel=0.5)
        assert 80 < seconds(found, "p5") <= seconds(found, "p50") <= seconds(found, "p95") < 150
        assert found["start"]["window"] == 2000
        twice = foretold(relais, "--rate", "20")
        assert seconds(twice, "p50") == pytest.approx(seconds(found, "p50") / 2, rel=0.15)
        later = foretold(relais, "--rate", "20", "--at", "1h")
        assert seconds(later, "p50") > 3600 + seconds(twice, "p50")
        assert "canary" in later["assumes"]
        journal.sql("UPDATE backends SET rate = 2")
        assert foretold(relais)["rate"]["p95"] == 2
        never = foretold(relais, "--rate", "0.01", code=1)
        assert (never["p50"], never["why"].split(":")[0]) == (None, "never at this rate")
        table = relais("forecast").out
        assert "The backlog of erp, 1,000 orders, will be empty at" in table
        for word in ("arrivals", "rate", "ramp", "empty, P50", "empty, P95", "capped at 2/s"):
            assert word in table


def test_no_date_where_only_a_person_or_a_worker_can_make_orders_flow(
    relais: CommandLine, journal: Journal, past: Past
) -> None:
    past.came(2000, 8 * HOURS, 2 * HOURS)
    past.took(2000, 200.0)
    past.came(100, 2 * HOURS, HOURS * 0, "accepted")
    nobody = foretold(relais, code=1)
    assert (nobody["p50"], nobody["why"]) == (None, "no worker is running")
    assert "No date for the 100 orders of erp: no worker is running." in relais("status").out
    with leading(journal):
        assert relais("pause", "--because", "stocktaking").code == 0
        held = foretold(relais, code=1)
        assert (held["p50"], held["why"]) == (None, "erp is paused: stocktaking")
        assert held["rate"]["p50"] == pytest.approx(10, rel=0.1)
        assert seconds(foretold(relais, "--at", "30m"), "p50") > 1800
        assert relais("resume", "--because", "a test").code == 0
        probe = datetime.now(UTC) + timedelta(seconds=600)
        journal.sql("UPDATE backends SET circuit = 'open', why = '\"no answer\"', probe_at = :probe", probe=probe)
        closed = foretold(relais)
        assert seconds(closed, "p5") > 580
        assert (closed["start"]["window"], closed["assumes"]) == (1, "the next canary gets through")


def test_what_is_not_known_is_said(relais: CommandLine, journal: Journal, past: Past) -> None:
    assert relais("forecast", "elsewhere").code == 1
    empty = foretold(relais)
    assert (empty["backlog"], empty["rate"], seconds(empty, "p95")) == (0, None, 0)
    assert "is empty" in relais("forecast").out
    past.came(50, HOURS, HOURS * 0, "accepted")
    with leading(journal):
        found = foretold(relais, code=1)
        assert found["why"] == "erp has delivered nothing yet, so its rate is not known"
        assert seconds(foretold(relais, "--rate", "5"), "p50") == pytest.approx(10, abs=3)
    assert "the last" in found["arrivals"]["basis"]
    assert found["arrivals"]["per_hour"] == pytest.approx(50, abs=5)
    for wrong in (("--rate", "0"), ("--rate", "fast"), ("--at", "soon"), ("--at", "2024-10-19T12:00")):
        assert relais("forecast", *wrong).code == 2


def test_an_erp_that_was_never_busy_gives_wide_bounds(relais: CommandLine, journal: Journal, past: Past) -> None:
    past.came(600, 2 * HOURS, timedelta(0))
    journal.sql(
        "INSERT INTO receipts (order_id, lease, backend, reference, lines, received_at) "
        "SELECT id, gen_random_uuid(), 'erp', 'E', '[]', received_at + interval '1 second' FROM orders"
    )
    past.came(100, timedelta(seconds=60), timedelta(0), "accepted")
    with leading(journal):
        found = foretold(relais)
    assert "not seen busy" in found["rate"]["basis"]
    assert found["rate"]["p95"] > 10 * found["rate"]["p5"] > 0


def test_cut_offs_are_met_or_missed_in_their_turn(relais: CommandLine, journal: Journal, past: Past) -> None:
    now = datetime.now(UTC)
    past.came(300, 2 * HOURS, HOURS, "accepted", priority=0, cut_off=now + timedelta(seconds=120))
    past.came(2000, 2 * HOURS, HOURS, "accepted", cut_off=now + timedelta(seconds=120))
    past.came(1000, 2 * HOURS, HOURS, "accepted", cut_off=now + timedelta(hours=2))
    past.came(40, 2 * HOURS, HOURS, "accepted", cut_off=now - timedelta(hours=2))
    with leading(journal):
        found = foretold(relais, "--rate", "10")
        table = relais("forecast", "--rate", "10").out
    rounds = [(one["priority"], one["orders"], one["late_p50"]) for one in found["cut_offs"]]
    assert rounds[0] == ("urgent", 300, 0)
    assert rounds[1][:2] == ("normal", 2000)
    assert rounds[1][2] == pytest.approx(300 + 40 + 2000 - 1200, abs=120)
    assert rounds[2] == ("normal", 1000, 0)
    assert found["missed"] == 40
    assert "Cut-offs that some orders will miss" in table
    assert {one["back_by"] for one in found["cut_offs"]} == {None}, "orders flow"


def test_while_nothing_is_taken_each_cut_off_has_a_time_to_be_back_by(
    relais: CommandLine, journal: Journal, past: Past
) -> None:
    past.came(3000, 2 * HOURS, HOURS)
    past.took(3000, 300.0)
    soon, later = (datetime.now(UTC) + timedelta(seconds=after) for after in (60, 3600))
    past.came(1000, 2 * HOURS, HOURS, "accepted", cut_off=soon)
    past.came(1000, 2 * HOURS, HOURS, "accepted", cut_off=later)
    probe = datetime.now(UTC) + timedelta(seconds=5)
    down = "UPDATE backends SET circuit = 'open', why = '\"no answer\"', probe_at = :probe"
    with leading(journal):
        journal.sql(down, probe=probe)
        told, table = foretold(relais)["cut_offs"], relais("forecast").out
        assert relais("pause", "--because", "stocktaking").code == 0
        paused = foretold(relais, code=1)["cut_offs"]
    for found in (told, paused):
        first, second = (datetime.fromisoformat(one["back_by"]) for one in found)
        assert soon - first == pytest.approx(timedelta(seconds=100), rel=0.3), "it is too late, and it says since when"
        assert later - second == pytest.approx(timedelta(seconds=200), rel=0.3)
        assert found[0]["late_p50"] == pytest.approx(400, abs=150), "at best"
        assert found[1]["late_p50"] == 0
    assert "when orders must flow again" in table


def test_the_stages_of_a_replay_are_not_the_pace_of_the_erp(relais: CommandLine, journal: Journal, past: Past) -> None:
    past.came(1000, 5 * HOURS, HOURS)
    past.took(1000, 200.0)
    past.came(500, HOURS, HOURS * 0, "accepted")
    staged = """
        INSERT INTO replays (backend, choice, stage, started_by, started_at, stage_since, ended_at)
        VALUES ('erp', '{}', :stage, 'jeanne', now() - interval '1 hour', now(), NULL)"""
    with leading(journal):
        assert foretold(relais)["rate"]["p50"] == pytest.approx(5, rel=0.1)
        for stage in (100, 0):
            journal.sql(staged, stage=stage)
            assert "not seen busy" in foretold(relais)["rate"]["basis"], "that was in its stages"
            journal.sql("DELETE FROM replays")
        journal.sql(staged.replace("now(), NULL", "now() - interval '1 hour', NULL"), stage=0)
        assert foretold(relais)["rate"]["p50"] == pytest.approx(5, rel=0.1), "and that in its ramp"


def test_each_backend_has_its_own_forecast(
    settings: Settings, relais: CommandLine, journal: Journal, past: Past
) -> None:
    journal.sql("""INSERT INTO backends (name, "window") VALUES ('other', 2000)""")
    past.came(500, 5 * HOURS, HOURS * 4)
    past.came(1500, 5 * HOURS, HOURS * 4, backend="other")
    past.took(500, 50.0)
    past.took(1500, 750.0, "other")
    past.came(100, HOURS, HOURS * 0, "accepted")
    past.came(300, HOURS, HOURS * 0, "accepted", backend="other")

    async def ask(engine: AsyncEngine) -> Forecast:
        return await foretell(engine, settings, "other", Ask(rate=3.0))

    with leading(journal):
        both = json.loads(relais("status", "--json").out)["forecast"]
        first, second = journal(ask), journal(ask)
    assert [(one["backend"], one["backlog"]) for one in both] == [("erp", 100), ("other", 300)]
    assert [one["rate"]["p50"] for one in both] == [pytest.approx(10, rel=0.15), pytest.approx(2, rel=0.15)]
    assert first.arrivals["per_hour"] == pytest.approx(100, rel=0.1), "three of four, of 400 in three hours"
    assert first.p95 is not None
    assert second.p95 is not None
    apart = abs((first.p95 - first.now) - (second.p95 - second.now))
    assert apart < timedelta(seconds=1), "asked twice, it says the same"


def test_a_journal_out_of_reach_has_no_forecast(settings: Settings) -> None:
    async def work() -> list[Forecast]:
        engine = connect("postgresql://relais@127.0.0.1:1/relais")
        try:
            return await draining(engine, settings)
        finally:
            await engine.dispose()

    assert asyncio.run(work()) == []


def test_what_came_is_told_by_where_rows_lie(journal: Journal, past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    past.came(20_000, 10 * DAY, 6 * DAY)
    past.came(2000, 6 * DAY, 2 * DAY)
    past.came(9000, 2 * DAY, 0 * DAY)
    now = datetime.now(UTC)
    bounds = [now - n * DAY for n in (10, 8, 6, 4, 2, 1, 0)]

    async def came(engine: AsyncEngine) -> list[float]:
        async with engine.connect() as connection:
            return await queries._came(connection, bounds)

    exact = journal(came)
    assert exact == pytest.approx([10_000, 10_000, 1000, 1000, 4500, 4500], abs=5)
    monkeypatch.setattr(queries, "COUNTED_BELOW", 0)
    about = journal(came)
    assert about == pytest.approx(exact, rel=0.05, abs=100)
    assert about != exact, "it was not counted"


def test_only_the_newest_receipts_are_looked_at(journal: Journal, past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    past.came(4000, 2 * DAY, DAY)
    past.took(4000, 400.0)
    monkeypatch.setattr(queries, "RECEIPTS", 1000)

    async def taken(engine: AsyncEngine) -> dict[int, PaceSample]:
        async with engine.connect() as connection:
            assert await queries.latency(connection, "erp") == pytest.approx(0.08)
            assert await queries.latency(connection, "other") is None
            return await queries.taken(connection, "erp", 0.08)

    found = journal(taken)
    assert sum(one.orders for one in found.values()) == 1000
    assert all(one.busy for one in found.values())
    assert len(found) == pytest.approx(100, abs=2)
