"""The intake over HTTP: a real uvicorn on a real journal."""

import asyncio
import io
import json

import pytest
from openapi_spec_validator import validate

from config.settings import Settings
from orders.access import clients
from orders.api import BODY_LIMIT
from orders.journal import connect
from orders.model import Order
from tests.intake import ORDER, Call, journalled, over_http
from tests.machines.roles import above
from tests.waiting import auntil


def test_an_order_is_accepted_repeated_and_refused_on_other_content(settings: Settings) -> None:
    async def work(call: Call) -> None:
        status, first, answer = await call("POST", "/orders", json=ORDER)
        assert (status, first["repeated"]) == (202, False)
        assert answer.headers["Location"] == f"/orders/{first['id']}"
        assert (await call("POST", "/orders", json=ORDER))[:2] == (200, {**first, "repeated": True})
        status, problem, answer = await call("POST", "/orders", json={**ORDER, "priority": "urgent"})
        assert (status, problem["first"], answer.content_type) == (409, first["id"], "application/problem+json")

    over_http(settings, work)


def test_an_orders_life_by_id_and_by_reference(settings: Settings) -> None:
    async def work(call: Call) -> None:
        _, accepted, _ = await call("POST", "/orders", json={**ORDER, "reference": "A/1 é"})
        status, life, _ = await call("GET", f"/orders/{accepted['id']}")
        assert (status, life["state"], life["receipt"], life["order"]["lines"]) == (
            200,
            "accepted",
            None,
            ORDER["lines"],
        )
        assert (await call("GET", "/pharmacies/990000002/orders/A/1 é"))[1] == life
        assert (await call("GET", "/orders/00000000-0000-7000-8000-000000000000"))[0] == 404
        assert (await call("GET", "/pharmacies/990000002/orders/none"))[0] == 404

    over_http(settings, work)


def test_every_fault_is_named_with_its_line_and_nothing_is_journalled(settings: Settings) -> None:
    async def work(call: Call) -> None:
        lines = [{"product": "3400937318044", "quantity": 0}, {"product": "3400937318045", "quantity": 1}, {}]
        status, problem, _ = await call("POST", "/orders", json={"pharmacy": "", "lines": lines, "colour": "red"})
        assert status == 422
        faults = {(fault["line"], fault["field"]) for fault in problem["faults"]}
        assert {
            (1, "lines.1.quantity"),
            (2, "lines.2.product"),
            (3, "lines.3.product"),
            (3, "lines.3.quantity"),
        } <= faults
        assert {(None, "pharmacy"), (None, "reference"), (None, "colour")} <= faults
        for garbage in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'"a"', b"{" * 100_000):
            status, problem, _ = await call("POST", "/orders", data=garbage)
            assert (status, problem["status"]) == (422, 422), garbage[:10]

    over_http(settings, work)


TWICE = [{"product": code, "quantity": 1} for code in ("3400937318044", "3861547", "3731804")]
WRONG = [
    ({"lines": TWICE}, {"field": "lines.3.product", "line": 3, "message": "the same product as line 1"}),
    (
        {"valid_until": "2026-01-05T12:00:00Z"},
        {"field": "valid_until", "line": None, "message": "this time has passed"},
    ),
]


def test_what_would_be_a_dead_letter_whatever_happens_is_refused_at_once(settings: Settings) -> None:
    async def work(call: Call) -> None:
        for change, fault in WRONG:
            wrong = {**ORDER, **change}
            status, problem, _ = await call("POST", "/orders", json=wrong, headers={"Idempotency-Key": "K"})
            assert (status, problem["type"], problem["faults"]) == (422, "urn:relais:problem:malformed", [fault])
            lines = b"\n".join(json.dumps(each).encode() for each in (wrong, {**ORDER, "reference": str(fault)[:60]}))
            _, text, _ = await call("POST", "/orders/batch", data=lines, read="text")
            refused, taken = map(json.loads, text.splitlines())
            assert (refused["status"], refused["faults"], taken["status"]) == ("malformed", [fault], "accepted")
        assert (await call("POST", "/orders", json=ORDER, headers={"Idempotency-Key": "K"}))[0] == 202

    over_http(settings, work)


def test_an_order_that_comes_again_when_its_time_is_over_gets_its_first_answer(settings: Settings) -> None:
    sent = {**ORDER, "valid_until": "2026-01-05T12:00:00Z"}

    async def taken_in_time() -> str:
        engine = connect(above(settings.need("database_url")))
        (order_id,) = await journalled(engine, [Order.model_validate_json(json.dumps(sent))], "front")
        await engine.dispose()
        return str(order_id)

    first = asyncio.run(taken_in_time())

    async def work(call: Call) -> None:
        status, again, _ = await call("POST", "/orders", json=sent)
        assert (status, again) == (200, {"id": first, "repeated": True, "kept": "journal"})
        _, text, _ = await call("POST", "/orders/batch", data=json.dumps(sent).encode(), read="text")
        assert json.loads(text) == {"line": 1, "status": "repeated", "id": first, "kept": "journal"}
        status, problem, _ = await call("POST", "/orders", json={**sent, "note": "other"})
        assert (status, problem["first"]) == (409, first)

    over_http(settings, work)


def test_a_body_too_large_is_refused_before_it_is_read_whole(settings: Settings) -> None:
    async def work(call: Call) -> None:
        assert (await call("POST", "/orders", data=io.BytesIO(b" " * (BODY_LIMIT + 1))))[0] == 413

    over_http(settings, work)


