"""The simulator in every position of its dial, as the connector meets it."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.request import Request, urlopen

import aiohttp
import pytest
import uvloop

from tests.machines.erp import MEDICINES, an_order, connector, submit_one
from tests.waiting import auntil, until
from workers.erp.http import HttpErp
from workers.erp.port import ErpReceiptLine, Evidence, Kind, Outcome, Submission
from workers.erp.sim import Dial, Simulator, read_effects
from workers.erp.sim.book import Book
from workers.erp.sim.conduct import Conduct

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Rig:
    """A simulator in this process, its file, and a connector to it."""

    def __init__(self, sim: Simulator, erp: HttpErp, file: Path, control: aiohttp.ClientSession) -> None:
        self.sim, self.erp, self.file, self._control = sim, erp, file, control

    async def turn(self, **knobs: Any) -> dict[str, Any]:
        return await self.ask("PUT", "/_dial", knobs)

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> dict[str, Any]:
        async with self._control.request(method, self.sim.control_url + path, json=body) as answer:
            assert answer.status == status
            told: dict[str, Any] = await answer.json()
            return told

    async def one(self, *quantities: int) -> Outcome:
        return await submit_one(self.erp, an_order(*quantities))

    async def many(self, orders: Sequence[Submission]) -> Counter[Kind]:
        outcomes = await self.erp.submit(orders, budget=30)
        return Counter(outcome.kind for outcome in outcomes.values())

    def taken(self) -> list[str]:
        return [effect["id"] for effect in read_effects(self.file)]


@asynccontextmanager
async def rig(file: Path, dial: Dial | None = None, **settings: Any) -> AsyncIterator[Rig]:
    settings = {"trip_after": 10_000, **settings}
    sim = Simulator("127.0.0.1", 0, file, dial or Dial())
    async with sim, connector(sim.url, **settings) as erp, aiohttp.ClientSession() as control:
        yield Rig(sim, erp, file, control)


def run(work: Callable[[], Awaitable[None]], loop: str = "asyncio") -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(work())  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "erp.jsonl"


def test_fit_it_honours_keys_and_its_file_is_what_was_sent(file: Path) -> None:
    async def work() -> None:
        async with rig(file) as r:
            orders = [an_order(1, 2, 3) for _ in range(100)]
            assert await r.many(orders) == {Kind.ACCEPTED: 100}
            assert await r.many(orders[:30]) == {Kind.DUPLICATE: 30}
            assert sorted(r.taken()) == sorted(str(order.id) for order in orders)
            digests = {effect["id"]: effect["digest"] for effect in read_effects(file)}
            assert digests == {str(order.id): order.digest.hex() for order in orders}
            stats = await r.ask("GET", "/_stats")
            assert (stats["effects"], stats["orders"], stats["repeats"], stats["listening"]) == (100, 100, 30, True)
            assert stats["answers"] == {"201": 100, "200": 30}
            assert (await r.ask("GET", "/_orders"))["ids"] == r.taken()
            assert await r.erp.probe()

    run(work)


def test_a_duplicate_gets_the_first_receipt_again(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(shortage_rate=1)) as r:
            order = an_order(4)
            first = await submit_one(r.erp, order)
            await r.turn()
            again = await submit_one(r.erp, order)
            assert (again.kind, again.receipt) == (Kind.DUPLICATE, first.receipt)
            assert (await r.erp.find([order.id], budget=5))[order.id].receipt == first.receipt

    run(work)


def test_it_lists_what_it_has_and_what_was_planted(file: Path) -> None:
    async def work() -> None:
        async with rig(file) as r:
            began = datetime.now(UTC)
            orders = [an_order(1) for _ in range(1200)]
            await r.many(orders)
            planted = (await r.ask("POST", "/_plant", {}))["id"]
            altered = await r.ask("POST", "/_alter", {"id": str(orders[0].id), "digest": "0" * 64})
            assert altered["digest"] == "0" * 64
            await r.ask("POST", "/_alter", {"id": str(an_order().id)}, 422)
            told, after = [], None
            while not told or after is not None:
                page = await r.erp.list(began, datetime.now(UTC), after=after, budget=5)
                assert page.failed is None
                told += page.orders
                after = page.next
            assert [str(order.id) for order in told] == r.taken()
            assert str(told[-1].id) == planted
            assert {order.digest for order in told if order.id == orders[0].id} == {bytes(32)}
            nothing = await r.erp.list(began - timedelta(days=1), began, after=None, budget=5)
            assert (nothing.orders, nothing.next, nothing.failed) == ((), None, None)

    run(work)


def test_a_key_with_other_content_is_suspicious(file: Path) -> None:
    async def work() -> None:
        async with rig(file) as r:
            order = an_order(1)
            await submit_one(r.erp, order)
            outcome = await submit_one(r.erp, an_order(9, order_id=order.id))
            assert (outcome.kind, outcome.status) == (Kind.SUSPICIOUS, 409)
            assert len(r.taken()) == 1

    run(work)


@pytest.mark.parametrize("loop", LOOPS)
def test_down_it_refuses_connections_until_it_is_up_again(file: Path, loop: str) -> None:
    async def work() -> None:
        async with rig(file) as r:
            for _ in range(3):
                assert (await r.one()).kind is Kind.ACCEPTED
                assert (await r.turn(down=True))["down"] is True
                outcome = await r.one()
                assert (outcome.kind, outcome.detail) == (Kind.TRANSIENT, "no connection to the ERP")
                assert not await r.erp.probe()
                assert (await r.ask("GET", "/_stats"))["listening"] is False
                await r.turn()
                assert await r.erp.probe()
            assert len(r.taken()) == 3

    run(work, loop)


def test_going_down_breaks_what_is_in_hand(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(latency_ms=60_000)) as r:
            sending = asyncio.create_task(r.one())
            await auntil(r.taken)
            await r.turn(down=True)
            assert (await sending).kind is Kind.UNKNOWN
            assert len(r.taken()) == 1, "it was taken all the same"

    run(work)


def test_hanging_it_takes_nothing_and_answers_nothing(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(hanging=True), erp_timeout=0.3) as r:
            assert (await r.one()).kind is Kind.UNKNOWN
            assert not await r.erp.probe()
            assert r.taken() == []
            assert (await r.ask("GET", "/_stats"))["answers"]["none"] >= 2

    run(work)


def test_slow_it_answers_about_the_median(file: Path) -> None:
    async def work() -> None:
        random.seed(7)
        async with rig(file, Dial(latency_ms=40, latency_sigma=0.5), erp_concurrency=50) as r:
            outcomes = await r.erp.submit([an_order() for _ in range(50)], budget=30)
            took = sorted(o.ended - o.started for o in outcomes.values() if o.started and o.ended)
            assert {outcome.kind for outcome in outcomes.values()} == {Kind.ACCEPTED}
            assert took[25].total_seconds() > 0.02
            assert took[-1].total_seconds() > 1.2 * took[5].total_seconds(), "spread"

    run(work)


def test_slower_than_the_deadline_it_has_taken_what_looks_lost(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(latency_ms=60_000), erp_timeout=0.3) as r:
            order = an_order()
            assert (await submit_one(r.erp, order)).kind is Kind.UNKNOWN
            await r.turn()
            assert (await r.erp.find([order.id], budget=5))[order.id].kind is Kind.ACCEPTED

    run(work)


@pytest.mark.parametrize(("status", "kind"), [(500, Kind.UNKNOWN), (503, Kind.TRANSIENT), (404, Kind.TRANSIENT)])
def test_errors_are_a_share_and_have_no_effect(file: Path, status: int, kind: Kind) -> None:
    async def work() -> None:
        random.seed(7)
        async with rig(file, Dial(error_rate=0.5, error_status=status)) as r:
            met = await r.many([an_order() for _ in range(100)])
            assert set(met) == {Kind.ACCEPTED, kind}
            assert 20 < met[kind] < 80
            assert len(r.taken()) == met[Kind.ACCEPTED]

    run(work)


def test_throttled_it_asks_for_a_pause(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(throttle=5, retry_after=7)) as r:
            orders = [an_order() for _ in range(40)]
            outcomes = await r.erp.submit(orders, budget=30)
            throttled = [outcome for outcome in outcomes.values() if outcome.kind is Kind.THROTTLED]
            assert {outcome.retry_after for outcome in throttled} == {7.0}
            assert 1 <= len(r.taken()) == 40 - len(throttled) < 20
            assert await r.erp.probe(), "only orders are throttled"
            await r.turn(throttle=1000)
            await auntil(lambda: submit_all(r, orders), what="all are taken in the end")
            assert sorted(r.taken()) == sorted(str(order.id) for order in orders)

    run(work)


def test_beyond_its_limit_it_turns_orders_away_and_takes_none_of_them(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(limit=10, latency_ms=300)) as r:
            outcomes = await r.erp.submit([an_order() for _ in range(14)], budget=30)
            kinds = Counter(outcome.kind for outcome in outcomes.values())
            assert kinds == {Kind.ACCEPTED: 10, Kind.TRANSIENT: 4}
            assert len(r.taken()) == 10
            assert {outcome.calls for outcome in outcomes.values()} == {1}
            await r.turn(limit=10)
            assert set(await r.many([an_order() for _ in range(40)])) == {Kind.ACCEPTED}, "none is in hand for long"

    run(work)


def test_brief_tries_are_counted(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(limit=1, latency_ms=30), tries=3) as r:
            first, second = (await r.erp.submit([an_order(), an_order()], budget=30)).values()
            assert (first.kind, first.calls) == (Kind.ACCEPTED, 1)
            assert (second.kind, second.calls > 1) == (Kind.ACCEPTED, True)

    run(work)


def test_the_limit_drifts(file: Path) -> None:
    taken = []
    with mock.patch("time.monotonic", return_value=0.0) as clock:
        conduct = Conduct(Book(file), Dial(limit=10, limit_drift=0.5, limit_period=40, latency_ms=1000))
        for clock.return_value in (0.0, 10.0, 30.0):
            orders = [an_order() for _ in range(20)]
            replies = [
                conduct.answer("POST", "/orders", {"idempotency-key": str(order.id)}, order.body) for order in orders
            ]
            taken.append(sum(reply is not None and reply.label == "201" for reply in replies))
    conduct.book.close()
    assert taken == [10, 15, 5]


async def submit_all(r: Rig, orders: Sequence[Submission]) -> bool:
    return set(await r.many(orders)) <= {Kind.ACCEPTED, Kind.DUPLICATE}


@pytest.mark.parametrize(
    ("garbage", "kind", "words", "taken"),
    [
        ("html", Kind.SUSPICIOUS, "text/html", 0),
        ("truncated", Kind.UNKNOWN, "broke off", 1),
        ("oversized", Kind.SUSPICIOUS, "larger", 1),
        ("wrong_type", Kind.SUSPICIOUS, "text/plain", 1),
    ],
)
def test_garbage(file: Path, garbage: Any, kind: Kind, words: str, taken: int) -> None:
    async def work() -> None:
        async with rig(file, Dial(garbage=garbage)) as r:
            order = an_order()
            outcome = await submit_one(r.erp, order)
            assert outcome.kind is kind
            assert words in outcome.detail
            assert len(r.taken()) == taken
            found = await r.erp.find([order.id], budget=5)
            assert found[order.id].kind in (Kind.SUSPICIOUS, Kind.UNKNOWN)
            assert not await r.erp.probe()

    run(work)


def test_dying_before_the_answer_leaves_an_effect_that_find_knows(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(die_before_answer=1), erp_idempotent=False) as r:
            order = an_order()
            assert (await submit_one(r.erp, order)).kind is Kind.UNKNOWN
            assert (await r.erp.find([order.id], budget=5))[order.id].kind is Kind.ACCEPTED
            assert r.taken() == [str(order.id)]

    run(work)


def test_dying_before_the_answer_costs_no_second_effect_under_a_key(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(die_before_answer=1), tries=2) as r:
            orders = [an_order() for _ in range(20)]
            assert await r.many(orders) == {Kind.DUPLICATE: 20}
            assert Counter(r.taken()) == Counter(str(order.id) for order in orders)

    run(work)


def test_confirming_later_it_is_polled(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(confirm_later=0.4, refuse_products=frozenset([MEDICINES[1]]))) as r:
            good, bad = an_order(1), an_order(1, 1)
            assert await r.many([good, bad]) == {Kind.PENDING: 2}
            assert await r.many([good]) == {Kind.PENDING: 1}
            assert (await r.erp.poll([good.id], budget=5))[good.id].kind is Kind.PENDING

            async def decided() -> bool:
                told = await r.erp.poll([good.id, bad.id], budget=5)
                return [told[good.id].kind, told[bad.id].kind] == [Kind.ACCEPTED, Kind.REFUSED]

            await auntil(decided)
            assert await r.many([good]) == {Kind.DUPLICATE: 1}
            assert await r.many([bad]) == {Kind.REFUSED: 1}
            refused = {effect["id"]: effect.get("refused") for effect in read_effects(file)}
            assert refused[str(good.id)] is None
            assert MEDICINES[1] in (refused[str(bad.id)] or "")

    run(work)


def test_without_keys_every_submission_is_an_effect(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(idempotent=False)) as r:
            order = an_order()
            assert await r.many([order]) == await r.many([order]) == {Kind.ACCEPTED: 1}
            assert r.taken() == [str(order.id)] * 2, "what Relais must ask first to avoid"
            assert (await r.erp.find([order.id], budget=5))[order.id].kind is Kind.ACCEPTED
            stats = await r.ask("GET", "/_stats")
            assert (stats["effects"], stats["orders"]) == (2, 1)

    run(work)


def test_refusals_are_by_product_or_a_share_that_stays_the_same(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(refuse_products=frozenset([MEDICINES[1]]))) as r:
            outcome = await r.one(1, 1)
            assert outcome.kind is Kind.REFUSED
            assert outcome.detail == f"line 2: product {MEDICINES[1]} is not sold"
            await r.turn(refuse_rate=0.4)
            orders = [an_order() for _ in range(100)]
            met = await r.many(orders)
            assert 15 < met[Kind.REFUSED] < 65
            assert (await r.many(orders))[Kind.REFUSED] == met[Kind.REFUSED]
            assert len(r.taken()) == met[Kind.ACCEPTED], "a refusal has no effect"

    run(work)


def test_a_shortage_is_a_receipt_with_a_reason(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(shortage_rate=1)) as r:
            receipt = (await r.one(5, 1)).receipt
            assert receipt is not None
            assert [(line.accepted, line.reason) for line in receipt.lines] == [
                (2, "out of stock"),
                (0, "out of stock"),
            ]

    run(work)


def test_lines_are_substituted_back_ordered_and_refused(file: Path) -> None:
    async def work() -> None:
        other, why = "3400930000001", "0003 Produit supprimé"
        dial = Dial(substitutes={MEDICINES[0]: other}, refuse_lines={MEDICINES[1]: why}, back_order_rate=1)
        async with rig(file, dial, erp_allow_substitution=True) as r:
            receipt = (await r.one(5, 3, 1)).receipt
            assert receipt is not None
            day = datetime.now(UTC).date() + timedelta(days=2)
            assert receipt.lines == (
                ErpReceiptLine(1, MEDICINES[0], 2, "on back-order", other, 3, day),
                ErpReceiptLine(2, MEDICINES[1], 0, why),
                ErpReceiptLine(3, MEDICINES[2], 0, "on back-order", None, 1, day),
            )

    run(work)


def test_a_substitute_that_is_not_allowed_is_evidence(file: Path) -> None:
    async def work() -> None:
        async with rig(file, Dial(substitutes={MEDICINES[0]: "3400930000001"})) as r:
            outcome = await r.one(5)
            assert (outcome.kind, outcome.evidence) == (Kind.SUSPICIOUS, Evidence.WRONG_LINES)
            assert outcome.detail.endswith(f"line 1: 3400930000001 in the place of {MEDICINES[0]}")

    run(work)


@pytest.mark.parametrize(("tamper", "words"), [("digest", "other bytes"), ("quantity", "2 of 1 boxes")])
def test_tampering_is_noticed(file: Path, tamper: Any, words: str) -> None:
    async def work() -> None:
        async with rig(file, Dial(tamper=tamper)) as r:
            outcomes = await r.erp.submit([an_order(1) for _ in range(200)], budget=20)
            kinds = Counter(outcome.kind for outcome in outcomes.values())
            assert kinds[Kind.SUSPICIOUS] >= 1
            assert kinds[Kind.UNSENT] >= 200 - 64, "nothing more is sent once one was suspicious"
            assert any(words in outcome.detail for outcome in outcomes.values())

    run(work)


@pytest.mark.parametrize("by", ["since", "last"])
def test_a_restore_from_backup_forgets_what_came_after(file: Path, by: str) -> None:
    async def work() -> None:
        async with rig(file) as r:
            old, young = [an_order() for _ in range(6)], [an_order() for _ in range(4)]
            await r.many(old)
            wanted: Any = {"last": 0.4} if by == "last" else {"since": datetime.now(UTC).isoformat()}
            await r.many(young)
            lost = (await r.ask("POST", "/_forget", wanted))["ids"]
            assert sorted(lost) == sorted(str(order.id) for order in young)
            found = await r.erp.find([order.id for order in old + young], budget=5)
            assert Counter(outcome.kind for outcome in found.values()) == {Kind.ACCEPTED: 6, Kind.ABSENT: 4}
            assert await r.many(old + young) == {Kind.DUPLICATE: 6, Kind.ACCEPTED: 4}

    run(work)


def test_the_control_endpoint_takes_only_what_it_knows(file: Path) -> None:
    async def work() -> None:
        async with rig(file) as r:
            await r.ask("PUT", "/_dial", {"dwon": True}, status=422)
            await r.ask("PUT", "/_dial", {"error_rate": 1.5}, status=422)
            await r.ask("PATCH", "/_dial", [1], status=422)
            await r.ask("POST", "/_forget", {}, status=422)
            await r.ask("GET", "/_nothing", status=404)
            assert await r.ask("GET", "/_dial") == Dial().model_dump(mode="json")
            assert (await r.turn(latency_ms=3, refuse_rate=0.1))["latency_ms"] == 3
            patched = await r.ask("PATCH", "/_dial", {"refuse_rate": 0})
            assert (patched["latency_ms"], patched["refuse_rate"]) == (3, 0)
            async with aiohttp.ClientSession() as session, session.get(r.sim.url + "/_dial") as answer:
                assert (await answer.json())["latency_ms"] == 3, "the ERP's own port tells it too"

    run(work)


@contextmanager
def process(file: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The simulator as a process of its own, and where it listens."""
    argv = [sys.executable, "-m", "workers.erp.sim", "--file", str(file), *options]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}) as child:
        try:
            assert child.stdout is not None
            yield child, json.loads(child.stdout.readline())
        finally:
            child.kill()


