"""What goes over the wire, byte by byte: bounds of a head, standards, times, and which connections go first."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from config.settings import Settings
from orders.access import clients
from orders.api import Parts
from orders.api.connection import Connections, HttpConnection, connections, http_connection
from orders.api.connection.deadline import BODY_RATE, TIMES
from orders.api.connection.head import MOST_HEAD, MOST_URL
from orders.api.connection.http_connection import LINGER_TIME
from orders.journal import connect
from tests.intake import ORDER, serving
from tests.machines.roles import above
from tests.waiting import auntil

DEADLINE = 20.0


@dataclass
class Wire:
    """An intake on its port, and a key for it."""

    host: str
    port: int
    key: str

    @property
    def head(self) -> bytes:
        return f"Host: relais\r\nAuthorization: Bearer {self.key}\r\n".encode()

    @contextlib.asynccontextmanager
    async def open(self, *pieces: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 22)
        try:
            for piece in pieces:
                writer.write(piece)
                with contextlib.suppress(ConnectionError):
                    await asyncio.wait_for(writer.drain(), DEADLINE)
            yield reader, writer
        finally:
            writer.transport.abort()

    async def say(self, *pieces: bytes) -> bytes:
        """All that comes back until the other end hangs up."""
        async with self.open(*pieces) as (reader, _):
            found = b""
            with contextlib.suppress(ConnectionError):
                while piece := await asyncio.wait_for(reader.read(1 << 20), DEADLINE):
                    found += piece
            return found

    def post(self, path: str, body: bytes, *more: bytes) -> bytes:
        head = f"POST {path} HTTP/1.1\r\n".encode() + self.head + b"".join(more)
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def order(reference: str, **more: Any) -> bytes:
    return json.dumps({**ORDER, "reference": reference, **more}).encode()


def on_the_wire(settings: Settings, work: Callable[[Wire], Awaitable[None]], most: int | None = None) -> Connections:
    found = Connections() if most is None else Connections(most)

    async def main() -> None:
        engine = connect(above(settings.need("database_url")))
        key = await clients.add(engine, "front", scopes=[*clients.Scope])
        await engine.dispose()
        async with serving(settings, Parts(connections=found)) as url:
            host, port = url.removeprefix("http://").split(":")
            await work(Wire(host, int(port), str(key)))

    asyncio.run(main())
    return found


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def answers(wire: bytes) -> list[tuple[int, dict[str, Any]]]:
    """Status and content of each of several answers that say their length."""
    found = []
    while wire:
        head, _, rest = wire.partition(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        found.append((status(head), json.loads(rest[:size])))
        wire = rest[size:]
    return found


CLOSE = b"Connection: close\r\n"
HEADS = {
    "a long URL": (b"GET /orders?cursor=%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 9_000), 414),
    "a long header": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: %b\r\n\r\n" % (b"a" * 33_000), 431),
    "long headers": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n%b\r\n" % (b"X-A: %b\r\n" % (b"a" * 3_000) * 11), 431),
    "many headers": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n%b\r\n" % (b"X-A: a\r\n" * 101), 431),
    "an endless header": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: %b" % (b"a" * 300_000), 431),
    "an endless name": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n%b" % (b"a" * 300_000), 431),
    "no Host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a Host that is none": (b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "two Hosts of HTTP/1.0": (b"GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "HTTP/2.0": (b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "CONNECT": (b"CONNECT relais:80 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    "a URL that is none": (b"GET http:///%zz\x7f HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "two lengths": (b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "length and chunks": (
        b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
}


def test_a_head_out_of_bounds_is_refused_in_words_and_the_connection_ends(settings: Settings) -> None:
    async def work(wire: Wire) -> None:
        for name, (head, wanted) in HEADS.items():
            said = await wire.say(head)
            assert (name, status(said), b"\r\nconnection: close\r\n" in said) == (name, wanted, True)
            assert json.loads(said.partition(b"\r\n\r\n")[2])["status"] == wanted

    found = on_the_wire(settings, work)
    assert found.ended["malformed"] == len(HEADS)


def test_a_head_within_bounds_is_taken_in_one_piece_and_byte_by_byte(settings: Settings) -> None:
    async def work(wire: Wire) -> None:
        large = b"".join(b"X-%d: %b\r\n" % (n, b"a" * 320) for n in range(90))
        asked = b"GET /healthz?%b HTTP/1.1\r\nHost: [::1]:8470\r\n%b" % (b"a" * 8_000, CLOSE + large + b"\r\n")
        assert status(await wire.say(asked)) == 200
        asked = b"GET http://relais/healthz HTTP/1.1\r\nHost: relais\r\nConnection: close\r\n\r\n"
        assert status(await wire.say(*(asked[n : n + 1] for n in range(len(asked))))) == 200
        assert status(await wire.say(b"GET /healthz HTTP/1.0\r\n\r\n")) == 200

    on_the_wire(settings, work)


def test_who_offers_http_2_is_answered_as_http_1_body_and_all(settings: Settings) -> None:
    """As the JDK's HttpClient and `curl --http2` do with every request."""

    async def work(wire: Wire) -> None:
        offer = b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        whole = wire.post("/orders", order("U1"), offer)
        assert status(await wire.say(whole)) == 202
        body = order("U2")
        chunked = b"POST /orders HTTP/1.1\r\n" + wire.head + offer + b"Transfer-Encoding: chunked\r\n\r\n"
        chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        assert status(await wire.say(*(chunked[n : n + 7] for n in range(0, len(chunked), 7)))) == 202
        kept = wire.post("/orders", order("U3"), offer.replace(b", close", b""))
        socket = wire.post(
            "/orders", order("U4"), CLOSE.replace(b"close", b"close, upgrade"), b"Upgrade: websocket\r\n"
        )
        said = answers(await wire.say(kept + socket))
        assert [(code, content["kept"]) for code, content in said] == [(202, "journal")] * 2
        batch = await wire.say(wire.post("/orders/batch", order("U5") + b"\n" + order("U6"), offer))
        assert batch.count(b'"status":"accepted"') == 2

    on_the_wire(settings, work)


