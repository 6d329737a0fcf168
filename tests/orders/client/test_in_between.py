"""What stands between a front end and the intake: proxies with limits and pages of their own, broken wires. Whatever
it does, an order is in Relais, in the spool, or set aside there and told.
"""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orders.client.answers import Kept, Outcome, Unsendable
from orders.client.client import OrderClient
from orders.client.flush import LINES
from orders.errors import Malformed
from orders.rules.catalogue import demo_catalogue
from tests.waiting import auntil

Deal = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]  # with a request's body; answers it, or does not


def order(number: int, **fields: object) -> dict[str, Any]:
    lines = [{"product": "3400937318044", "quantity": 2}]
    return {"pharmacy": f"P{number % 7}", "reference": f"R{number}", "lines": lines, **fields}


def references(body: bytes) -> list[str]:
    return [json.loads(line)["reference"] for line in body.splitlines()]


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def accepted(body: bytes) -> bytes:
    lines = [
        json.dumps({"line": number, "status": "accepted", "id": str(uuid4()), "kept": "journal"}).encode()
        for number, _ in enumerate(body.splitlines(), 1)
    ]
    return answer(200, b"\n".join([*lines, b""]), "Content-Type: application/x-ndjson")


@contextlib.asynccontextmanager
async def between(deal: Deal, seen: list[bytes] | None = None) -> AsyncIterator[str]:
    """A server that reads each request whole and deals with it; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            if seen is not None:
                seen.append(body)
            await deal(body, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


class Front:
    """A front end: its spool, and what it was told of each order from there."""

    def __init__(self, path: Path) -> None:
        self.path, self.told = path, dict[int, Outcome]()

    def client(self, url: str, **options: Any) -> OrderClient:
        return OrderClient(url, "key", self.path, longest_pause=0.3, heard=self.told.__setitem__, **options)

    def kinds(self) -> dict[int, type]:
        return {number: type(outcome) for number, outcome in self.told.items() if not isinstance(outcome, Kept)}


@pytest.fixture
def front(tmp_path: Path) -> Front:
    return Front(tmp_path / "spool.db")


JSON = "Content-Type: application/json"
PROBLEM = "Content-Type: application/problem+json"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer(503, b"no", "Retry-After: Mon, 20 Nov 9999999999 12:00:00 GMT"), "it answered 503"),
        (answer(401, b'{"type":"about:blank","detail":"who?"}', PROBLEM), "it answered 401"),
        (answer(401, b'{"type":"urn:relais:problem:unauthorised","detail":"a new key"}', PROBLEM), "a new key"),
        (
            answer(403, b'{"type":"urn:relais:problem:forbidden","detail":"lacks the scope"}', PROBLEM),
            "lacks the scope",
        ),
        (answer(403, b"<h1>firewall"), "it answered 403"),
        (answer(405), "it answered 405"),
        (answer(413, b"<h1>413 Request Entity Too Large</h1>"), "it answered 413"),
        (answer(422, b'{"type":"https://gateway/rules","detail":"no"}', PROBLEM), "it answered 422"),
        (answer(409, b'{"type":"urn:relais:problem:too-late","state":"delivered"}', PROBLEM), "it answered 409"),
        (answer(301, b"", "Location: https://elsewhere/"), "it answered 301"),
        (answer(204), "it answered 204"),
        (answer(202, b'{"id":"x"}', JSON), "its answer is not that of the intake of Relais"),
        (answer(202, b"[" * 100_000, JSON), "its answer is not that of the intake of Relais"),
        (answer(200, b'{"line":1e999,"status":"accepted"}\n', JSON), "its answer is not that of the intake of Relais"),
        (answer(202, b"\xff\xfe\x00", JSON), "its answer is not that of the intake of Relais"),
        (answer(200, b"x" * 3_000_000, JSON), "its answer is not that of the intake of Relais"),
        (answer(503, b"no gzip", "Content-Encoding: gzip"), "the connection broke"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the connection broke"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the connection broke"),
        (b"", "the connection broke"),
    ],
)
def test_whatever_is_answered_that_is_not_about_the_order_it_is_in_the_spool(
    front: Front, said: bytes, why: str
) -> None:
    async def deal(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    async def main() -> None:
        async with between(deal) as url:
            async with front.client(url) as client:
                one = await client.submit(order(1))
            front.path = front.path.with_name("another.db")
            async with front.client(url) as client:
                (many,) = await client.submit_many([order(2)])
                assert (await client.spool.standing()).waiting == 1
        for kept in (one, many):
            assert isinstance(kept, Kept)
            assert (kept.where, kept.number) == ("spool", 1)
            assert str(kept.why).startswith((why, "it answered 202"))  # which is no answer to many
        assert str(one.why).startswith(why)

    asyncio.run(main())


def test_a_server_that_speaks_no_tls_and_a_name_that_nobody_has_are_said_as_that(front: Front) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with front.client(f"https://{place}") as client:
            kept = await client.submit(order(1))
            assert kept.why == f"no connection to {place}: no TLS that can be trusted"
        server.close()
        front.path = front.path.with_name("another.db")
        async with front.client("http://nobody.invalid:8470") as client:
            assert (await client.submit(order(1))).why == "no connection to nobody.invalid:8470: no such host"

    asyncio.run(main())


def sized(most: int) -> Deal:
    """A proxy that takes bodies of so many bytes."""

    async def deal(body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(accepted(body) if len(body) <= most else answer(413, b"<h1>413 Request Entity Too Large</h1>"))

    return deal


def cuts(most: int) -> Deal:
    """One that hangs up on larger ones instead."""

    async def deal(body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(accepted(body) if len(body) <= most else b"")

    return deal


def pages(most: int, status: int) -> Deal:
    """One that has another page for them."""

    async def deal(body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(accepted(body) if len(body) <= most else answer(status, b"<h1>no"))

    return deal


@pytest.mark.parametrize("deal", [sized(16_384), cuts(16_384), pages(16_384, 400), pages(16_384, 502)])
def test_a_spool_behind_a_proxy_with_a_limit_is_handed_over_in_smaller_requests_in_order(
    front: Front, deal: Deal
) -> None:
    async def main() -> None:
        seen: list[bytes] = []
        async with front.client("http://127.0.0.1:1") as client:
            await client.submit_many([order(number) for number in range(LINES + 100)])
        async with between(deal, seen) as url, front.client(url) as client:
            left = await client.flush(30)
            assert (left.waiting, left.refused, client.trouble) == (0, 0, None)
        taken = [each for body in seen if len(body) <= 16_384 for each in references(body)]
        assert taken == [f"R{number}" for number in range(LINES + 100)]
        assert len(seen) < 60

    asyncio.run(main())


def test_an_order_that_alone_is_too_large_is_set_aside_and_told_and_those_behind_it_go(front: Front) -> None:
    async def main() -> None:
        large = order(1, lines=[{"product": code, "quantity": 2} for code in islice(demo_catalogue(), 500)])
        async with front.client("http://127.0.0.1:1") as client:
            await client.submit_many([order(0), large, order(2)])
        async with between(sized(4096)) as url, front.client(url) as client:
            left = await client.flush(30)
            assert (left.waiting, left.refused) == (0, 1)
            (refused,) = await client.spool.refused()
            assert (refused.number, refused.kind) == (2, "unsendable")
            assert refused.reason == f"{len(refused.body)} bytes do not get to the intake: it answered 413"
            assert (await client.submit_many([order(3)]))[0].where == "journal"  # type: ignore[union-attr]
        assert front.kinds() == {2: Unsendable}

    asyncio.run(main())


def refuses(reference: str, said: bytes) -> Deal:
    async def deal(body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(said if reference in references(body) else accepted(body))

    return deal


@pytest.mark.parametrize("said", [b"", answer(403, b"<h1>firewall"), answer(500, b"<h1>oops")])
def test_an_order_that_never_gets_through_though_others_do_is_set_aside_and_told(front: Front, said: bytes) -> None:
    async def main() -> None:
        async with front.client("http://127.0.0.1:1") as client:
            await client.submit_many([order(number) for number in range(50)])
        async with between(refuses("R7", said)) as url, front.client(url) as client:
            left = await client.flush(30)
            assert (left.waiting, left.refused) == (0, 1)
            (refused,) = await client.spool.refused()
            assert (json.loads(refused.body)["reference"], refused.kind) == ("R7", "unsendable")
        assert front.kinds() == {8: Unsendable}
        assert len(front.told) == 50

    asyncio.run(main())


@pytest.mark.parametrize("said", [b"", answer(502, b"<h1>Bad Gateway"), answer(403, b"<h1>firewall")])
def test_while_nothing_gets_through_nothing_is_set_aside(front: Front, said: bytes) -> None:
    async def main() -> None:
        seen: list[bytes] = []

        async def deal(_: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(said)

        async with front.client("http://127.0.0.1:1") as client:
            await client.submit_many([order(number) for number in range(4)])
        async with between(deal, seen) as url, front.client(url) as client:
            await auntil(lambda: len(seen) > 12, 30)
            status = await client.spool.standing()
            assert (status.waiting, status.refused, front.told) == (4, 0, {})
        async with between(sized(1 << 20)) as url, front.client(url) as client:
            assert (await client.flush(30)).waiting == 0

    asyncio.run(main())


def test_what_is_damaged_in_the_spool_is_set_aside_and_shifts_no_answer(front: Front) -> None:
    async def main() -> None:
        async with front.client("http://127.0.0.1:1") as client:
            await client.submit_many([order(number) for number in range(4)])
        damage(front.path, {1: b'{"reference":\n"R0"}', 3: b" "})
        seen: list[bytes] = []
        async with between(sized(1 << 20), seen) as url, front.client(url) as client:
            left = await client.flush(30)
            assert (left.waiting, left.refused) == (0, 2)
        assert [references(body) for body in seen] == [["R1", "R3"]]
        assert front.kinds() == {1: Malformed, 3: Malformed}
        assert str(front.told[1]) == "body: was damaged in the spool: it is not one line"

    asyncio.run(main())


def damage(path: Path, bodies: dict[int, bytes]) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as base:
        changed: Sequence[tuple[bytes, int]] = [(body, number) for number, body in bodies.items()]
        base.executemany("UPDATE orders SET body = ? WHERE number = ?", changed)
