"""Every row of the table of failures, brought about over loopback by a server that really behaves so."""

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.machines.erp import (
    Handler,
    Keys,
    an_order,
    answering,
    connector,
    good,
    key_id,
    raw_server,
    read_request,
    receipt_for,
    response,
    submit_one,
)
from tests.machines.tls import tls
from tests.waiting import auntil
from workers.erp.failures import TABLE
from workers.erp.http import HttpErp
from workers.erp.port import Kind, OpenBarrier, Outcome, Submission
from workers.erp.signing import sign
from workers.erp.sim.server import Port

Answer = Callable[[bytes], bytes]


def receipt(status: int = 201, media_type: str = "application/json", **changes: Any) -> Answer:
    return lambda body: response(status, json.dumps(receipt_for(body, **changes)).encode(), media_type)


def more_boxes(body: bytes) -> bytes:
    told = receipt_for(body)
    told["lines"][0]["accepted"] += 1
    return response(201, json.dumps(told).encode())


def then(data: bytes, *, hang: bool = False, reset: bool = False) -> Handler:
    """Read the request, write some bytes, and close, hang or reset."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(data)
        await writer.drain()
        if hang:
            await asyncio.Event().wait()
        if reset:
            writer.transport.abort()

    return handle


HTML = b"<!doctype html><h1>Maintenance</h1>"
HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
ENDLESS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 17

ANSWERED: list[tuple[str, str, Handler]] = [
    ("reset after sending", "closed without an answer", then(b"")),
    ("reset after sending", "reset without an answer", then(b"", reset=True)),
    ("reset after sending", "closed inside the head", then(HEAD)),
    ("read timeout", "silence", then(b"", hang=True)),
    ("read timeout", "silence inside the head", then(HEAD, hang=True)),
    ("read timeout", "silence inside the body", then(HEAD + b"Content-Length: 99\r\n\r\n{", hang=True)),
    ("truncated", "closed inside the body", then(HEAD + b"Content-Length: 99\r\n\r\n{")),
    ("truncated", "closed inside a chunk", then(HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{")),
    ("not http", "another protocol", then(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")),
    ("not http", "a header without an end", then(HEAD + b"X: " + b"x" * 100_000, hang=True)),
    ("oversized", "by its length", then(HEAD + b"Content-Length: 1048577\r\n\r\n" + b" " * 1048577)),
    ("oversized", "without a length", then(ENDLESS, hang=True)),
    ("wrong content type", "an HTML page", answering(response(200, HTML, "text/html; charset=utf-8"))),
    ("wrong content type", "a receipt as text", answering(receipt(media_type="text/plain"))),
    ("wrong content type", "none", answering(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")),
    ("unparsable", "HTML that says it is JSON", answering(response(200, HTML))),
    ("unparsable", "nothing", answering(response(201))),
    ("unparsable", "another object", answering(response(201, b'{"ok":true}'))),
    ("unparsable", "a pending order without a reference", answering(response(202, b"{}"))),
    ("unparsable", "compressed", answering(response(201, b"\x1f\x8b\x08\x00", Content_Encoding="gzip"))),
    ("wrong digest", "of other bytes", answering(receipt(digest="0" * 64))),
    ("wrong digest", "of a duplicate", answering(receipt(200, digest="0" * 64))),
    ("wrong lines", "more than ordered", answering(more_boxes)),
    ("wrong lines", "none", answering(receipt(lines=[]))),
    ("refusal without words", "HTML from a proxy", answering(response(400, HTML, "text/html"))),
    ("refusal without words", "nothing", answering(response(422))),
    ("1xx", "101", answering(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")),
    *(("2xx", str(status), answering(response(status, b"{}"))) for status in (203, 206, 207, 299)),
    ("2xx", "204", answering(b"HTTP/1.1 204 No Content\r\n\r\n")),
    *(
        ("3xx", str(status), answering(response(status, Location="http://127.0.0.1:9/elsewhere")))
        for status in (300, 301, 302, 303, 307, 308)
    ),
    *(("4xx", str(s), answering(response(s, b'{"error":"no such customer"}'))) for s in (400, 413, 418, 422, 451)),
    *(("5xx", str(status), answering(response(status, HTML, "text/html"))) for status in (500, 502, 504, 520, 599)),
    *((name, "", answering(response(int(name), HTML, "text/html"))) for name in TABLE if name.isdecimal()),
]


@pytest.mark.parametrize(("row", "how", "handler"), ANSWERED, ids=[f"{row}: {how}" for row, how, _ in ANSWERED])
def test_what_a_server_can_do(row: str, how: str, handler: Handler) -> None:
    async def main() -> Outcome:
        async with raw_server(handler) as url, connector(url, erp_timeout=0.4 if "silence" in how else 5.0) as erp:
            return await submit_one(erp, an_order(2, 3))

    outcome = asyncio.run(main())
    assert outcome.kind is TABLE[row].kind, outcome
    words = "no such customer" if row == "4xx" else TABLE[row].says
    assert words in outcome.detail
    assert outcome.receipt is None
    assert outcome.started is not None and outcome.ended is not None
    assert outcome.started.utcoffset() is not None and outcome.started <= outcome.ended
    status = how if how.isdecimal() else row
    assert not status.isdecimal() or outcome.status == int(status)


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """An address that refuses connections."""
    port = Port("127.0.0.1", 0, lambda *_: None)
    yield f"http://127.0.0.1:{port.number}"
    await port.close()


@asynccontextmanager
async def deaf() -> AsyncIterator[str]:
    """An address whose queue of connections is full, so that the next one gets no answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address):
            yield f"http://127.0.0.1:{address[1]}"