@pytest.mark.parametrize("path", ["/orders", "/orders/batch"])
def test_who_waits_to_be_told_to_go_on_is_told_so(settings: Settings, path: str) -> None:
    async def work(wire: Wire) -> None:
        asked = wire.post(path, order("E1"), b"Expect: 100-continue\r\n", CLOSE)
        head, _, body = asked.partition(b"\r\n\r\n")
        async with wire.open(head + b"\r\n\r\n") as (reader, writer):
            interim = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
            assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert not reader._buffer, "no final status before any of the body"  # type: ignore[attr-defined]
            writer.write(body)
            final = await asyncio.wait_for(reader.read(), DEADLINE)
        assert status(final) in (200, 202)
        refused = await wire.say(head.replace(wire.key.encode(), b"none") + b"\r\n\r\n")
        assert (status(refused), b"\r\nconnection: close\r\n" in refused) == (401, True)

    on_the_wire(settings, work)


def test_an_http_1_0_client_gets_no_chunks(settings: Settings) -> None:
    async def work(wire: Wire) -> None:
        asked = wire.post("/orders/batch", order("O1") + b"\n" + order("O2")).replace(b"HTTP/1.1", b"HTTP/1.0")
        head, _, body = (await wire.say(asked)).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert [json.loads(line)["status"] for line in body.splitlines()] == ["accepted"] * 2

    on_the_wire(settings, work)


