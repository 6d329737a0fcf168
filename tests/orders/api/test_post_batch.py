"""POST /orders/batch over a real socket: every line its answer, whatever the others are, and in bounded memory."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text

from config.settings import Settings
from orders.access import clients
from orders.api import BODY_LIMIT, answer_buffer, state
from orders.api.answer_buffer import CHUNK, IN_MEMORY, AnswerBuffer
from orders.api.load_shedding import Places
from orders.api.routes import post_batch
from orders.api.routes.post_batch import MOST_LINES, PIECE
from orders.journal import connect, transactional
from orders.queries import order_pages
from tests.intake import ORDER, Call, over_http, serving
from tests.machines.roles import above
from tests.waiting import auntil

LINES = "/orders/batch"


def line(reference: str, **more: Any) -> bytes:
    return json.dumps({**ORDER, "reference": reference, **more}).encode()


async def send(call: Call, *lines: bytes, end: bytes = b"\n") -> list[dict[str, Any]]:
    status, text, answer = await call("POST", LINES, data=io.BytesIO(b"\n".join(lines) + end), read="text")
    assert (status, answer.content_type) == (200, "application/x-ndjson")
    return [json.loads(each) for each in text.splitlines()]


def test_each_line_has_its_answer_and_a_bad_one_costs_no_good_one(settings: Settings) -> None:
    async def work(call: Call) -> None:
        _, first, _ = await call("POST", "/orders", json={**ORDER, "reference": "OLD"})
        said = await send(
            call,
            line("B1"),
            b"",
            b"not json",
            line("B2", priority="urgent"),
            line("B1"),
            line("OLD"),
            line("OLD", note="other"),
            line("B3", lines=[{"product": "1", "quantity": 0}]),
            b" " * (BODY_LIMIT + 1),
            b"\xff\xfe",
            line("B4"),
            end=b"",
        )
        assert [(each["line"], each["status"]) for each in said] == [
            (1, "accepted"),
            (3, "malformed"),
            (4, "accepted"),
            (5, "repeated"),
            (6, "repeated"),
            (7, "conflict"),
            (8, "malformed"),
            (9, "malformed"),
            (10, "malformed"),
            (11, "accepted"),
        ]
        by_line = {each["line"]: each for each in said}
        assert by_line[5]["id"] == by_line[1]["id"]
        assert by_line[6]["id"] == by_line[7]["first"] == first["id"]
        assert {fault["field"] for fault in by_line[8]["faults"]} == {"lines.1.product", "lines.1.quantity"}
        assert (await call("GET", f"/orders/{by_line[11]['id']}"))[1]["reference"] == "B4"

    over_http(settings, work)


def test_a_chunk_is_split_into_lines_by_the_piece_and_grouped_as_a_whole() -> None:
    """A chunk of 256 KiB that is lines of one byte was split at once, in some 6 ms."""

    async def groups(*chunks: bytes) -> list[list[tuple[int, bytes | None]]]:
        messages = [
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
            for number, chunk in enumerate(chunks, 1)
        ]

        async def receive() -> Any:
            return messages.pop(0)

        return [group async for group in post_batch._lines(receive)]

    raw = b"x" * 40
    (group,) = asyncio.run(groups((raw + b"\n") * 1_000))[1:]
    assert group == [(number, raw) for number in range(MOST_LINES + 1, 1_001)]
    first, second = asyncio.run(groups(b"a\n" * 3 + b"y" * PIECE, b"y" * PIECE + b"\nb"))
    assert first == [(1, b"a"), (2, b"a"), (3, b"a")]
    assert second == [(4, b"y" * 2 * PIECE), (5, b"b")]
    for size in (PIECE - 1, PIECE, PIECE + 1):
        assert asyncio.run(groups(b"z" * size, b"")) == [[(1, b"z" * size)]]
        assert asyncio.run(groups(b"\n" * size + b"z")) == [[(size + 1, b"z")]]


def test_an_empty_batch_is_answered_with_nothing(settings: Settings) -> None:
    async def work(call: Call) -> None:
        assert await send(call, end=b"") == []
        assert await send(call, b"", b" ", b"\r") == []

    over_http(settings, work)


def test_answers_come_while_the_rest_is_still_to_be_sent(settings: Settings) -> None:
    async def work(call: Call) -> None:
        answered = asyncio.Event()

        async def lines() -> AsyncIterator[bytes]:
            yield line("FIRST") + b"\n" + line("SECOND")[:20]
            await asyncio.wait_for(answered.wait(), 20)
            yield line("SECOND")[20:]

        async with call.stream(data=lines()) as answer:
            first = json.loads(await answer.content.readline())
            answered.set()
            rest = [json.loads(each) async for each in answer.content]
        assert (first["line"], [each["line"] for each in rest]) == (1, [2])

    with_streams(settings, work)


def test_a_client_that_hangs_up_loses_nothing_that_was_answered(settings: Settings) -> None:
    async def work(call: Call) -> None:
        async def lines() -> AsyncIterator[bytes]:
            for number in range(500):
                yield line(f"H{number}") + b"\n"
            await asyncio.wait_for(asyncio.Event().wait(), 60)

        answered = []
        async with call.stream(data=lines()) as answer:
            async for each in answer.content:
                answered.append(json.loads(each)["id"])
                if len(answered) == 300:
                    break
            answer.close()
        engine = connect(above(settings.need("database_url")))
        kept = {str(row.id) for row in await order_pages.page(engine, limit=1000)}
        await engine.dispose()
        assert set(answered) <= kept

    with_streams(settings, work)


def test_a_client_that_reads_nothing_before_it_has_sent_everything_gets_every_answer(settings: Settings) -> None:
    """As urllib and most others do: the answers are far more than what sockets hold."""

    async def work(call: Call) -> None:
        host, port, key = call.address
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
        body = b"".join(b'{"reference":"%07d"}\n' % number for number in range(100_000))
        head = f"POST {LINES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.wait_for(writer.drain(), 60)
        await auntil(lambda: writer.transport.get_write_buffer_size() == 0, 60)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        count = 0
        while not (await reader.readline()).startswith(b"0\r\n"):
            count += 1
        writer.close()
        assert count > 100_000

    with_streams(settings, work)


def test_a_client_may_only_order_for_its_pharmacies_and_with_a_key_that_writes(settings: Settings) -> None:
    async def work(call: Call) -> None:
        engine = connect(above(settings.need("database_url")))
        limited = await clients.add(engine, "limited", pharmacies=["990000002"])
        reader = await clients.add(engine, "reader", scopes=[clients.Scope.READ])
        await engine.dispose()
        headers = {"Authorization": f"Bearer {limited}"}
        _, text, _ = await call(
            "POST", LINES, headers=headers, data=line("P1") + b"\n" + line("P2", pharmacy="OTHER"), read="text"
        )
        assert [json.loads(each)["status"] for each in text.splitlines()] == ["accepted", "forbidden"]
        status, problem, _ = await call("POST", LINES, headers={"Authorization": f"Bearer {reader}"}, data=line("P3"))
        assert (status, problem["type"]) == (403, "urn:relais:problem:forbidden")

    over_http(settings, work)


def test_a_journal_that_does_not_answer_is_told_line_by_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "JOURNAL_TIMEOUT", 1.0)

    async def work(call: Call) -> None:
        engine = transactional(connect(above(settings.need("database_url"))))
        async with engine.connect() as connection:
            await connection.execute(text("LOCK TABLE orders"))
            said = await send(call, line("N1"), b"{}", line("N2"))
        assert [each["status"] for each in said] == ["unavailable", "malformed", "unavailable"]
        assert said[0]["retry_after"] > 0
        await auntil(lambda: kept(call), 10)
        await engine.dispose()

    async def kept(call: Call) -> bool:
        return (await send(call, line("N1")))[0]["status"] in ("accepted", "repeated")

    over_http(settings, work)


def test_what_nobody_foresaw_is_told_line_by_line_too(settings: Settings) -> None:
    async def work(call: Call) -> None:
        await send(call, line("KNOWN"))
        engine = connect(above(settings.need("database_url")))
        async with engine.connect() as connection:
            await connection.execute(text("ALTER TABLE orders RENAME TO gone"))
            said = await send(call, line("U1"), b"{}", line("U2"))
            await connection.execute(text("ALTER TABLE gone RENAME TO orders"))
        await engine.dispose()
        assert [each["status"] for each in said] == ["unavailable", "malformed", "unavailable"]
        await auntil(lambda: kept(call), 10)

    async def kept(call: Call) -> bool:
        return (await send(call, line("U1")))[0]["status"] in ("accepted", "repeated")

    over_http(settings, work)


class Streams:
    """What a test needs that streams its request while it reads the answer."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._session, self._url, self.address = session, url + LINES, (host, int(port), key)
        self._headers = {"Authorization": f"Bearer {key}"}

    def stream(self, data: AsyncIterator[bytes]) -> Any:
        return self._session.post(self._url, data=data, headers=self._headers)


