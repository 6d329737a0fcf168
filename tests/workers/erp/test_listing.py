"""What an ERP tells of the orders that it holds is read only when it is just what was asked for."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.machines.erp import answering, connector, raw_server, response
from workers.erp.failures import Unfit
from workers.erp.http import HttpErp
from workers.erp.http.listing import MOST_LISTED, read_page
from workers.erp.port import Kind, Listing

SINCE = datetime(2026, 1, 5, 12, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=1)


def listed(second: int = 0, **changes: Any) -> dict[str, Any]:
    when = (SINCE + timedelta(seconds=second)).isoformat()
    return {"id": str(uuid4()), "digest": "ab" * 32, "reference": "E-1", "received_at": when, **changes}


def read(*orders: Any, after: str | None = None, **more: Any) -> Listing:
    return read_page(json.dumps({"orders": orders, "next": None, **more}).encode(), SINCE, UNTIL, after)


def test_a_page_is_read_in_turn() -> None:
    page = read(listed(1), listed(1), listed(5, received_at="2026-01-05T13:00:05+01:00"), next="41")
    assert (len(page.orders), page.next, page.failed) == (3, "41", None)
    assert page.orders[2].at == SINCE + timedelta(seconds=5)
    assert read().orders == ()


TWICE = listed(1)


@pytest.mark.parametrize(
    ("orders", "more"),
    [
        ([listed(5), listed(1)], {}),
        ([listed(-5)], {}),
        ([listed(3600)], {}),
        ([TWICE, TWICE], {}),
        ([listed() for _ in range(MOST_LISTED + 1)], {}),
        ([], {"next": "1"}),
        ([listed()], {"next": "7", "after": "7"}),
        ([listed()], {"next": ""}),
        ([listed()], {"next": "x" * 501}),
        ([listed()], {"next": 7}),
        ([listed(id="7")], {}),
        ([listed(digest="zz")], {}),
        ([listed(reference="")], {}),
        ([listed(reference="nul\x00")], {}),
        ([listed(received_at="2026-01-05T12:00:00")], {}),
        ([listed(received_at=10**12)], {}),
        ([{}], {}),
        (["no order"], {}),
    ],
    ids=range(18),
)
def test_what_was_not_asked_for_is_not_believed(orders: list[Any], more: dict[str, Any]) -> None:
    with pytest.raises(Unfit) as caught:
        read(*orders, **more)
    assert "\n" not in caught.value.detail


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_no_bytes_do_anything_but_be_read_or_refused(raw: bytes) -> None:
    try:
        read_page(raw, SINCE, UNTIL, None)
    except Unfit as error:
        assert error.detail.isprintable()


def asked(*answers: bytes, tries: int = 1) -> tuple[Listing, HttpErp]:
    async def work() -> tuple[Listing, HttpErp]:
        async with raw_server(answering(*answers)) as url, connector(url, tries=tries) as erp:
            return await erp.list(SINCE, UNTIL, after=None, budget=5.0), erp

    job: Callable[[], Awaitable[tuple[Listing, HttpErp]]] = work
    return asyncio.run(job())  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_erp_that_cannot_list_says_so_once(status: int) -> None:
    page, erp = asked(response(status, b'{"error":"no such path"}'))
    assert (page.failed is not None, erp.capabilities.can_list) == (True, False)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (response(503, b"{}"), Kind.UNKNOWN),
        (response(500, b"{}"), Kind.UNKNOWN),
        (response(400, b'{"error":"what?"}'), Kind.UNKNOWN),
        (b"", Kind.UNKNOWN),
        (response(200, b"<h1>Maintenance</h1>", "text/html"), Kind.SUSPICIOUS),
        (response(200, b"[]"), Kind.SUSPICIOUS),
        (response(200, b" " * (1024 * 1024 + 1)), Kind.SUSPICIOUS),
        (response(302, b"", Location="http://127.0.0.1:1/"), Kind.SUSPICIOUS),
    ],
)
def test_any_other_failure_tells_nothing_and_leaves_it_able(answer: bytes, kind: Kind) -> None:
    page, erp = asked(answer)
    assert page.failed is not None
    assert (page.orders, page.failed.kind, erp.capabilities.can_list) == ((), kind, True)
    assert page.failed.detail.startswith("could not be asked: ")


def test_what_passes_is_asked_again_at_once() -> None:
    good = response(200, json.dumps({"orders": [listed(1)], "next": None}).encode())
    page, _ = asked(response(503, b"{}"), good, tries=3)
    assert (page.failed, len(page.orders)) == (None, 1)
