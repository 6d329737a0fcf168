"""Over HTTP: a client past its rate, an intake that has its hands full, and the metrics that tell of both."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import text
from starlette.types import Message

from config.settings import Settings
from orders.access import clients
from orders.access.clients import Scope
from orders.api import Parts, create_app, state
from orders.api.rounds import READERS, Rounds
from orders.journal import connect, transactional
from tests.intake import RawCall, clients_over_http
from tests.machines.roles import above
from tests.waiting import auntil
from workers.intake.rate_limit import RateLimit

ORDER = {"pharmacy": "990000002", "lines": [{"product": "3400937318044", "quantity": 2}]}
SLOW = 0.01  # orders a second


def order(number: int) -> dict[str, Any]:
    return {**ORDER, "reference": f"R{number}"}


async def metrics(call: RawCall) -> dict[str, float]:
    status, headers, body = await call("ops", "GET", "/metrics")
    assert (status, headers["Content-Type"].startswith("text/plain")) == (200, True)
    return {
        ",".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_a_client_past_its_rate_is_told_when_to_come_back_and_no_other_notices(settings: Settings) -> None:
    async def work(call: RawCall) -> None:
        assert [(await call("wild", "POST", "/orders", json=order(n)))[0] for n in range(3)] == [202] * 3
        status, headers, body = await call("wild", "POST", "/orders", json=order(3))
        assert (status, json.loads(body)["type"]) == (429, "urn:relais:problem:throttled")
        assert 90 < int(headers["Retry-After"]) <= 100
        assert (await call("calm", "POST", "/orders", json=order(4)))[0] == 202
        found = await metrics(call)
        assert (found["relais_intake_orders_total,accepted"], found["relais_intake_orders_total,throttled"]) == (4, 1)
        assert (
            found["relais_intake_requests_total,/orders,2xx"],
            found["relais_intake_requests_total,/orders,4xx"],
        ) == (4, 1)
        assert (found["relais_intake_rate_limit_open"], found["relais_intake_mode,journal"]) == (0, 1)
        assert found["relais_intake_group_orders_sum"] == 4

    may = {"wild": {"rate": SLOW, "burst": 3}, "calm": {}, "ops": {"scopes": [Scope.OPS]}}
    clients_over_http(settings, may, work, Parts(rate=RateLimit(settings.need("redis_url"))))


def test_a_batch_past_its_clients_rate_waits_and_is_taken(settings: Settings) -> None:
    async def work(call: RawCall) -> None:
        body = b"".join(json.dumps(order(number)).encode() + b"\n" for number in range(60))
        for _ in range(3):
            status, _, answers = await call("front", "POST", "/orders/batch", data=body)
            said = [json.loads(line)["status"] for line in answers.splitlines()]
            assert (status, len(said), {*said} <= {"accepted", "repeated"}) == (200, 60, True)
        assert (await metrics(call))["relais_intake_orders_total,repeated"] == 120

    may = {"front": {"rate": 200.0, "burst": 50}, "ops": {"scopes": [Scope.OPS]}}
    clients_over_http(settings, may, work, Parts(rate=RateLimit(settings.need("redis_url"))))


def test_a_redis_that_is_gone_throttles_nobody_and_the_metrics_say_so(settings: Settings) -> None:
    async def work(call: RawCall) -> None:
        await call("wild", "POST", "/orders", json=order(0))

        async def is_open() -> bool:
            return (await metrics(call))["relais_intake_rate_limit_open"] == 1

        await auntil(is_open)
        assert [(await call("wild", "POST", "/orders", json=order(n)))[0] for n in range(1, 20)] == [202] * 19
        assert (await metrics(call))["relais_intake_rate_limit_errors_total"] >= 1

    may = {"wild": {"rate": SLOW, "burst": 1}, "ops": {"scopes": [Scope.OPS]}}
    clients_over_http(settings, may, work, Parts(rate=RateLimit("redis://127.0.0.1:1/0")))


def test_an_intake_that_has_its_hands_full_sheds_and_what_it_has_in_hand_is_taken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(call: RawCall) -> None:
        last = asyncio.Event()

        async def slowly(number: int) -> AsyncIterator[bytes]:
            body = json.dumps(order(number)).encode()
            yield body[:20]
            await last.wait()
            yield body[20:]

        held = [asyncio.create_task(call("front", "POST", "/orders", data=slowly(n))) for n in range(2)]

        async def full() -> bool:
            found = await metrics(call)
            return (found["relais_intake_in_hand_requests"], found["relais_intake_in_hand_bytes"]) == (2, 40)

        await auntil(full)
        for _ in range(3):
            status, headers, body = await call("front", "POST", "/orders", json=order(9))
            assert (status, json.loads(body)["type"]) == (503, "urn:relais:problem:busy")
            assert int(headers["Retry-After"]) >= 1
        last.set()
        assert [status for status, _, _ in await asyncio.gather(*held)] == [202, 202]
        assert (await call("front", "POST", "/orders", json=order(9)))[0] == 202
        found = await metrics(call)
        assert (found["relais_intake_orders_total,shed"], found["relais_intake_in_hand_requests"]) == (3, 0)

    may: dict[str, dict[str, Any]] = {"front": {}, "ops": {"scopes": [Scope.OPS]}}
    monkeypatch.setattr(state, "MOST_REQUESTS", 4)
    clients_over_http(settings, may, work)


def test_bodies_past_the_bound_of_bytes_are_shed_while_smaller_ones_are_taken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(call: RawCall) -> None:
        large = {**order(1), "note": "x" * 500}
        assert (await call("front", "POST", "/orders", json=large))[0] == 503
        assert (await call("front", "POST", "/orders", json=order(2)))[0] == 202
        assert (await metrics(call))["relais_intake_in_hand_bytes"] == 0

    may: dict[str, dict[str, Any]] = {"front": {}, "ops": {"scopes": [Scope.OPS]}}
    monkeypatch.setattr(state, "MOST_BYTES", 300)
    clients_over_http(settings, may, work)


def test_a_list_that_its_client_does_not_take_holds_no_turn(settings: Settings) -> None:
    async def nothing() -> Message:
        return {"type": "http.request", "body": b""}

    async def main(key: str) -> None:
        app, never, answers = create_app(settings), asyncio.Event(), asyncio.Queue[Message]()
        phases = asyncio.Queue[Message]()
        phases.put_nowait({"type": "lifespan.startup"})
        life = asyncio.create_task(app({"type": "lifespan"}, phases.get, answers.put))
        assert (await answers.get())["type"] == "lifespan.startup.complete"
        head = [(b"authorization", f"Bearer {key}".encode())]
        asked = {
            "type": "http",
            "method": "GET",
            "path": "/orders",
            "query_string": b"",
            "headers": head,
            "client": None,
        }

        async def untaken(message: Message) -> None:
            answers.put_nowait(message)
            await never.wait()

        slow = [asyncio.create_task(app({**asked}, nothing, untaken)) for _ in range(2 * READERS)]
        for _ in slow:
            assert (await asyncio.wait_for(answers.get(), 10))["status"] == 200
        await asyncio.wait_for(app({**asked}, nothing, answers.put), 10)
        assert (await answers.get())["status"] == 200
        for each in slow:
            each.cancel()
        phases.put_nowait({"type": "lifespan.shutdown"})
        await life

    async def add() -> str:
        engine = connect(above(settings.need("database_url")))
        key = await clients.add(engine, "front")
        await engine.dispose()
        return key

    asyncio.run(main(asyncio.run(add())))


def test_an_erreur_of_pharmaml_is_told_in_a_turn_of_refusals(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    refusal = Rounds.refusal

    async def noted(self: Rounds, client: str) -> None:
        told.append(client)
        await refusal(self, client)

    async def work(call: RawCall) -> None:
        status, _, body = await call("front", "POST", "/pharmaml", data=b"<a/>")
        assert (status, b"ERREUR" in body, told) == (200, True, ["front"])

    monkeypatch.setattr(Rounds, "refusal", noted)
    clients_over_http(settings, {"front": {}}, work)


def test_the_metrics_are_for_operations_only(settings: Settings) -> None:
    async def work(call: RawCall) -> None:
        assert (await call("front", "GET", "/metrics"))[0] == 403
        assert (await call("ops", "POST", "/orders", json=order(1)))[0] == 403
        found = await metrics(call)
        assert (
            found["relais_intake_orders_total,forbidden"],
            found["relais_intake_requests_total,/metrics,4xx"],
        ) == (1, 1)

    clients_over_http(settings, {"front": {}, "ops": {"scopes": [Scope.OPS]}}, work)


WRITTEN = [("bearer  sesame", 200), ("BEARER sesame", 200), ("Bearer sesam", 401), ("Basic sesame", 401)]


def test_the_metrics_open_to_the_token_however_its_scheme_is_written(settings: Settings) -> None:
    async def work(call: RawCall) -> None:
        for said, wanted in WRITTEN:
            status, _, _ = await call("front", "GET", "/metrics", said=said)
            assert (said, status) == (said, wanted)

    clients_over_http(settings.replace(metrics_token=SecretStr("sesame")), {"front": {}}, work)


def test_one_that_reads_much_takes_no_connection_from_orders(settings: Settings) -> None:
    async def work(call: RawCall) -> None:
        first = json.loads((await call("calm", "POST", "/orders", json=order(1)))[2])["id"]
        engine = transactional(connect(above(settings.need("database_url"))))
        async with engine.connect() as connection:
            await connection.execute(text("LOCK TABLE attempts IN ACCESS EXCLUSIVE MODE"))
            reading = [asyncio.create_task(call("wild", "GET", f"/orders/{first}")) for _ in range(50)]
            listening = [asyncio.create_task(call("wild", "GET", f"/orders/{first}/events")) for _ in range(50)]
            for number in range(2, 20):
                status, _, body = await call("calm", "POST", "/orders", json=order(number))
                assert (status, json.loads(body)["kept"]) == (202, "journal")
            assert not any(task.done() for task in reading)
            for task in reading + listening:
                task.cancel()
        await engine.dispose()

    clients_over_http(settings, {"wild": {}, "calm": {}}, work)


def test_one_that_listens_much_leaves_streams_for_others(settings: Settings) -> None:
    async def work(call: RawCall) -> None:
        ids = [json.loads((await call("calm", "POST", "/orders", json=order(n)))[2])["id"] for n in range(5)]
        listening = [asyncio.create_task(call("wild", "GET", f"/orders/{each}/events")) for each in ids[:2]]

        async def open_streams() -> bool:
            return (await metrics(call))["relais_intake_listeners"] == 2

        await auntil(open_streams)
        status, _, body = await call("wild", "GET", f"/orders/{ids[2]}/events")
        assert (status, json.loads(body)["type"]) == (503, "urn:relais:problem:busy")
        listening.append(asyncio.create_task(call("calm", "GET", f"/orders/{ids[3]}/events")))

        async def another() -> bool:
            return (await metrics(call))["relais_intake_listeners"] == 3

        await auntil(another)
        for task in listening:
            task.cancel()

    may: dict[str, dict[str, Any]] = {"wild": {}, "calm": {}, "ops": {"scopes": [Scope.OPS]}}
    clients_over_http(settings, may, work, Parts(listeners=4))


def test_streams_that_begin_at_once_wait_for_their_turn_and_are_not_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MOST_READINGS", 2)  # one of a client that is alone

    async def work(call: RawCall) -> None:
        ids = [json.loads((await call("front", "POST", "/orders", json=order(n)))[2])["id"] for n in range(8)]
        listening = [asyncio.create_task(call("front", "GET", f"/orders/{each}/events")) for each in ids]

        async def all_open() -> bool:
            assert not any(task.done() for task in listening), "a stream was refused"
            return (await metrics(call))["relais_intake_listeners"] == 8

        await auntil(all_open)
        for task in listening:
            task.cancel()

    clients_over_http(settings, {"front": {}, "ops": {"scopes": [Scope.OPS]}}, work, Parts(listeners=16))