@asynccontextmanager
async def plain_behind_https() -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(response(400, HTML, "text/html"))
        await writer.drain()

    async with raw_server(handle) as url:
        yield url.replace("http:", "https:")


@asynccontextmanager
async def address(url: str) -> AsyncIterator[str]:
    yield url


UNSENT = [
    ("bad url", lambda: address("ftp://127.0.0.1")),
    ("bad url", lambda: address("http://")),
    ("dns", lambda: address("http://erp.invalid")),
    ("connection refused", nobody),
    ("tls", plain_behind_https),
    ("connect timeout", deaf),
]


@pytest.mark.parametrize(("row", "place"), UNSENT, ids=[row for row, _ in UNSENT])
def test_what_goes_wrong_before_sending(row: str, place: Callable[[], Any]) -> None:
    async def main() -> Outcome:
        async with place() as url, connector(url, erp_timeout=1.0) as erp:
            return await submit_one(erp, an_order())

    outcome = asyncio.run(main())
    assert (outcome.kind, outcome.detail, outcome.status) == (Kind.TRANSIENT, TABLE[row].says, None)


def test_a_connection_that_breaks_before_anything_is_sent() -> None:
    """The server resets at once; the connector is held up between connecting and sending, until it has noticed."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def main() -> Outcome:
        async with raw_server(reset) as url, connector(url) as erp:
            _hold_up(erp)
            return await submit_one(erp, an_order())

    outcome = asyncio.run(main())
    assert (outcome.kind, outcome.detail) == (Kind.TRANSIENT, TABLE["reset before sending"].says)


def _hold_up(erp: HttpErp) -> None:
    class Slow(aiohttp.TCPConnector):
        async def connect(self, *args: Any, **kwargs: Any) -> Any:
            connection = await super().connect(*args, **kwargs)
            await auntil(lambda: connection.transport is None or connection.transport.is_closing())
            return connection

    erp._transport.session()._connector = Slow()


def test_a_fault_of_ours_leaves_the_order_unknown() -> None:
    """A token that no header can hold makes aiohttp raise what no table foresees."""

    async def main() -> Outcome:
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(raw_server(answering(receipt())))
            erp = await stack.enter_async_context(connector(url, erp_token="line\nbreak"))
            return await submit_one(erp, an_order())

    outcome = asyncio.run(main())
    assert outcome.kind is Kind.UNKNOWN
    assert outcome.detail.startswith(TABLE["unforeseen"].says)
    assert "break" not in outcome.detail, "the token is not repeated"


OURS, THEIRS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def signing(order: Submission, **changes: Any) -> Answer:
    """A 201 with a signed receipt; `changes` to what is signed, `by` another key, `spoilt` or with another `typ`."""

    def answer(body: bytes) -> bytes:
        told = receipt_for(body)
        by = changes.pop("by", OURS)
        what = {"order_id": str(order.id), "at": datetime.now(UTC), **told, **changes}
        signature = sign(by, key_id(OURS.public_key()), **what)
        return response(201, json.dumps({**told, "signature": signature}).encode())

    return answer


MANY = [{"line": 1, "product": "3400937318044", "accepted": 99}]
SIGNED: list[tuple[str, str, dict[str, Any]]] = [
    ("bad signature", "another key under the same id", {"by": THEIRS}),
    ("bad signature", "for another reference", {"reference": "E-2"}),
    ("wrong digest", "signed for other bytes", {"digest": "0" * 64}),
    ("wrong lines", "signed for other lines", {"lines": MANY}),
    ("untimely", "an hour ago", {"at": datetime.now(UTC) - timedelta(hours=1)}),
    ("untimely", "tomorrow", {"at": datetime.now(UTC) + timedelta(days=1)}),
    ("order never sent", "signed for another", {"order_id": str(uuid4())}),
]


@pytest.mark.parametrize(("row", "changes"), [(r, c) for r, _, c in SIGNED], ids=[f"{r}: {h}" for r, h, _ in SIGNED])
def test_what_a_signer_can_do(row: str, changes: dict[str, Any]) -> None:
    order = an_order()

    async def main() -> Outcome:
        handler = answering(signing(order, **changes))
        async with raw_server(handler) as url, connector(url, Keys(OURS.public_key())) as erp:
            return await submit_one(erp, order)

    outcome = asyncio.run(main())
    assert (outcome.kind, outcome.evidence) == (TABLE[row].kind, TABLE[row].evidence), outcome
    assert TABLE[row].says in outcome.detail
    assert outcome.answer.startswith(b'{"reference"')
    assert outcome.receipt is None


@pytest.mark.parametrize(
    ("keys", "receipts", "signed", "row"),
    [
        ([OURS], "prefer", True, None),
        ([OURS], "require", True, None),
        ([OURS], "prefer", False, None),
        ([], "prefer", True, None),
        ([THEIRS], "ignore", True, None),
        ([OURS], "require", False, "missing signature"),
        ([THEIRS], "prefer", True, "unknown key"),
    ],
)
def test_what_the_settings_say_about_signatures(
    keys: list[Ed25519PrivateKey], receipts: str, signed: bool, row: str | None
) -> None:
    order = an_order()

    async def main() -> Outcome:
        handler = answering(signing(order) if signed else receipt())
        held = Keys(*(each.public_key() for each in keys))
        async with raw_server(handler) as url, connector(url, held, receipts=receipts) as erp:
            return await submit_one(erp, order)

    outcome = asyncio.run(main())
    assert outcome.evidence == (TABLE[row].evidence if row else None), outcome
    if row is None:
        assert outcome.receipt is not None
        verified = signed and keys == [OURS] and receipts != "ignore"
        assert outcome.receipt.key_id == (key_id(OURS.public_key()) if verified else None)


def test_where_receipts_must_be_signed_and_no_key_is_known_nothing_is_sent() -> None:
    async def main() -> Outcome:
        async with raw_server(answering(receipt())) as url, connector(url, Keys(), receipts="require") as erp:
            return await submit_one(erp, an_order())

    outcome = asyncio.run(main())
    assert (outcome.kind, outcome.evidence, outcome.started) == (Kind.TRANSIENT, None, None)
    assert "relais key add" in outcome.detail


class Shutting(OpenBarrier):
    """A gate that is shut when it has been asked so often."""

    def __init__(self, times: int) -> None:
        self.left = times

    def is_open(self) -> bool:
        self.left -= 1
        return self.left >= 0


@pytest.mark.parametrize("times", [0, 1, 2], ids=["before the order", "before the request", "after it"])
def test_a_gate_that_is_shut_lets_nothing_out(times: int, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked before the order begins, and again when its request is handed to the network."""
    received = []

    def answer(body: bytes) -> bytes:
        received.append(body)
        return good(body)

    async def main() -> tuple[Outcome, Outcome]:
        async with raw_server(answering(answer)) as url:
            async with connector(url, barrier=Shutting(times)) as erp:
                sent = await submit_one(erp, an_order())
            async with connector(url, barrier=Shutting(0)) as erp:
                order = an_order()
                return sent, (await erp.find([order.id], budget=5))[order.id]

    outcome, found = asyncio.run(main())
    gc.collect()  # asyncio complains of a task that nobody heard once it is gone
    assert caplog.text == ""
    assert len(received) == (times == 2)
    assert outcome.kind is (Kind.ACCEPTED if times == 2 else Kind.UNSENT), outcome
    assert (outcome.started is None) == (times < 2)
    assert (found.kind, TABLE["held"].says in found.detail) == (Kind.UNKNOWN, True), "and nothing is asked"


