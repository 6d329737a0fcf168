"""The HTTP connector over loopback: what it sends, when it tries again, when it stops, and what it then says."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.machines.erp import (
    an_order,
    answering,
    connector,
    good,
    raw_server,
    read_request,
    receipt_for,
    response,
    settings_for,
    submit_one,
)
from tests.waiting import auntil
from workers.erp.http import HttpErp
from workers.erp.http import connector as http_connector
from workers.erp.port import Kind, Outcome
from workers.erp.sim.reply import as_json
from workers.erp.sim.server import Port

HTML = response(200, b"<h1>Maintenance</h1>", "text/html")


def kinds(outcomes: dict[UUID, Outcome]) -> Counter[Kind]:
    return Counter(outcome.kind for outcome in outcomes.values())


class Counted:
    """A handler that counts requests and connections and how many requests are in hand at once."""

    def __init__(self, answer: Callable[[int, bytes], bytes | Awaitable[bytes]]) -> None:
        self.answer = answer
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.connections = self.at_once = self.most_at_once = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            headers, body = await read_request(reader)
            self.requests.append((headers, body))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            answer = self.answer(len(self.requests), body)
            data = answer if isinstance(answer, bytes) else await answer
            self.at_once -= 1
            if not data:
                writer.transport.abort()
                return
            writer.write(data)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


def test_an_order_goes_out_byte_for_byte_under_its_key() -> None:
    async def work() -> None:
        server = Counted(lambda _, body: good(body))
        order = replace(an_order(2, 7), request_id="checkout-7f3a")
        async with raw_server(server) as url, connector(url + "/api/", erp_token="s3cret") as erp:
            outcome = await submit_one(erp, order)
        ((headers, body),) = server.requests
        assert body == order.body
        assert headers["idempotency-key"] == str(order.id)
        assert headers["x-request-id"] == "checkout-7f3a"
        assert headers["relais-digest"] == f"sha-256={order.digest.hex()}"
        assert headers["content-type"] == "application/json"
        assert headers["authorization"] == "Bearer s3cret"
        assert headers["accept-encoding"] == "identity"
        assert (outcome.kind, outcome.status) == (Kind.ACCEPTED, 201)
        assert outcome.receipt is not None and outcome.receipt.digest == order.digest
        assert [line.accepted for line in outcome.receipt.lines] == [2, 7]
        assert outcome.started is not None and outcome.started.tzinfo is UTC

    run(work)


def test_two_hundred_orders_share_a_few_connections() -> None:
    async def slowly(body: bytes) -> bytes:
        await asyncio.sleep(0.005)
        return good(body)

    async def work() -> None:
        server = Counted(lambda _, body: slowly(body))
        orders = [an_order() for _ in range(200)]
        async with raw_server(server) as url, connector(url, erp_concurrency=8) as erp:
            outcomes = await erp.submit(orders, budget=30)
            again, third = await asyncio.gather(*(erp.submit(orders[:50], budget=30) for _ in range(2)))
        assert list(outcomes) == [order.id for order in orders]
        assert kinds(outcomes) == {Kind.ACCEPTED: 200}
        assert kinds(again) == kinds(third) == {Kind.ACCEPTED: 50}
        assert server.most_at_once <= 8
        assert server.connections <= 8, "connections are kept"

    run(work)


def test_when_the_budget_is_out_what_is_in_flight_is_unknown_and_the_rest_unsent() -> None:
    async def never(body: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def work() -> None:
        server = Counted(lambda n, body: good(body) if n <= 3 else never(body))
        async with raw_server(server) as url, connector(url, erp_concurrency=4, erp_timeout=10) as erp:
            began = time.monotonic()
            outcomes = await erp.submit([an_order() for _ in range(20)], budget=0.5)
            assert time.monotonic() - began < 2
        assert kinds(outcomes) == {Kind.ACCEPTED: 3, Kind.UNKNOWN: 4, Kind.UNSENT: 13}
        assert len(server.requests) == 7

    run(work)


def test_a_call_has_a_deadline_of_its_own_even_when_bytes_trickle_in() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n")
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.02)

    async def work() -> None:
        async with raw_server(trickle) as url, connector(url, erp_timeout=0.4) as erp:
            began = time.monotonic()
            assert (await submit_one(erp, an_order())).kind is Kind.UNKNOWN
            assert 0.3 < time.monotonic() - began < 2

    run(work)


def test_a_dead_erp_is_not_hammered() -> None:
    async def work() -> None:
        port = Port("127.0.0.1", 0, lambda *_: None)
        async with connector(f"http://127.0.0.1:{port.number}", erp_concurrency=4, trip_after=5) as erp:
            outcomes = await erp.submit([an_order() for _ in range(200)], budget=30)
        await port.close()
        met = kinds(outcomes)
        assert 5 <= met[Kind.TRANSIENT] <= 8, "those in a row, and those then in flight"
        assert met[Kind.UNSENT] == 200 - met[Kind.TRANSIENT]
        assert "no connection" in list(outcomes.values())[-1].detail

    run(work)


def test_failures_with_successes_between_do_not_stop_a_batch() -> None:
    async def work() -> None:
        refusal = response(422, b'{"error":"no"}')
        server = Counted(lambda n, body: (response(500), response(500), refusal, good(body))[n % 4])
        async with raw_server(server) as url, connector(url, erp_concurrency=1, trip_after=3) as erp:
            outcomes = await erp.submit([an_order() for _ in range(40)], budget=30)
        assert kinds(outcomes) == {Kind.UNKNOWN: 20, Kind.REFUSED: 10, Kind.ACCEPTED: 10}

    run(work)


def test_one_suspicious_answer_stops_the_batch_at_once() -> None:
    async def work() -> None:
        server = Counted(lambda n, body: HTML if n == 3 else good(body))
        async with raw_server(server) as url, connector(url, erp_concurrency=1) as erp:
            outcomes = await erp.submit([an_order() for _ in range(20)], budget=30)
        assert kinds(outcomes) == {Kind.ACCEPTED: 2, Kind.SUSPICIOUS: 1, Kind.UNSENT: 17}
        assert len(server.requests) == 3, "a compromised ERP gets nothing more"

    run(work)


RESET = b""


@pytest.mark.parametrize(
    ("idempotent", "answers", "kind", "requests"),
    [
        (False, [response(503), good], Kind.ACCEPTED, 2),
        (False, [response(503, Retry_After="0"), response(503), good], Kind.ACCEPTED, 3),
        (False, [response(503)], Kind.TRANSIENT, 3),
        (False, [response(503, Retry_After="60"), good], Kind.TRANSIENT, 1),
        (False, [response(429, Retry_After="0"), good], Kind.ACCEPTED, 2),
        (False, [response(429, Retry_After="0"), response(429, Retry_After="60")], Kind.THROTTLED, 2),
        (False, [response(429), good], Kind.THROTTLED, 1),
        (False, [response(401), good], Kind.TRANSIENT, 1),
        (True, [response(500), good], Kind.UNKNOWN, 1),
        (True, [response(422, b'{"error":"no"}'), good], Kind.REFUSED, 1),
        (True, [HTML, good], Kind.SUSPICIOUS, 1),
        (True, [RESET, good], Kind.ACCEPTED, 2),
        (False, [RESET, good], Kind.UNKNOWN, 1),
        (True, [RESET, response(503)], Kind.UNKNOWN, 3),
        (True, [RESET, response(429, Retry_After="9")], Kind.UNKNOWN, 2),
    ],
)
def test_what_is_tried_again_at_once(idempotent: bool, answers: list[Any], kind: Kind, requests: int) -> None:
    async def work() -> None:
        server = Counted(lambda n, body: _answer(answers[min(n, len(answers)) - 1], body))
        async with raw_server(server) as url, connector(url, tries=3, erp_idempotent=idempotent) as erp:
            outcome = await submit_one(erp, an_order())
        assert (outcome.kind, len(server.requests)) == (kind, requests), outcome
        assert len({headers["idempotency-key"] for headers, _ in server.requests}) == 1

    run(work)


def _answer(answer: Any, body: bytes) -> bytes:
    return bytes(answer(body) if callable(answer) else answer)


def test_what_the_erp_asks_for_is_passed_on() -> None:
    async def work() -> None:
        async with raw_server(answering(response(429, Retry_After="30"))) as url, connector(url) as erp:
            outcome = await submit_one(erp, an_order())
        assert (outcome.kind, outcome.retry_after, outcome.status) == (Kind.THROTTLED, 30.0, 429)

    run(work)


def test_an_erp_that_comes_back_within_the_brief_tries_costs_nothing() -> None:
    async def work() -> None:
        async def open_soon(port: Port) -> None:
            await asyncio.sleep(0.02)
            await port.open()

        port = Port("127.0.0.1", 0, lambda method, path, headers, body: as_json(201, receipt_for(body)))
        async with connector(f"http://127.0.0.1:{port.number}", tries=10) as erp:
            opening = asyncio.create_task(open_soon(port))
            outcome = await submit_one(erp, an_order())
            await opening
        await port.close()
        assert outcome.kind is Kind.ACCEPTED

    run(work)


def test_an_order_that_goes_well_never_meets_tenacity(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forbidden(*_: object, **__: object) -> None:
        raise AssertionError

    async def work() -> None:
        monkeypatch.setattr(http_connector, "try_again", forbidden)
        async with raw_server(answering(good)) as url, connector(url, tries=3) as erp:
            assert kinds(await erp.submit([an_order() for _ in range(5)], budget=9)) == {Kind.ACCEPTED: 5}

    run(work)


def test_a_connection_that_the_erp_dropped_while_it_was_idle_is_not_used() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await read_request(reader)
        writer.write(good(body))
        await writer.drain()

    async def work() -> None:
        async with raw_server(once) as url, connector(url, erp_idempotent=False) as erp:
            for _ in range(5):
                assert (await submit_one(erp, an_order())).kind is Kind.ACCEPTED
                await auntil(lambda: not kept(erp))

    run(work)


def kept(erp: HttpErp) -> bool:
    """Whether the pool holds a connection that still stands."""
    pool: Any = erp._transport.session().connector
    return any(connection.is_connected() for held in pool._conns.values() for connection, _ in held)


def test_find_asks_in_parts_and_tells_of_every_id() -> None:
    async def work() -> None:
        known, ids = an_order(3), [uuid4() for _ in range(119)]
        entry = {"id": str(known.id), "state": "accepted", **receipt_for(known.body)}

        def answer(_: int, body: bytes) -> bytes:
            asked = json.loads(body)["ids"]
            assert len(asked) <= 50
            return response(200, json.dumps({"orders": [entry] if str(known.id) in asked else []}).encode())

        server = Counted(answer)
        async with raw_server(server) as url, connector(url) as erp:
            found = await erp.find([*ids, known.id], budget=10)
            assert (await erp.poll([known.id], budget=10))[known.id].receipt == found[known.id].receipt
            assert await erp.find([], budget=10) == {}
        assert list(found) == [*ids, known.id]
        assert kinds(found) == {Kind.ABSENT: 119, Kind.ACCEPTED: 1}
        assert all(outcome.started and outcome.ended for outcome in found.values())
        assert len(server.requests) == 4

    run(work)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (response(422, b'{"error":"what?"}'), Kind.UNKNOWN),
        (response(404), Kind.UNKNOWN),
        (response(429, Retry_After="9"), Kind.UNKNOWN),
        (response(503), Kind.UNKNOWN),
        (response(500), Kind.UNKNOWN),
        (RESET, Kind.UNKNOWN),
        (HTML, Kind.SUSPICIOUS),
        (response(302, Location="/"), Kind.SUSPICIOUS),
        (response(200, b'{"orders":[{"id":"7","state":"accepted"}]}'), Kind.SUSPICIOUS),
    ],
)
def test_a_find_that_fails_leaves_orders_unknown(answer: bytes, kind: Kind) -> None:
    async def work() -> None:
        ids = [uuid4(), uuid4()]
        async with raw_server(answering(answer)) as url, connector(url) as erp:
            found = await erp.find(ids, budget=5)
        assert kinds(found) == {kind: 2}
        assert all(outcome.detail.startswith("could not be asked") for outcome in found.values())

    run(work)


def test_a_find_in_an_outage_or_without_time_leaves_orders_unknown() -> None:
    async def work() -> None:
        port = Port("127.0.0.1", 0, lambda *_: None)
        async with connector(f"http://127.0.0.1:{port.number}") as erp:
            for budget in (5.0, 0.0):
                assert kinds(await erp.find([uuid4()], budget=budget)) == {Kind.UNKNOWN: 1}
        await port.close()

    run(work)


def test_a_find_whose_answer_is_too_large_is_asked_in_halves() -> None:
    async def work() -> None:
        def answer(_: int, body: bytes) -> bytes:
            asked = json.loads(body)["ids"]
            orders = [{"id": order_id, "state": "pending", "reference": "P"} for order_id in asked]
            told = json.dumps({"orders": orders}).encode()
            return response(200, told.ljust(1_200_000) if len(asked) > 10 else told)

        ids = [uuid4() for _ in range(40)]
        async with raw_server(Counted(answer)) as url, connector(url) as erp:
            assert kinds(await erp.find(ids, budget=10)) == {Kind.PENDING: 40}

    run(work)


@pytest.mark.parametrize(
    ("answer", "fit"),
    [
        (response(200, b'{"status":"ok"}'), True),
        (response(200, b'{"status":"ok","version":3}'), True),
        (response(200, b'{"status":"starting"}'), False),
        (response(200, b"[]"), False),
        (response(200, b'{"status":"ok"}', "text/html"), False),
        (response(503, b'{"status":"ok"}'), False),
        (response(302, b'{"status":"ok"}', Location="/"), False),
        (RESET, False),
    ],
)
def test_probe_is_true_only_for_an_erp_that_says_it_is_fit(answer: bytes, fit: bool) -> None:
    async def work() -> None:
        async with raw_server(answering(answer)) as url, connector(url) as erp:
            assert await erp.probe() is fit

    run(work)


def test_a_probe_has_a_deadline() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def work() -> None:
        async with raw_server(silent) as url, connector(url, erp_timeout=0.2) as erp:
            assert await erp.probe() is False

    run(work)


def test_a_connector_can_be_made_before_there_is_a_loop_and_closed_twice() -> None:
    erp = HttpErp(settings_for("http://127.0.0.1:1"))

    async def work() -> None:
        await erp.close()
        assert await erp.probe() is False
        await erp.close()
        await erp.close()
        assert await erp.submit([], budget=1) == {}

    run(work)
    assert erp.capabilities.idempotent and erp.capabilities.asynchronous and erp.capabilities.can_find
    assert not HttpErp(settings_for("http://127.0.0.1:1", erp_idempotent=False)).capabilities.idempotent
