"""What goes over the wire in a session with SAP, and that nothing that comes over it raises or doubles."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.machines.erp import raw_server, settings_for, submit_one
from tests.workers.erp.odata.test_sales_orders import ID, item, row, submission
from workers.erp.connectors import open_erp
from workers.erp.port import Erp, Kind, Outcome

Answer = tuple[int, dict[str, str], bytes]
MULTIPART = {"Content-Type": "multipart/mixed; boundary=b"}
NO_TOKEN: Answer = (403, {"x-csrf-token": "Required", "Content-Type": "text/plain"}, b"CSRF token validation failed")


At = Callable[["Sap", Callable[[Erp], Awaitable[Outcome]]], Outcome]


def batch(*parts: tuple[int, Any]) -> Answer:
    told = [
        b"--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 %d X\r\nContent-Type: application/json\r\n\r\n%b\r\n"
        % (status, body if isinstance(body, bytes) else json.dumps(body).encode())
        for status, body in parts
    ]
    return 202, MULTIPART, b"".join(told) + b"--b--\r\n"


def rows(*told: Any, **more: Any) -> tuple[int, Any]:
    return 200, {"d": {"results": [*told], **more}}


class Sap:
    """Answers POSTs in turn; every GET gets a token of its own, and cookies."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = [*answers]
        self.heads: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            head = {"": line.split()[0].decode()}
            while (told := (await reader.readline()).strip()) != b"":
                name, _, value = told.decode().partition(":")
                head[name.lower()] = value.strip()
            self.heads.append(head)
            self.bodies.append(await reader.readexactly(int(head.get("content-length", 0))))
            status, headers, body = self.answer(head[""])
            fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"HTTP/1.1 {status} X\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()

    def answer(self, method: str) -> Answer:
        if method == "POST":
            return self.answers.pop(0)
        token = f"token-{sum(head[''] == 'GET' for head in self.heads)}"
        cookie = "SAP_SESSIONID_S4H_100=abc%3d%3d; path=/; secure; HttpOnly"
        return 200, {"x-csrf-token": token, "Set-Cookie": cookie, "Content-Type": "application/json"}, b"{}"

    def shown(self, method: str, name: str) -> list[str | None]:
        return [head.get(name) for head in self.heads if head[""] == method]


@pytest.fixture
def at(tmp_path: Path) -> At:
    """Does something with a connector to it."""
    (tmp_path / "password").write_text("pässword\n")
    file = tmp_path / "sap.toml"
    file.write_text(
        'sales_organization = "1710"\ndistribution_channel = "10"\ndivision = "00"\nclient = "100"\n'
        'without = ["to_ScheduleLine"]\n[auth]\nscheme = "basic"\nuser = "RELAIS"\npassword_file = "password"\n'
    )

    def work(sap: Sap, work: Callable[[Erp], Awaitable[Outcome]]) -> Outcome:
        async def run() -> Outcome:
            async with raw_server(sap) as url:
                erp = open_erp(settings_for(url, erp_kind="odata", erp_connector=file))
                try:
                    return await work(erp)
                finally:
                    await erp.close()

        return asyncio.run(run())

    return work


async def forward(erp: Erp) -> Outcome:
    return await submit_one(erp, submission(2))


async def find(erp: Erp) -> Outcome:
    return (await erp.find([ID], budget=5))[ID]


def test_token_and_cookies_go_along_and_what_is_there_is_asked_first(at: At) -> None:
    made = row(item(1, "2"))
    sap = Sap(batch(rows()), batch((201, {"d": made}), rows(made)))
    told = at(sap, forward)
    assert (told.kind, told.receipt and told.receipt.reference) == (Kind.ACCEPTED, "4711")
    login = f"Basic {b64encode('RELAIS:pässword'.encode()).decode()}"
    assert {*sap.shown("GET", "authorization"), *sap.shown("POST", "authorization")} == {login}
    assert sap.shown("GET", "x-csrf-token") == ["Fetch"]
    assert sap.shown("POST", "x-csrf-token") == ["token-1", "token-1"]
    assert sap.shown("POST", "cookie") == ["SAP_SESSIONID_S4H_100=abc%3d%3d"] * 2
    assert [b"POST A_SalesOrder" in body for body in sap.bodies] == [False, False, True]
    assert all(ID.hex.upper().encode() in body for body in sap.bodies[1:])