def with_streams(settings: Settings, work: Any) -> None:
    async def main() -> None:
        engine = connect(above(settings.need("database_url")))
        key = await clients.add(engine, "front")
        await engine.dispose()
        async with serving(settings) as url, aiohttp.ClientSession() as session:
            await work(Streams(session, url, key))

    asyncio.run(main())


@pytest.mark.parametrize("size", [1, 1000, CHUNK + 1, IN_MEMORY + 1])
def test_an_outbox_gives_what_was_put_in_its_order(size: int) -> None:
    async def run() -> None:
        with AnswerBuffer(Places(1 << 30), "front") as outbox:
            parts = [bytes([number % 251]) * size for number in range(12)]
            got = b""
            for number, part in enumerate(parts):
                outbox.put(part)
                if number % 5 == 4:
                    got += await outbox.take()
            outbox.end()
            while chunk := await outbox.take():
                got += chunk
            assert got == b"".join(parts)

    asyncio.run(run())


class Watched(io.BytesIO):
    """A file that remembers how large it was at most."""

    most = 0

    def write(self, data: Any) -> int:
        count = super().write(data)
        self.most = max(self.most, self.tell())
        return count


def test_a_batch_whose_answers_are_not_read_is_no_longer_read_and_goes_on_when_they_are(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MOST_ANSWERS", 2 * 1024 * 1024)
    files: list[Watched] = []
    monkeypatch.setattr(answer_buffer.tempfile, "TemporaryFile", lambda **_: files.append(Watched()) or files[-1])

    async def work(call: Any) -> None:
        host, port, key = call.address
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 16)
        count = 400_000
        head = f"POST {LINES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {2 * count}\r\n\r\n".encode())
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"x\n" * count)
        await auntil(lambda: bool(files) and files[0].most > 900_000, 60)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        answered = 0
        while piece := await asyncio.wait_for(reader.read(1 << 16), 60):
            answered += piece.count(b'"status":"malformed"')
        writer.close()
        assert answered >= count * 0.99  # one may be cut in two by a piece
        assert files[0].most < 2 * 1024 * 1024  # 50 MiB of answers went through it

    with_streams(settings, work)