def test_requests_that_come_together_are_answered_in_their_order_and_not_endlessly(settings: Settings) -> None:
    async def work(wire: Wire) -> None:
        three = b"".join(wire.post("/orders", order(f"P{n}", note="x" * n)) for n in range(3))
        said = answers(await wire.say(three + b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
        assert [code for code, _ in said] == [202, 202, 202, 404]
        flood = answers(await wire.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000))
        assert 1 <= len(flood) <= http_connection.MOST_AHEAD + 1
        assert {code for code, _ in flood} == {200}

    on_the_wire(settings, work)


def test_a_body_that_nobody_wants_is_not_read_to_its_end(settings: Settings) -> None:
    """The answer says that the connection ends, and comes through although the client is still sending."""

    async def work(wire: Wire) -> None:
        for key, wanted in [("none", 401), (wire.key, 413)]:
            head = (
                f"POST /orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {1 << 30}\r\n\r\n"
            )
            sent = 0
            async with wire.open(head.encode()) as (reader, writer):
                answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
                with contextlib.suppress(ConnectionError, TimeoutError):
                    async with asyncio.timeout(LINGER_TIME * 5):
                        while sent < 1 << 28:
                            writer.write(b" " * 65_536)
                            await writer.drain()
                            sent += 65_536
                said = await asyncio.wait_for(answer, DEADLINE)
            assert (status(said), b"\r\nconnection: close\r\n" in said, sent < 1 << 28) == (wanted, True, True)

    on_the_wire(settings, work)


def test_of_a_head_that_is_refused_no_more_is_read_than_showed_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else it sends is read in turns with all that are refused: a flood of such heads held the loop for 8 ms."""
    read: list[int] = []
    receive = HttpConnection.data_received

    def counted(self: HttpConnection, data: bytes) -> None:
        read.append(len(data))
        receive(self, data)

    async def work(wire: Wire) -> None:
        async with wire.open() as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * (1 << 23))
            assert status(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)) == 431
            showed = sum(read)
            await asyncio.wait_for(reader.read(), DEADLINE)
        assert MOST_HEAD < showed == sum(read) <= MOST_HEAD + MOST_URL + 256 * 1024

    monkeypatch.setattr(connections, "READ_ON", 3_600.0)
    monkeypatch.setattr(HttpConnection, "data_received", counted)
    on_the_wire(settings, work)


def test_those_that_are_refused_read_on_one_by_one() -> None:
    class Loop:
        def __init__(self) -> None:
            self.calls: list[tuple[float, Callable[[], None]]] = []

        def call_later(self, seconds: float, call: Callable[..., None], *given: Any) -> Any:
            self.calls.append((seconds, lambda: call(*given)))
            return self

    class Refused:
        def __init__(self, name: str) -> None:
            self.name = name

        def overdue(self, now: float) -> str | None:
            return None

        def end(self) -> None:
            pass

        def read_on(self) -> None:
            order.append(self.name)
            if order.count(self.name) < 2:
                found.linger(self, loop)  # type: ignore[arg-type]

    order: list[str] = []
    found, loop = Connections(), Loop()
    gone = Refused("gone")
    for each in (Refused("a"), gone, Refused("b"), Refused("c")):
        found.linger(each, loop)  # type: ignore[arg-type]
    found.forget(gone)
    assert len(loop.calls) == 1
    steps = []
    while loop.calls:
        seconds, call = loop.calls.pop(0)
        assert (seconds, loop.calls) == (connections.READ_ON, [])
        call()
        steps.append("".join(order))
    assert steps == ["a", "ab", "abc", "abca", "abcab", "abcabc", "abcabc"]


def test_what_can_be_no_order_is_refused_before_the_rest_of_it_comes(settings: Settings) -> None:
    async def work(wire: Wire) -> None:
        head = wire.post("/orders", b"")[: -len(b"Content-Length: 0\r\n\r\n")]
        asked = head + b"Content-Length: 1000000\r\n\r\n" + b'{"lines":[' + b"{}," * 5_000
        said = await wire.say(asked)
        assert (status(said), b"\r\nconnection: close\r\n" in said) == (422, True)
        (fault,) = json.loads(said.partition(b"\r\n\r\n")[2])["faults"]
        assert fault == {"field": "body", "line": None, "message": "is more than an order of 2000 lines can be"}

    on_the_wire(settings, work)


def test_a_refusal_of_a_small_body_keeps_the_connection(settings: Settings) -> None:
    async def work(wire: Wire) -> None:
        refused = wire.post("/orders", b"{}" + b" " * 2_000).replace(wire.key.encode(), b"none")
        head, _, body = refused.partition(b"\r\n\r\n")
        async with wire.open(head + b"\r\n\r\n") as (reader, writer):
            said = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
            assert (status(said), b"connection: close" in said) == (401, False)
            writer.write(body + wire.post("/orders", order("K1"), CLOSE))
            assert b"HTTP/1.1 202 " in await asyncio.wait_for(reader.read(), DEADLINE)

    on_the_wire(settings, work)


SLOW = {
    "silent": b"",
    "a head": b"POST /orders HTTP/1.1\r\nHost: x\r\n",
    "a body": b"POST /orders HTTP/1.1\r\n%bContent-Length: 300\r\n\r\n{",
    "a batch": b"POST /orders/batch HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n",
    "a pause": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize(("name", "start"), SLOW.items(), ids=SLOW)
def test_who_sends_nothing_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, start: bytes
) -> None:
    for each in ("silent", "head", "body", "idle"):
        monkeypatch.setitem(TIMES, each, 0.3)
    monkeypatch.setattr(connections, "LOOK", 0.05)

    async def work(wire: Wire) -> None:
        said = await wire.say(start % wire.head if b"%b" in start else start)
        assert said.count(b"HTTP/1.1 200") == (name in ("a batch", "a pause"))

    reason = {"silent": "silent", "a head": "silent", "a body": "body", "a batch": "body", "a pause": "idle"}[name]
    assert {**on_the_wire(settings, work).ended} == {reason: 1}


def test_a_body_buys_time_with_its_bytes_and_one_too_slow_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TIMES, "body", 0.6)
    monkeypatch.setattr(connections, "LOOK", 0.05)

    async def work(wire: Wire) -> None:
        async def drip(size: int) -> bytes:
            body = order("D", note="x" * 400)
            async with wire.open(wire.post("/orders", body, CLOSE)[: -len(body)]) as (reader, writer):
                answer = asyncio.ensure_future(reader.read())
                for start in range(0, len(body), size):
                    writer.write(body[start : start + size])
                    await asyncio.wait([answer], timeout=0.1)
                with contextlib.suppress(ConnectionError):
                    return await asyncio.wait_for(answer, DEADLINE)
            return b""

        assert status(await drip(50)) == 202
        assert await drip(5) == b""

    assert on_the_wire(settings, work).ended["body"] == 1


def test_those_that_never_spoke_go_first_then_the_longest_idle_and_orders_still_come_through(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LOOK", 0.05)

    async def work(wire: Wire) -> None:
        async with wire.open(wire.post("/orders", order("I1"))) as (idle, _):
            await asyncio.wait_for(idle.readuntil(b"}"), DEADLINE)
            silent = [await asyncio.open_connection(wire.host, wire.port) for _ in range(40)]
            assert status(await wire.say(wire.post("/orders", order("I2"), CLOSE))) == 202
            assert [await asyncio.wait_for(reader.read(), DEADLINE) for reader, _ in silent[:38]] == [b""] * 38
            assert not idle.at_eof()
            asked = b"GET /metrics HTTP/1.1\r\n" + wire.head + CLOSE + b"\r\n"
            assert b'relais_intake_connections_ended_total{reason="evicted"} 3' in await wire.say(asked)
            for _, writer in silent:
                writer.close()

    with caplog.at_level(logging.WARNING, "relais.connections"):
        found = on_the_wire(settings, work, most=3)
    assert found.ended["evicted"] >= 38
    told = [each for each in caplog.records if each.name == "relais.connections"]
    assert told
    assert told[0].getMessage() == "connections were ended or refused"
    assert sum(each.__dict__.get("evicted", 0) for each in told) <= found.ended["evicted"]


def test_where_every_connection_has_a_request_in_hand_health_is_still_told(settings: Settings) -> None:
    async def work(wire: Wire) -> None:
        start = b"POST /orders HTTP/1.1\r\n" + wire.head + b"Content-Length: 300\r\n\r\n{"
        async with wire.open(start), wire.open(start), aiohttp.ClientSession() as session:
            url = f"http://{wire.host}:{wire.port}"

            async def full() -> bool:
                async with session.get(url + "/orders", headers={"Connection": "close"}) as answer:
                    return answer.status == 503

            await auntil(full)
            for path in ("/healthz", "/readyz"):
                async with session.get(url + path, headers={"Connection": "close"}) as answer:
                    assert answer.status == 200

    assert on_the_wire(settings, work, most=2).ended["refused"] >= 1


def test_a_body_that_breaks_the_protocol_is_told_and_the_order_is_not_taken(settings: Settings) -> None:
    async def work(wire: Wire) -> None:
        start = b"POST /orders HTTP/1.1\r\n" + wire.head + b"Transfer-Encoding: chunked\r\n\r\n"
        body = order("C1")
        assert status(await wire.say(start + b"%x\r\n%b\r\nzz\r\n" % (len(body), body))) == 400
        trailers = b"0\r\n" + b"X-T: a\r\n" * 20_000
        assert status(await wire.say(start, b"%x\r\n%b\r\n" % (len(body), body), trailers)) in (400, 431)
        good = start.replace(b"\r\n\r\n", b"\r\n" + CLOSE + b"\r\n")
        assert status(await wire.say(good + b"%x\r\n%b\r\n0\r\nX-T: a\r\n\r\n" % (len(body), body))) == 202

    on_the_wire(settings, work)


def test_the_times_are_those_that_the_papers_name() -> None:
    assert (TIMES["silent"], TIMES["head"], TIMES["body"], BODY_RATE) == (20.0, 20.0, 20.0, 500)