def test_a_token_that_holds_no_longer_is_renewed_once(at: At) -> None:
    made = row(item(1, "2"))
    sap = Sap(batch(rows()), NO_TOKEN, batch((201, {"d": made}), rows(made)))
    assert at(sap, forward).kind is Kind.ACCEPTED
    assert sap.shown("POST", "x-csrf-token") == ["token-1", "token-1", "token-2"]
    sap = Sap(NO_TOKEN, NO_TOKEN)
    told = at(sap, forward)
    assert (told.kind, told.status) == (Kind.TRANSIENT, 403)
    assert sap.shown("POST", "x-csrf-token") == ["token-1", "token-2"]


def test_an_order_that_is_there_is_not_sent(at: At) -> None:
    sap = Sap(batch(rows(row(item(1, "2")))))
    assert at(sap, forward).kind is Kind.DUPLICATE
    assert sap.answers == []


@pytest.mark.parametrize(
    ("second", "kind"),
    [
        (batch((201, {"d": row()}), rows()), Kind.PENDING),
        (batch((201, {"d": row()}), (500, b"")), Kind.PENDING),
        (batch((201, {"d": row()})), Kind.PENDING),
        (batch((201, b"x"), rows()), Kind.UNKNOWN),
        (batch(), Kind.UNKNOWN),
        (batch((500, b"")), Kind.UNKNOWN),
        (batch((400, b'{"error":{"code":"V1/312","message":{"value":"No"}}}'), rows()), Kind.REFUSED),
        (batch((400, b'{"error":{"code":"V1/042","message":{"value":"No"}}}'), rows()), Kind.TRANSIENT),
        (batch((500, b""), rows(row(item(1, "2")))), Kind.ACCEPTED),
        (batch((201, {"d": row()}), rows(row(item(1, "3")))), Kind.SUSPICIOUS),
        (batch((201, {"d": row()}), rows(row(item(2, "2")))), Kind.SUSPICIOUS),
        ((202, MULTIPART, b"--b\r\n"), Kind.UNKNOWN),
        ((202, {"Content-Type": "text/html"}, b"<html>"), Kind.SUSPICIOUS),
        ((429, {"Retry-After": "60"}, b""), Kind.THROTTLED),
        ((503, {}, b""), Kind.TRANSIENT),
        ((500, {}, b""), Kind.UNKNOWN),
        ((302, {"Location": "https://elsewhere.example"}, b""), Kind.SUSPICIOUS),
    ],
)
def test_what_becomes_of_an_order_that_was_sent(at: At, second: Answer, kind: Kind) -> None:
    assert at(Sap(batch(rows()), second), forward).kind is kind


@pytest.mark.parametrize(
    "told",
    [
        batch(),
        batch((200, b"x")),
        batch((200, {"d": 1})),
        batch((200, {"d": {"results": [1]}})),
        batch(rows({})),
        batch(rows({**row(item(1, "x"))})),
        batch(rows(row(item(1, "2", SalesOrderItem="x")))),
        batch(rows(row({}))),
        batch(rows(row(item(1, "NaN")))),
        batch(rows(__next="https://elsewhere.example/Users?$skiptoken=1")),
        batch((404, b"")),
        (500, {}, b""),
    ],
)
def test_what_cannot_be_read_is_not_absent_and_sends_nothing(at: At, told: Answer) -> None:
    sap = Sap(told, told)
    assert at(sap, find).kind in (Kind.UNKNOWN, Kind.SUSPICIOUS)
    assert at(sap, forward).kind in (Kind.TRANSIENT, Kind.SUSPICIOUS)
    assert not any(b"POST A_SalesOrder" in body for body in sap.bodies)


def test_an_answer_that_leads_on_is_read_to_its_end(at: At) -> None:
    link = "http://inside.example:8000/sap/opu/odata/sap/API_SALES_ORDER_SRV/A_SalesOrder?$skiptoken=20&$top=1"
    sap = Sap(batch(rows(__next=link)), batch(rows(row(item(1, "2")))))
    assert at(sap, find).kind is Kind.ACCEPTED
    assert b"GET A_SalesOrder?$skiptoken=20&$top=1 HTTP/1.1" in sap.bodies[2]