def test_a_front_end_that_hangs_up_in_the_middle_disturbs_nobody(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(call: Call) -> None:
        _, _, answer = await call("GET", "/healthz")
        key = answer.request_info.headers["Authorization"]
        for sent in (b"", b'{"pharmacy"'):
            _, writer = await asyncio.open_connection(answer.url.host, answer.url.port)
            head = f"POST /orders HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Length: 500\r\n\r\n"
            writer.write(head.encode() + sent)
            await writer.drain()
            writer.close()
        assert (await call("POST", "/orders", json=ORDER))[0] == 202

    over_http(settings, work)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("header", ["", "Basic Zm9v", "Bearer", "Bearer relais_wrong", "Bearer é"])
def test_without_a_key_in_force_nobody_gets_in(settings: Settings, header: str) -> None:
    async def work(call: Call) -> None:
        for method, path in (("POST", "/orders"), ("GET", "/orders/00000000-0000-7000-8000-000000000000")):
            status, _, answer = await call(method, path, headers={"Authorization": header}, data=json.dumps(ORDER))
            assert (status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")

    over_http(settings, work)


def test_a_new_key_works_at_once_and_a_revoked_one_is_out_within_seconds(settings: Settings) -> None:
    async def work(call: Call) -> None:
        engine = connect(above(settings.need("database_url")))
        second = {"Authorization": f"Bearer {await clients.add(engine, 'second')}"}
        await auntil(lambda: accepted(call, second), 2)
        await clients.revoke(engine, "second")
        await auntil(lambda: refused(call, second), 10)
        await engine.dispose()

    async def accepted(call: Call, headers: dict[str, str]) -> bool:
        return (await call("POST", "/orders", json=ORDER, headers=headers))[0] in (200, 202)

    async def refused(call: Call, headers: dict[str, str]) -> bool:
        return (await call("POST", "/orders", json=ORDER, headers=headers))[0] == 401

    over_http(settings, work)


def test_alive_and_ready(settings: Settings) -> None:
    async def work(call: Call) -> None:
        assert (await call("GET", "/healthz"))[0] == 200
        assert (await call("GET", "/readyz"))[0] == 200

    over_http(settings, work)


def test_alive_but_not_ready_without_a_journal(settings: Settings) -> None:
    async def work(call: Call) -> None:
        assert (await call("GET", "/healthz"))[0] == 200
        for method, path in (("GET", "/readyz"), ("POST", "/orders")):
            status, problem, answer = await call(method, path, data=json.dumps(ORDER))
            assert (status, problem["status"], answer.headers["Retry-After"]) == (503, 503, "2")

    over_http(settings.replace(database_url="postgresql://nobody@127.0.0.1:1/none"), work, key=False)


def test_the_openapi_document_describes_an_order(settings: Settings) -> None:
    async def work(call: Call) -> None:
        _, document, _ = await call("GET", "/openapi.json")
        body = document["paths"]["/orders"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert body == {"$ref": "#/components/schemas/Order"}
        validate(document)
        assert {"pharmacy", "reference", "lines"} <= set(document["components"]["schemas"]["Order"]["properties"])
        assert {"202", "200", "401", "409", "413", "422", "503"} <= set(
            document["paths"]["/orders"]["post"]["responses"]
        )

    over_http(settings, work)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_told_to_head_too(settings: Settings, path: str) -> None:
    async def work(call: Call) -> None:
        status, body, answer = await call("HEAD", path, read="text")
        assert (status, body) == (200, "")
        assert int(answer.headers["Content-Length"]) > 0

    over_http(settings, work)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/orders/"),
        ("POST", "/orders/batch/"),
        ("GET", "/orders/"),
        ("GET", "/healthz/"),
        ("POST", "/pharmaml/"),
    ],
)
def test_a_slash_too_many_leads_nowhere(settings: Settings, method: str, path: str) -> None:
    async def work(call: Call) -> None:
        status, _, answer = await call(method, path, data=b"{}" if method == "POST" else None, allow_redirects=False)
        assert (status in (404, 422), "Location" in answer.headers) == (True, False)

    over_http(settings, work)


@pytest.mark.parametrize(
    "path",
    [
        "/pharmacies/990000002/orders/A%00B",
        "/pharmacies/99%00/orders/A",
        "/orders/%00",
        "/orders/%00/events",
        "/orders?pharmacy=%00",
        "/orders?cursor=%00",
        "/%00",
    ],
)
def test_nothing_goes_by_a_name_with_a_nul(settings: Settings, path: str) -> None:
    async def work(call: Call) -> None:
        status, _, _ = await call("GET", path)
        assert status in (404, 422)

    over_http(settings, work)


def test_a_refusal_names_the_schemes_that_open_the_resource(settings: Settings) -> None:
    """RFC 9110, 11.6.1: a client that shows its password only when asked has to be asked for it."""

    async def work(call: Call) -> None:
        offered = {}
        for path in ("/orders", "/orders/batch", "/pharmaml"):
            status, _, answer = await call("POST", path, data=b"x", headers={"Authorization": "none"})
            assert status == 401
            offered[path] = answer.headers["WWW-Authenticate"]
        basic = 'Basic realm="Relais", charset="UTF-8", Bearer'
        assert offered == {"/orders": "Bearer", "/orders/batch": "Bearer", "/pharmaml": basic}

    over_http(settings, work)