@pytest.mark.parametrize("pinned", ["it", "it among others", "another", "another, without TLS"])
def test_only_the_pinned_certificate_is_spoken_to(tmp_path: Path, pinned: str) -> None:
    async def main() -> tuple[Outcome, list[bytes]]:
        async with tls(tmp_path) as (url, pin, received):
            spelt = ":".join(pin[n : n + 2] for n in range(0, 64, 2)).upper()
            pins = {"it": pin, "it among others": f"{'0' * 64}, {spelt}"}.get(pinned, "f" * 64)
            async with raw_server(answering(good)) as plain:
                place = plain if pinned.endswith("TLS") else url
                async with connector(place, erp_pin=pins) as erp:
                    return await submit_one(erp, an_order()), received

    outcome, received = asyncio.run(main())
    if pinned.startswith("it"):
        assert (outcome.kind, len(received)) == (Kind.ACCEPTED, 1)
    else:
        row = TABLE["bad url" if pinned.endswith("TLS") else "wrong certificate"]
        assert (outcome.kind, outcome.evidence, received) == (row.kind, row.evidence, [])
        assert row.says in outcome.detail


def test_every_row_is_brought_about() -> None:
    shown = {row for row, *_ in [*ANSWERED, *UNSENT, *SIGNED]} | {"reset before sending", "unforeseen"}
    shown |= {"missing signature", "unknown key", "held", "wrong certificate"}
    shown |= {"no credentials", "our certificate refused"}  # in test_credentials
    assert shown == set(map(str, TABLE))
