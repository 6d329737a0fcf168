"""What a look at an ERP by its profile asks, and what it finds where an answer is not as the profile says."""

from itertools import repeat
from pathlib import Path

import pytest
from aiohttp import web

from tests.machines.erp import submit_one
from tests.workers.erp.rest.test_connector import PROFILE, Shop, at_shop, order
from workers.erp.checks.finding import CheckFinding, CheckVerdict
from workers.erp.port import Erp, Kind
from workers.erp.rest.connector import RestErp

ALL = ["credentials", "service", "look-up of articles", "find", "list", "creating"]


async def looked(erp: Erp) -> dict[str, CheckFinding]:
    assert isinstance(erp, RestErp)
    return {each.name: each async for each in erp.check(budget=10.0)}


def has_nothing(shop: Shop, path: str = "/articles") -> None:
    """From now on it answers the probe, and has none of what is looked up."""
    shop.answers[path] = iter([web.json_response([{"id": 1}]), *(web.json_response([]) for _ in range(3))])


def test_an_erp_that_is_fit_is_asked_and_told_nothing(tmp_path: Path) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        assert (await submit_one(erp, order(1), 60)).kind is Kind.ACCEPTED
        has_nothing(shop)
        shop.asked.clear()
        found = await looked(erp)
        assert [*found] == ALL
        assert {each.name for each in found.values() if each.verdict is not CheckVerdict.OK} == {"creating"}, found
        assert found["creating"].verdict is CheckVerdict.NOT_KNOWN
        assert found["list"].detail == "it tells 1 order of the last day; 1 read"
        assert {each.partition(" ")[0] for each in shop.asked} == {"GET"}
        assert shop.states() == ["taken"]

    at_shop(tmp_path, play, profile=PROFILE.replace('most = 2\npath = "/page', 'most = 20\npath = "/page'))


@pytest.mark.parametrize(
    ("status", "body", "name"),
    [
        (401, {}, "credentials"),
        (403, {}, "credentials"),
        (404, {}, "service"),
        (503, {}, "service"),
        (200, [], "service"),
    ],
)
def test_who_is_not_let_in_or_answered_otherwise_is_told_so(
    tmp_path: Path, status: int, body: object, name: str
) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        shop.answers["/articles"] = iter([web.json_response(body, status=status)])
        found = await looked(erp)
        assert found[name].verdict is CheckVerdict.WOULD_FAIL
        assert (len(found) == 1) == (status != 200), "where we are not let in nothing else is asked"

    at_shop(tmp_path, play)


def test_a_look_up_that_has_whatever_is_asked_for_is_found_out(tmp_path: Path) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        found = (await looked(erp))["look-up of articles"]
        assert found.verdict is CheckVerdict.WOULD_FAIL
        assert found.detail.startswith("it says that it has relais-")

    at_shop(tmp_path, play)


@pytest.mark.parametrize(
    ("path", "answer", "name"),
    [
        ("/orders", {"status": 403}, "find"),
        ("/orders", {"text": "<html>"}, "find"),
        ("/page", {"text": "[{}, {}, {}]", "content_type": "application/json"}, "list"),
        ("/page", {"status": 500}, "list"),
    ],
)
def test_a_question_that_is_not_answered_as_the_profile_says(
    tmp_path: Path, path: str, answer: dict[str, object], name: str
) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        shop.answers[path] = (web.Response(**each) for each in repeat(answer))  # type: ignore[arg-type]
        found = await looked(erp)
        assert found[name].verdict is CheckVerdict.WOULD_FAIL, found
        assert {*found} == {*ALL}

    at_shop(tmp_path, play)


def test_a_record_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        assert (await submit_one(erp, order(1), 60)).kind is Kind.ACCEPTED
        shop.orders[0]["lines"] = "none"
        found = (await looked(erp))["list"]
        assert found.verdict is CheckVerdict.WOULD_FAIL
        assert found.detail.startswith(f"it lists order {shop.orders[0]['ref']}, and of that: ")
        assert "record.lines" in found.detail

    at_shop(tmp_path, play)
