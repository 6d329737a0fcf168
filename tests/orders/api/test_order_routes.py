"""What a front end leans on: lists, cancelling, keys with scopes, idempotency keys, request ids, problem details."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from config.telemetry.logs import formatter
from orders.access import clients
from orders.access.clients import Scope
from orders.journal import connect
from orders.states import State
from tests.intake import ORDER, Call, over_http
from tests.machines.roles import above
from tests.waiting import auntil

NOBODY = "00000000-0000-7000-8000-000000000000"


async def place(call: Call, reference: str, **more: Any) -> str:
    status, taken, _ = await call("POST", "/orders", json={**ORDER, "reference": reference, **more})
    assert status == 202
    return str(taken["id"])


async def on_journal(settings: Settings, *statements: str) -> None:
    engine = connect(above(settings.need("database_url")))
    async with engine.connect() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


async def bring_to(settings: Settings, order_id: str, *states: str) -> None:
    changes = [f"UPDATE deliveries SET state = '{state}' WHERE order_id = '{order_id}'" for state in states]
    await on_journal(settings, *changes)


async def key_of(call: Call, settings: Settings, name: str, **options: Any) -> dict[str, str]:
    """The header of a new client, once its key is known: within half a second of the last unknown one."""
    engine = connect(above(settings.need("database_url")))
    headers = {"Authorization": f"Bearer {await clients.add(engine, name, **options)}"}
    await engine.dispose()

    async def known() -> bool:
        return (await call("GET", "/orders?limit=1", headers=headers))[0] != 401

    await auntil(known)
    return headers


def test_orders_are_listed_in_pages_in_the_order_in_which_they_were_taken(settings: Settings) -> None:
    async def work(call: Call) -> None:
        ids = [await place(call, f"L{number}", pharmacy=f"P{number % 2}") for number in range(7)]
        found: list[str] = []
        path = "/orders?limit=3"
        while path:
            _, page, _ = await call("GET", path)
            found += [each["id"] for each in page["orders"]]
            path = f"/orders?limit=3&cursor={page['next']}" if page["next"] else ""
        assert found == ids
        _, page, _ = await call("GET", "/orders?pharmacy=P1")
        assert ([each["id"] for each in page["orders"]], page["next"]) == (ids[1::2], None)
        assert set(page["orders"][0]) == {
            "id",
            "pharmacy",
            "reference",
            "received_at",
            "client",
            "state",
            "reason",
            "error",
            "attempts",
            "due_at",
            "settled_at",
        }
        await bring_to(settings, ids[2], "dispatched", "delivering", "dead")
        assert [each["id"] for each in (await call("GET", "/orders?state=dead"))[1]["orders"]] == [ids[2]]
        later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        earlier = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert (await call("GET", f"/orders?since={later}"))[1] == {"orders": [], "next": None}
        assert len((await call("GET", f"/orders?since={earlier}"))[1]["orders"]) == 7

    over_http(settings, work)


def test_orders_are_filtered_by_all_that_a_list_can_be(settings: Settings) -> None:
    async def work(call: Call) -> None:
        other = [{"product": "3400938617061", "quantity": 1}]
        plain, urgent, rare = (
            await place(call, "F1"),
            await place(call, "F2", priority="urgent"),
            await place(call, "F3", lines=other),
        )
        await bring_to(settings, urgent, "dispatched", "delivering", "dead")
        await on_journal(settings, f"UPDATE deliveries SET reason = 'refused' WHERE order_id = '{urgent}'")
        hour = timedelta(hours=1)
        later, earlier = ((datetime.now(UTC) + each).strftime("%Y-%m-%dT%H:%M:%SZ") for each in (hour, -hour))
        for query, wanted in {
            "backend=erp": [plain, urgent, rare],
            "backend=fallback": [],
            "client=front": [plain, urgent, rare],
            "client=another": [],
            "priority=urgent": [urgent],
            "priority=normal&state=accepted": [plain, rare],
            "reason=refused": [urgent],
            "reason=stale": [],
            "product=3400938617061": [rare],
            "product=3861706&priority=urgent": [],
            f"until={earlier}": [],
            f"since={earlier}&until={later}&product=3400937318044": [plain, urgent],
        }.items():
            status, page, _ = await call("GET", f"/orders?{query}")
            assert (status, [each["id"] for each in page["orders"]], page["next"]) == (200, wanted, None), query

    over_http(settings, work)


@pytest.mark.parametrize(
    "query", ["limit=0", "cursor=%21", "product=3400937318045", "state=lost", "since=x", "limit=1"]
)
def test_who_has_no_key_is_told_that_first(settings: Settings, query: str) -> None:
    async def work(call: Call) -> None:
        status, problem, answer = await call("GET", f"/orders?{query}", headers={"Authorization": ""})
        assert (status, problem["type"]) == (401, "urn:relais:problem:unauthorised")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    over_http(settings, work)


@pytest.mark.parametrize(
    "query",
    [
        "cursor=%21",
        "cursor=AAAA",
        "limit=0",
        "limit=501",
        "limit=x",
        "state=lost",
        "since=yesterday",
        "since=2026-01-01T00:00:00",
        "pharmacy=a%20b",
        "since=9999-99-99T00:00:00Z",
        "until=tomorrow",
        "backend=%00",
        "client=a%20b",
        "priority=high",
        "reason=lost",
        "product=3400937318045",
    ],
)
def test_a_question_that_makes_no_sense_is_told_which_field_is_wrong(settings: Settings, query: str) -> None:
    async def work(call: Call) -> None:
        status, problem, answer = await call("GET", f"/orders?{query}")
        assert (status, answer.content_type) == (422, "application/problem+json")
        assert problem["faults"][0]["field"] == query.partition("=")[0]

    over_http(settings, work)


@pytest.mark.parametrize("way", [[], ["dispatched"], ["dispatched", "delivering", "dead"]])
def test_an_order_that_is_still_ours_is_cancelled_once_and_for_all(settings: Settings, way: list[str]) -> None:
    async def work(call: Call) -> None:
        order_id = await place(call, "C1")
        await bring_to(settings, order_id, *way)
        for _ in range(2):
            assert (await call("DELETE", f"/orders/{order_id}"))[:2] == (200, {"id": order_id, "state": "cancelled"})
        assert (await call("GET", f"/orders/{order_id}"))[1]["state"] == "cancelled"
        acts = await operations(settings)
        assert [(act["operator"], act["act"], act["detail"]["order"]) for act in acts] == [
            ("client front", "order cancel", order_id)
        ]

    over_http(settings, work)


async def operations(settings: Settings) -> list[dict[str, Any]]:
    engine: AsyncEngine = connect(above(settings.need("database_url")))
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT operator, act, detail FROM operations"))
        rows = [dict(row) for row in found.mappings()]
    await engine.dispose()
    return rows


@pytest.mark.parametrize(
    "way",
    [
        ["dispatched", "delivering"],
        ["dispatched", "delivering", "submitted"],
        ["dispatched", "delivering", "delivered"],
        ["dispatched", "delivering", "dead", "discarded"],
    ],
)
def test_an_order_that_is_with_the_erp_or_final_is_not_cancelled(settings: Settings, way: list[str]) -> None:
    async def work(call: Call) -> None:
        order_id = await place(call, "C2")
        await bring_to(settings, order_id, *way)
        status, problem, _ = await call("DELETE", f"/orders/{order_id}")
        assert (status, problem["state"], problem["type"]) == (409, way[-1], "urn:relais:problem:too-late")
        assert (await call("GET", f"/orders/{order_id}"))[1]["state"] == way[-1]

    over_http(settings, work)


def test_an_order_that_may_be_with_the_erp_is_not_cancelled(settings: Settings) -> None:
    async def work(call: Call) -> None:
        order_id = await place(call, "C3")
        await on_journal(settings, f"UPDATE deliveries SET unsure = true WHERE order_id = '{order_id}'")
        status, problem, _ = await call("DELETE", f"/orders/{order_id}")
        assert (status, problem["state"]) == (409, "accepted")
        assert "may be with the ERP" in problem["detail"]

    over_http(settings, work)


def test_what_is_not_there_is_not_found(settings: Settings) -> None:
    async def work(call: Call) -> None:
        for method, path in (("DELETE", f"/orders/{NOBODY}"), ("GET", f"/orders/{NOBODY}"), ("GET", "/nothing")):
            status, problem, answer = await call(method, path)
            assert (status, problem["status"], answer.content_type) == (404, 404, "application/problem+json")
        status, problem, answer = await call("PUT", "/orders")
        assert (status, answer.content_type) == (405, "application/problem+json")
        status, problem, _ = await call("GET", "/orders/not-a-uuid")
        assert (status, problem["faults"][0]["field"]) == (422, "order_id")

    over_http(settings, work)


def test_a_client_sees_and_cancels_only_what_it_may_order(settings: Settings) -> None:
    async def work(call: Call) -> None:
        theirs, ours = await place(call, "T", pharmacy="THEIRS"), await place(call, "O", pharmacy="OURS")
        limited = await key_of(call, settings, "limited", pharmacies=["OURS"])
        assert (await call("GET", f"/orders/{ours}", headers=limited))[0] == 200
        for method, path in (
            ("GET", f"/orders/{theirs}"),
            ("DELETE", f"/orders/{theirs}"),
            ("GET", "/pharmacies/THEIRS/orders/T"),
        ):
            assert (await call(method, path, headers=limited))[0] == 404
        assert [each["id"] for each in (await call("GET", "/orders", headers=limited))[1]["orders"]] == [ours]
        assert (await call("GET", "/orders?pharmacy=THEIRS", headers=limited))[0] == 403
        status, problem, _ = await call("POST", "/orders", json={**ORDER, "pharmacy": "THEIRS"}, headers=limited)
        assert (status, problem["type"]) == (403, "urn:relais:problem:forbidden")

    over_http(settings, work)


def test_what_is_anothers_is_answered_as_what_is_not_there(settings: Settings) -> None:
    async def work(call: Call) -> None:
        theirs = await place(call, "T", pharmacy="THEIRS")
        limited = await key_of(call, settings, "limited", pharmacies=["OURS"])
        aside = "0199a2b4-7c11-7def-8abc-0123456789ac"
        told = "INSERT INTO asides (digest, kind, why, raw, told, order_id) VALUES"
        await on_journal(settings, f"{told} ('e', 'repeated', '\"w\"', 'r', '{aside}', '{theirs}')")
        answers = {
            (status, json.dumps(problem), answer.content_type)
            for order in (theirs, aside, str(NOBODY))
            for method, path in (
                ("GET", f"/orders/{order}"),
                ("DELETE", f"/orders/{order}"),
                ("GET", f"/orders/{order}/events"),
                ("GET", "/pharmacies/THEIRS/orders/T"),
                ("GET", f"/pharmacies/THEIRS/orders/{order}"),
                ("GET", f"/pharmacies/OURS/orders/{order}"),
            )
            for status, problem, answer in [await call(method, path, headers=limited)]
        }
        detail = "no such order, or none that this client may see"
        problem = {"type": "urn:relais:problem:not-found", "status": 404, "title": "not found", "detail": detail}
        assert answers == {(404, json.dumps(problem), "application/problem+json")}

    over_http(settings, work)


def test_a_key_opens_what_its_scopes_say(settings: Settings) -> None:
    async def work(call: Call) -> None:
        order_id = await place(call, "S1")
        writes = await key_of(call, settings, "writes", scopes=[Scope.WRITE])
        reads = await key_of(call, settings, "reads", scopes=[Scope.READ])
        ops = await key_of(call, settings, "ops", scopes=[Scope.OPS], pharmacies=["NONE"])
        allowed = {
            "POST /orders": [202, 403, 403],
            "GET /orders": [403, 200, 200],
            f"GET /orders/{order_id}": [403, 200, 200],
            f"DELETE /orders/{order_id}": [200, 403, 403],
        }
        for number, headers in enumerate((writes, reads, ops)):
            for asked, statuses in allowed.items():
                method, path = asked.split()
                body = {"json": {**ORDER, "reference": f"S2{number}"}} if method == "POST" else {}
                assert (await call(method, path, headers=headers, **body))[0] == statuses[number], (asked, number)

    over_http(settings, work)


def test_an_idempotency_key_stands_for_one_order(settings: Settings) -> None:
    async def work(call: Call) -> None:
        key = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
        bare = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
        _, first, _ = await call("POST", "/orders", json=ORDER, headers=key)
        assert (await call("POST", "/orders", json=ORDER, headers=bare))[:2] == (200, {**first, "repeated": True})
        for other in ({"reference": "OTHER"}, {"priority": "urgent"}):
            status, problem, _ = await call("POST", "/orders", json={**ORDER, **other}, headers=key)
            assert (status, problem["type"], problem["first"]) == (
                422,
                "urn:relais:problem:idempotency-key-reused",
                first["id"],
            )
        another = await key_of(call, settings, "another")
        answer = await call("POST", "/orders", json={**ORDER, "reference": "OTHER"}, headers={**key, **another})
        assert answer[0] == 202, "a key is the client's own"
        for bad in ('""', " ", "é", "x" * 256, '"a b"'):
            status, problem, _ = await call("POST", "/orders", json=ORDER, headers={"Idempotency-Key": bad})
            assert (status, problem["faults"][0]["field"]) == (422, "Idempotency-Key"), bad

    over_http(settings, work)


def test_racing_orders_under_one_idempotency_key_make_one(settings: Settings) -> None:
    async def work(call: Call) -> None:
        sent = [{**ORDER, "reference": f"R{number % 5}"} for number in range(40)]
        headers = {"Idempotency-Key": "one-for-all"}
        answers = await asyncio.gather(*(call("POST", "/orders", json=each, headers=headers) for each in sent))
        statuses = [status for status, _, _ in answers]
        assert (statuses.count(202), statuses.count(200), statuses.count(422)) == (1, 7, 32)

    over_http(settings, work)


def test_a_request_id_is_answered_and_journalled(settings: Settings) -> None:
    async def work(call: Call) -> None:
        _, taken, answer = await call("POST", "/orders", json=ORDER, headers={"X-Request-ID": "checkout-7f3a"})
        assert answer.headers["X-Request-ID"] == "checkout-7f3a"
        _, life, answer = await call("GET", f"/orders/{taken['id']}")
        assert life["request_id"] == "checkout-7f3a"
        assert len(answer.headers["X-Request-ID"]) == 24
        for odd in ("", "a b", "x" * 65, '"><script>'):
            _, _, answer = await call("POST", "/orders", json=ORDER, headers={"X-Request-ID": odd})
            assert len(answer.headers["X-Request-ID"]) == 24
        for method, path in (("GET", "/nothing"), ("GET", "/orders?limit=0"), ("POST", "/orders")):
            _, _, answer = await call(method, path, headers={"X-Request-ID": "mine", "Authorization": ""})
            assert answer.headers["X-Request-ID"] == "mine"

    over_http(settings, work)


def test_every_state_can_be_asked_for(settings: Settings) -> None:
    async def work(call: Call) -> None:
        for state in State:
            assert (await call("GET", f"/orders?state={state}"))[0] == 200

    over_http(settings, work)


def test_more_lines_than_an_order_may_have_are_refused(settings: Settings) -> None:
    async def work(call: Call) -> None:
        lines = [{"product": "3400937318044", "quantity": 1}] * 2001
        status, problem, _ = await call("POST", "/orders", data=json.dumps({**ORDER, "lines": lines}))
        assert (status, problem["faults"][0]["field"]) == (422, "lines")

    over_http(settings, work)


def test_no_log_ever_holds_what_an_order_holds_or_a_key(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    secret = "Mme Dupont"
    bad = {**ORDER, "note": secret, "lines": [{"product": secret, "quantity": secret}], secret: secret}

    async def work(call: Call) -> None:
        headers = await key_of(call, settings, "front2")
        for body in (bad, {**ORDER, "note": secret}, {**ORDER, "note": f"{secret}!"}, [secret], secret):
            await call("POST", "/orders", json=body, headers=headers)
        lines = "\n".join(json.dumps(body) for body in (bad, {**ORDER, "note": secret}, secret))
        await call("POST", "/orders/batch", data=lines, headers=headers, read="text")
        await call("POST", "/pharmaml", data=f"<a>{secret}</a>", headers=headers, read="text")
        for path in (f"/orders?cursor={secret}", f"/orders/{secret}/events", f"/pharmacies/x/orders/{secret}"):
            await call("GET", path, headers=headers)
        await on_journal(settings, "ALTER TABLE orders RENAME TO gone")
        assert (await call("GET", f"/pharmacies/x/orders/{secret}", headers=headers))[0] == 500
        assert (await call("POST", "/orders", json={**ORDER, "note": secret}, headers=headers))[0] == 503
        keys.append(headers["Authorization"].partition(" ")[2])

    keys: list[str] = []
    caplog.set_level("DEBUG")
    over_http(settings, work)
    logged = "\n".join(formatter().format(record) for record in caplog.records)
    assert "a request failed" in logged, "what nobody foresaw is logged"
    assert "the journal takes no orders" in logged
    assert secret not in logged
    assert not any(key in logged for key in keys)