def test_killed_it_has_every_order_that_it_answered(file: Path) -> None:
    answered: list[Submission] = []

    async def flood(url: str, child: subprocess.Popen[str]) -> None:
        async with connector(url, erp_concurrency=16, trip_after=10_000) as erp:
            while child.poll() is None:
                orders = [an_order() for _ in range(50)]
                outcomes = await erp.submit(orders, budget=20)
                answered.extend(order for order in orders if outcomes[order.id].kind is Kind.ACCEPTED)
                if len(answered) >= 150:
                    asyncio.get_running_loop().call_later(0.01, child.send_signal, signal.SIGKILL)

    with process(file, "--port", "0") as (child, places):
        asyncio.run(flood(places["erp"], child))
        port = places["erp"].rpartition(":")[2]

    async def ask_again(url: str) -> Counter[Kind]:
        async with connector(url) as erp:
            found = await erp.find([order.id for order in answered], budget=20)
            return Counter(outcome.kind for outcome in found.values())

    assert len(answered) >= 150
    with process(file, "--port", port) as (child, places):
        assert asyncio.run(ask_again(places["erp"])) == {Kind.ACCEPTED: len(answered)}
        child.terminate()
        assert child.wait(10) == 0
    taken = Counter(effect["id"] for effect in read_effects(file))
    assert set(taken.values()) == {1}
    assert {str(order.id) for order in answered} <= set(taken)


def test_flags_turn_the_dial(file: Path) -> None:
    flags = [
        "--port",
        "0",
        "--down",
        "true",
        "--error-rate",
        "0.25",
        "--garbage",
        "html",
        "--refuse-products",
        '["340"]',
    ]
    with process(file, *flags) as (_, places):

        def dial() -> Dial:
            with urlopen(Request(places["control"] + "/_dial"), timeout=5) as answer:
                return Dial.model_validate_json(answer.read())

        expected = Dial(down=True, error_rate=0.25, garbage="html", refuse_products=frozenset(["340"]))
        assert until(dial) == expected
        with pytest.raises(OSError, match="refused"):
            urlopen(places["erp"] + "/health", timeout=5)
