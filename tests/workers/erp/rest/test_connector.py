"""The connector by a small profile, against a server that keeps orders: what is sent, asked and believed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from orders.model import parse
from tests.machines.erp import an_order, settings_for, submit_one
from workers.erp.connectors import open_erp
from workers.erp.port import Erp, ErpReceiptLine, Evidence, Kind, Mapped, Submission

PROFILE = """
about = "a shop"
proven = "by these tests"
[look_up.article]
path = "/articles?code={{ code }}"
found = "[0]"
example = { id = 1 }
[send]
path = "/orders"
body = '''
{"ref": {{ order.id }}, "customer": {{ mapped.customer }}, "lines": [
{% for line in lines %}
{"product": {{ line.product }}, "article": {{ line.found.id }}, "quantity": {{ line.quantity }}}
{% if not loop.last %},{% endif %}
{% endfor %}]}
'''
record = "order"
[record]
order = "ref"
reference = "number"
state = "state"
taken = ["taken"]
refused = ["void"]
lines = "lines"
product = "product"
accepted = "quantity"
at = "at"
[record.example]
ref = "019a3c5e-7b1d-7c3e-9f00-8d2b4a6c1e35"
number = 5
state = "taken"
at = "2026-01-05T08:00:00Z"
lines = [{ product = "3400937318044", quantity = 1 }]
[find]
most = 2
path = '/orders?refs={{ ids | join(",") }}'
records = "@"
[[step]]
when = ["draft"]
path = "/orders/{{ record.number }}/take"
body = "{}"
record = "@"
[undo]
path = "/orders/{{ record.number }}/void"
body = "{}"
[list]
most = 2
path = "/page?since={{ since.iso }}&until={{ until.iso }}&after={{ after or 0 }}&limit={{ limit }}"
records = "@"
cursor = "number"
[probe]
path = "/articles?code=A"
[[answer]]
status = [422]
means = "refused"
words = "error"
[[answer]]
status = [400]
when = "code == 'busy'"
means = "throttled"
[[answer]]
status = [400]
contains = "perhaps"
means = "unknown"
"""


class Shop:
    """Keeps what it is sent; `answers` come before its own, by path, one after the other."""

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.answers: dict[str, Iterator[web.Response]] = {}

    async def serve(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        if (told := next(self.answers.get(request.path, iter(())), None)) is not None:
            return told
        match request.path.split("/")[1:]:
            case ["articles"]:
                return web.json_response([{"id": 7}] if request.query["code"] != "none" else [])
            case ["page"]:
                rest = [each for each in self.orders if each["number"] > int(request.query["after"])]
                return web.json_response(rest[: int(request.query["limit"])])
            case ["orders"] if request.method == "GET":
                wanted = request.query["refs"].split(",")
                return web.json_response([each for each in self.orders if each["ref"] in wanted])
            case ["orders"]:
                made = {**await request.json(), "number": len(self.orders) + 1, "state": "draft"}
                self.orders.append({**made, "at": datetime.now(UTC).isoformat()})
                return web.json_response({"order": self.orders[-1]}, status=201)
            case ["orders", number, step]:
                order = self.orders[int(number) - 1]
                order["state"] = {"take": "taken", "void": "void"}[step]
                return web.json_response(order)
        return web.Response(status=404)

    def states(self) -> list[str]:
        return [each["state"] for each in self.orders]

    def sent(self) -> int:
        return self.asked.count("POST /orders")


@asynccontextmanager
async def open_shop() -> AsyncIterator[tuple[Shop, str]]:
    shop, app = Shop(), web.Application()
    app.router.add_route("*", "/{path:.*}", shop.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield shop, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def at_shop(
    directory: Path,
    play: Callable[[Erp, Shop], Awaitable[None]],
    own: str = "",
    profile: str = PROFILE,
    **settings: object,
) -> None:
    (directory / "shop.toml").write_text(profile)
    (directory / "erp.toml").write_text(f'profile = "shop.toml"\n{own}')

    async def main() -> None:
        async with open_shop() as (shop, url):
            own_file = directory / "erp.toml"
            erp = open_erp(settings_for(url, erp_kind="rest", erp_connector=own_file, erp_timeout=30.0, **settings))
            try:
                await play(erp, shop)
            finally:
                await erp.close()

    asyncio.run(main())


def order(*quantities: int, article: str = "A") -> Submission:
    made = an_order(*quantities)
    read = parse(made.body)
    return replace(made, order=read, mapped=Mapped("C-1", None, None, tuple(article for _ in read.lines)))


def told(status: int, body: Any = None, **headers: str) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


def test_orders_are_looked_up_sent_and_led_on_to_a_receipt(tmp_path: Path) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        orders = [order(2, 3), order(1), order(4)]
        outcomes = await erp.submit(orders, budget=60)
        assert {each.kind for each in outcomes.values()} == {Kind.ACCEPTED}
        first = outcomes[orders[0].id].receipt
        assert first is not None
        assert [line.accepted for line in first.lines] == [2, 3]
        assert {each["ref"] for each in shop.orders} == {str(each.id) for each in orders}
        assert shop.states() == ["taken"] * 3
        assert shop.orders[0]["lines"][0]["article"] == 7
        assert shop.asked.count("GET /articles") == 1
        assert shop.asked.count("GET /orders") == 2, "two at a time"

    at_shop(tmp_path, play)


@pytest.mark.parametrize("unique", [False, True])
def test_what_is_there_is_asked_for_before_it_is_sent_unless_the_erp_refuses_a_second(
    tmp_path: Path, unique: bool
) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        one = order(1)
        assert (await submit_one(erp, one, 60)).kind is Kind.ACCEPTED
        said = erp.capabilities.unique_reference, erp.capabilities.absent_after
        assert said == (unique, 0.0 if unique else 30.0), "a commit that comes late is waited for"
        shop.asked.clear()
        again = await submit_one(erp, one, 60)
        assert shop.asked.count("GET /orders") == (not unique)
        assert shop.sent() == unique
        if not unique:
            assert again.kind is Kind.DUPLICATE
            shop.answers["/orders"] = iter([told(503) for _ in range(3)])
            outcome = await submit_one(erp, order(1), 60)
            assert outcome.kind is Kind.TRANSIENT, "it could not be asked: nothing was sent"
            assert shop.sent() == 0

    at_shop(tmp_path, play, f"unique_reference = {str(unique).lower()}")


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (lambda: told(422, {"error": "no such thing"}), Kind.REFUSED, "422: no such thing"),
        (lambda: told(400, {"code": "busy"}, **{"Retry-After": "7"}), Kind.THROTTLED, "400: the ERP asks for a pause"),
        (lambda: told(400, {"text": "perhaps"}), Kind.UNKNOWN, "400: the ERP may have taken it"),
        (lambda: told(400, {"code": "else"}), Kind.TRANSIENT, "400: refused, but not in the contract's words"),
        (lambda: told(403), Kind.TRANSIENT, "403: the backend is misconfigured"),
        (lambda: told(500), Kind.UNKNOWN, "500: "),
        (lambda: web.Response(text="<html>"), Kind.SUSPICIOUS, "the answer is not JSON"),
        (lambda: told(200, {}), Kind.SUSPICIOUS, "the answer is none that the contract knows: no record"),
    ],
)
def test_an_answer_means_what_the_profile_says_and_else_what_it_means_to_all(
    tmp_path: Path, answer: Callable[[], web.Response], kind: Kind, says: str
) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        shop.answers["/orders"] = iter([answer()])
        outcome = await submit_one(erp, order(1), 60)
        assert (outcome.kind, outcome.detail[: len(says)]) == (kind, says)
        assert outcome.retry_after == (7.0 if kind is Kind.THROTTLED else None)
        assert shop.sent() == 1

    at_shop(tmp_path, play, "unique_reference = true")


def test_what_is_refused_on_its_way_is_taken_back_and_what_fails_is_led_on_by_a_poll(tmp_path: Path) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        shop.answers["/orders/1/take"] = iter([told(422, {"error": "no credit"})])
        shop.answers["/orders/2/take"] = iter([told(500)])
        refused = await submit_one(erp, order(1), 60)
        assert (refused.kind, refused.detail) == (Kind.REFUSED, "422: no credit")
        late = order(1)
        assert (await submit_one(erp, late, 60)).kind is Kind.UNKNOWN
        assert shop.states() == ["void", "draft"]
        found = await erp.find([late.id, uuid4()], budget=60)
        assert [each.kind for each in found.values()] == [Kind.PENDING, Kind.ABSENT]
        assert (await erp.poll([late.id], budget=60))[late.id].kind is Kind.ACCEPTED
        assert shop.states() == ["void", "taken"]

    at_shop(tmp_path, play)


def test_an_article_that_the_erp_lacks_is_the_order_s_fault_alone(tmp_path: Path) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        good, bad = order(1), order(1, article="none")
        outcomes = await erp.submit([bad, good], budget=60)
        assert (outcomes[bad.id].kind, outcomes[bad.id].detail) == (Kind.REFUSED, "the ERP has no article none")
        assert outcomes[good.id].kind is Kind.ACCEPTED

    at_shop(tmp_path, play)


@pytest.mark.parametrize(
    ("change", "evidence"),
    [
        ({"ref": str(uuid4())}, Evidence.UNSENT_ORDER),
        ({"lines": [{"product": "3400937318044", "quantity": 9}]}, Evidence.WRONG_LINES),
        ({"lines": []}, Evidence.WRONG_LINES),
    ],
)
def test_a_record_of_another_order_is_evidence(tmp_path: Path, change: dict[str, Any], evidence: Evidence) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        one = order(1)
        record = {
            "ref": str(one.id),
            "number": 1,
            "state": "taken",
            "lines": [{"product": "3400937318044", "quantity": 1}],
        }
        shop.answers["/orders"] = iter([told(201, {"order": record | change})])
        outcome = await submit_one(erp, one, 60)
        assert (outcome.kind, outcome.evidence) == (Kind.SUSPICIOUS, evidence)

    at_shop(tmp_path, play, "unique_reference = true")


LINES = """substitute = "(sent != article) && article"
back_ordered = "later"
expected = "due"
reason = "why"
[record.example]"""
SAYING = {"sent": 7, "article": "A-9", "later": 2, "due": "2026-01-08", "why": "out of stock"}
TALKATIVE = PROFILE.replace("[record.example]", LINES).replace(
    "quantity = 1 }",
    'quantity = 1, sent = 7, article = "A-9", later = 2, due = "2026-01-08", why = "out of stock" }',
)


@pytest.mark.parametrize("allowed", [True, False])
def test_what_comes_in_its_place_and_what_comes_later_is_told(tmp_path: Path, allowed: bool) -> None:
    one = order(3, 5)
    lines = [{"product": line.product, "quantity": 3, "sent": 7, "article": 7} for line in one.order.lines]  # type: ignore[union-attr]
    record = {"ref": str(one.id), "number": 1, "state": "taken", "lines": [lines[0], lines[1] | SAYING]}

    async def play(erp: Erp, shop: Shop) -> None:
        shop.answers["/orders"] = iter([told(201, {"order": record})])
        outcome = await submit_one(erp, one, 60)
        if allowed:
            assert outcome.receipt is not None
            (first, second), (ordered, other) = outcome.receipt.lines, lines
            assert first == ErpReceiptLine(1, ordered["product"], 3)
            assert second == ErpReceiptLine(2, other["product"], 3, "out of stock", "A-9", 2, date(2026, 1, 8))
        else:
            assert (outcome.kind, outcome.evidence) == (Kind.SUSPICIOUS, Evidence.WRONG_LINES)
            assert "line 2: A-9 in the place of" in outcome.detail

    at_shop(tmp_path, play, "unique_reference = true", TALKATIVE, erp_allow_substitution=allowed)


def test_what_a_record_echoes_of_a_secret_is_blanked(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a token of ours")

    async def play(erp: Erp, shop: Shop) -> None:
        one = order(1)
        await submit_one(erp, one, 60)
        shop.orders[0]["lines"][0]["why"] = "held for who says a token of ours"
        taken = (await erp.find([one.id], budget=60))[one.id].receipt
        assert taken is not None and taken.lines[0].reason == "held for who says ***"
        shop.orders[0] |= {"state": "void", "why": "refused to who says a token of ours"}
        found = (await erp.find([one.id], budget=60))[one.id]
        assert (found.kind, found.detail) == (Kind.REFUSED, "refused to who says ***")

    profile = TALKATIVE.replace('refused = ["void"]', 'refused = ["void"]\nwords = "why"')
    at_shop(tmp_path, play, '[auth]\nscheme = "bearer"\ntoken_file = "secret"', profile)


def test_what_it_holds_is_listed_page_after_page(tmp_path: Path) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        orders = [order(n + 1) for n in range(5)]
        for each in orders:
            await submit_one(erp, each, 60)
        now, after, found = datetime.now(UTC), None, []
        for _ in count():
            page = await erp.list(now - timedelta(hours=1), now, after=after, budget=60)
            assert page.failed is None
            found += page.orders
            if (after := page.next) is None:
                break
        assert [each.id for each in found] == [each.id for each in orders]
        assert [each.reference for each in found] == ["1", "2", "3", "4", "5"]
        shop.answers["/page"] = iter([told(500) for _ in range(3)])
        assert (await erp.list(now, now, after=None, budget=60)).failed is not None

    at_shop(tmp_path, play)


def test_it_is_fit_when_it_answers_as_the_profile_says(tmp_path: Path) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        assert await erp.probe()
        for answer in (told(401), told(200, []), told(503)):
            shop.answers["/articles"] = iter([answer])
            assert not await erp.probe()

    at_shop(tmp_path, play)


def test_without_a_place_for_the_record_it_is_asked_for(tmp_path: Path) -> None:
    async def play(erp: Erp, shop: Shop) -> None:
        outcome = await submit_one(erp, order(2), 60)
        assert outcome.kind is Kind.ACCEPTED
        assert shop.asked.count("GET /orders") == 1

    at_shop(tmp_path, play, "unique_reference = true", PROFILE.replace('record = "order"', ""))
