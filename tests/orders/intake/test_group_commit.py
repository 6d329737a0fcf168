"""Group commit: what is answered is on disk, once, whatever comes at the same time or goes missing on the way."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.errors import Conflict, JournalDown
from orders.intake.entries import Accepted, entry
from orders.intake.group_commit import Intake
from orders.intake.late import refusals, seem_late
from orders.queries import orders as order_queries
from tests.intake import order
from tests.machines.roles import OWNER, logged_in_to


def with_intake(url: str, work: Callable[[AsyncEngine, Intake], Awaitable[Any]], **options: int) -> Any:
    async def run() -> Any:
        async with logged_in_to(url) as logins:
            intake = Intake(logins["api"], "erp", **options)
            try:
                return await work(logins[OWNER], intake)
            finally:
                await intake.close()

    return asyncio.run(run())


def test_an_accepted_order_is_journalled_and_due(database_url: str) -> None:
    async def work(engine: AsyncEngine, intake: Intake) -> dict[str, Any]:
        sent = order("A1", priority="urgent", cut_off="2026-12-01T12:00:00+01:00")
        accepted = await intake.accept(sent, "front")
        return await order_queries.order(engine, accepted.id)

    life = with_intake(database_url, work)
    assert (life["state"], life["client"], life["attempts"], life["history"]) == ("accepted", "front", 0, [])
    assert life["order"]["cut_off"] == "2026-12-01T11:00:00Z"


def test_the_same_order_again_gets_the_first_answer_and_other_content_a_conflict(database_url: str) -> None:
    async def work(engine: AsyncEngine, intake: Intake) -> tuple[Accepted, Accepted, str]:
        first = await intake.accept(order("A1"), "front")
        again = await intake.accept(order("A1"), "front")
        with pytest.raises(Conflict) as conflict:
            await intake.accept(order("A1", quantity=2), "front")
        return first, again, conflict.value.first

    first, again, conflicting = with_intake(database_url, work)
    assert (first.repeated, again.repeated) == (False, True)
    assert first.id == again.id
    assert conflicting == str(first.id)


def test_racing_repeats_make_one_order(database_url: str) -> None:
    async def work(engine: AsyncEngine, intake: Intake) -> tuple[list[Accepted], dict[str, int]]:
        other = Intake(engine, "erp")  # another process, as far as the journal can tell
        sent = [order(f"R{number % 50}") for number in range(400)]
        both = [(intake if number % 2 else other).accept(one, "front") for number, one in enumerate(sent)]
        answers = await asyncio.gather(*both)
        return answers, await order_queries.counts(engine)

    answers, counts = with_intake(database_url, work)
    assert len({answer.id for answer in answers}) == 50
    assert sum(not answer.repeated for answer in answers) == 50
    assert counts["accepted"] == 50


def test_one_statement_commits_a_group_and_a_lone_order_waits_for_nobody(database_url: str) -> None:
    async def work(engine: AsyncEngine, intake: Intake) -> tuple[int, int]:
        statements: list[str] = []
        event.listen(intake._engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        await intake.accept(order("LONE"), "front")
        alone = len(statements)
        await asyncio.gather(*(intake.accept(order(f"G{number}"), "front") for number in range(500)))
        return alone, len(statements) - alone

    alone, many = with_intake(database_url, work)
    assert alone == 1
    assert many <= 4


def test_a_conflict_in_a_group_costs_no_good_order(database_url: str) -> None:
    async def work(engine: AsyncEngine, intake: Intake) -> list[object]:
        await intake.accept(order("TAKEN"), "front")
        sent = [order("TAKEN", 2), *(order(f"GOOD{number}") for number in range(20))]
        return list(await asyncio.gather(*(intake.accept(one, "c") for one in sent), return_exceptions=True))

    first, *rest = with_intake(database_url, work)
    assert isinstance(first, Conflict)
    assert all(isinstance(answer, Accepted) and not answer.repeated for answer in rest)


def test_whose_time_is_over_the_journals_clock_says(database_url: str) -> None:
    async def work(engine: AsyncEngine, intake: Intake) -> None:
        sent = [order(name, valid_until=f"{year}-01-01T00:00:00Z") for name, year in (("A", 2026), ("B", 2999))]
        late, early = (entry(each, "front", "erp") for each in sent)
        assert seem_late([late, early, entry(order("C"), "front", "erp")]) == [late]
        async with engine.connect() as connection:
            refused = await refusals(connection, [late, early])  # as where this machine's clock is far ahead
        assert {order_id: str(why) for order_id, why in refused.items()} == {
            late.id: "valid_until: this time has passed"
        }

    with_intake(database_url, work)


def test_a_connection_lost_in_the_commit_is_asked_again_and_nothing_is_doubled(database_url: str) -> None:
    async def work(engine: AsyncEngine, intake: Intake) -> tuple[Accepted, dict[str, int]]:
        await intake.accept(order("BEFORE"), "front")
        async with engine.connect() as connection:
            ours = "application_name = 'relais' AND pid <> pg_backend_pid() AND datname = current_database()"
            await connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}"))
        return await intake.accept(order("AFTER"), "front"), await order_queries.counts(engine)

    accepted, counts = with_intake(database_url, work)
    assert not accepted.repeated
    assert counts["accepted"] == 2


def test_a_journal_that_is_not_there_is_said_plainly() -> None:
    async def work(engine: AsyncEngine, intake: Intake) -> None:
        with pytest.raises(JournalDown):
            await intake.accept(order("A1"), "front")

    with_intake("postgresql://nobody@127.0.0.1:1/none", work)


def test_waiting_orders_are_bounded(database_url: str) -> None:
    async def work(engine: AsyncEngine, intake: Intake) -> list[object]:
        sent = (intake.accept(order(f"B{number}"), "front") for number in range(100))
        return list(await asyncio.gather(*sent, return_exceptions=True))

    answers = with_intake(database_url, work, waiting=10, group=5, committers=1)
    refused = [answer for answer in answers if isinstance(answer, JournalDown)]
    assert refused, "the bound was never reached"
    assert all(isinstance(answer, Accepted | JournalDown) for answer in answers)
