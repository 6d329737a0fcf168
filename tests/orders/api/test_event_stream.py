"""Server-sent events of an order's life: a real uvicorn on a real journal, whose triggers make the events."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest
import uvicorn
import yarl
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.types import Receive, Scope, Send

from config.embedded.postgres import Postgres
from config.settings import Settings
from orders.api import event_hub
from orders.api.event_hub import Listeners
from orders.api.event_stream import EVENTS_AT_ONCE
from orders.api.responses import answer_problem
from orders.errors import RelaisError
from orders.intake.group_commit import open_intake
from orders.journal import connect, transactional
from orders.model import parse
from tests.machines.roles import above
from tests.waiting import auntil

Event = tuple[int, str, dict[str, Any]]
Orders = Callable[[int], Awaitable[list[UUID]]]
DEAD = ("dispatched", "delivering", "dead")
DELIVERED = ("dispatched", "delivering", "delivered")


@pytest.fixture(autouse=True)
def notices_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look that is taken when no notice comes, which would find everything in the end."""
    monkeypatch.setattr(event_hub, "UNASKED", 3600.0)


class Stream:
    """A client's end of one stream."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.comments = 0
        self.retry = 0

    async def event(self) -> Event | None:
        """The next event, None at the end; comments and the retry hint are kept."""
        fields: dict[str, str] = {}
        while line := (await self.answer.content.readline()).decode():
            name, _, value = line.rstrip("\n").partition(":")
            if line == "\n" and "data" in fields:
                return int(fields["id"]), fields["event"], json.loads(fields["data"])
            self.comments += line == ":\n"
            self.retry = int(value) if name == "retry" else self.retry
            fields[name] = value.strip()
        return None

    async def states(self, count: int | None = None) -> list[str]:
        """The states that the next `count` events tell, or all until the end."""
        told: list[str] = []
        while (count is None or len(told) < count) and (event := await self.event()) is not None:
            assert event[1] == event[2]["state"]
            told.append(event[1])
        return told


class Served:
    """A server with nothing but the streams, and the journal behind it."""

    def __init__(self, url: str, listeners: Listeners, engine: AsyncEngine, orders: list[UUID]) -> None:
        self.listeners, self.orders, self.engine = listeners, orders, engine
        self.port = yarl.URL(url).port
        self._url = url
        self._answers: list[aiohttp.ClientResponse] = []
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), read_bufsize=2**21)

    async def get(self, order_id: UUID, last: object = None) -> aiohttp.ClientResponse:
        headers = {} if last is None else {"Last-Event-ID": str(last)}
        self._answers.append(await self._session.get(f"{self._url}/{order_id}", headers=headers))
        return self._answers[-1]

    async def stream(self, order_id: UUID, last: object = None) -> Stream:
        answer = await self.get(order_id, last)
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        return Stream(answer)

    async def problem(self, order_id: UUID, last: object = None) -> tuple[int, str]:
        async with await self.get(order_id, last) as answer:
            return answer.status, (await answer.json(content_type=None))["detail"]

    async def bring(self, order_id: UUID, *states: str) -> None:
        """Take the order from state to state, as the workers would."""
        async with self.engine.connect() as connection:
            for state in states:
                await move(connection, state, order_id)

    async def close(self) -> None:
        for answer in self._answers:
            answer.close()
        await self._session.close()


async def move(connection: AsyncConnection, state: str, *ids: UUID, error: str | None = None) -> None:
    change = text("UPDATE deliveries SET state = :state, error = :error WHERE order_id = ANY(:ids)")
    await connection.execute(change, {"state": state, "error": error, "ids": list(ids)})


def application(listeners: Listeners) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await listeners.stream(UUID(scope["path"][1:]), scope, receive, send)
        except RelaisError as error:
            await answer_problem(send, error, "test")

    return app


@contextlib.asynccontextmanager
async def serving(settings: Settings, count: int = 1, **options: Any) -> AsyncIterator[Served]:
    """Streams served, of `count` orders that were just accepted."""
    url = settings.need("database_url")
    async with open_intake(url) as intake:
        bodies = [
            {"pharmacy": "P1", "reference": f"E{n}", "lines": [{"product": "3400937318044", "quantity": 2}]}
            for n in range(count)
        ]
        accepted = await asyncio.gather(*[intake.accept(parse(json.dumps(each).encode()), "front") for each in bodies])
    engine, listeners = connect(above(url)), Listeners(url, **options)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application(listeners), log_level="error", log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    await auntil(lambda: server.started)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    served = Served(address, listeners, engine, [each.id for each in accepted])
    try:
        yield served
    finally:
        await listeners.close()
        await served.close()
        server.should_exit = True
        await running
        listening.close()
        await engine.dispose()


def over(settings: Settings, work: Callable[[Served], Awaitable[None]], count: int = 1, **options: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), serving(settings, count, **options) as served:
            await work(served)

    asyncio.run(main())


def test_a_stream_begins_with_the_acceptance_and_ends_with_the_final_event(settings: Settings) -> None:
    async def work(served: Served) -> None:
        (order_id,) = served.orders
        stream = await served.stream(order_id)
        assert stream.answer.headers["Cache-Control"] == "no-store"
        assert stream.answer.headers["X-Accel-Buffering"] == "no"
        first = await stream.event()
        assert first is not None and first[:2] == (0, "accepted")
        assert first[2].pop("at").endswith("Z")
        assert first[2] == {"id": str(order_id), "state": "accepted", "reason": None, "error": None}
        assert stream.retry > 0
        await served.bring(order_id, "dispatched", "delivering", "submitted")
        assert await stream.states(1) == ["submitted"]
        await served.bring(order_id, "delivered")
        assert await stream.states() == ["delivered"]
        await auntil(lambda: served.listeners.count == 0)

    over(settings, work)


def test_a_delivery_is_told_with_what_the_erp_accepted_of_each_line(settings: Settings) -> None:
    async def work(served: Served) -> None:
        (order_id,) = served.orders
        stream = await served.stream(order_id)
        later = {"substitute": "3400938615470", "back_ordered": 2, "expected": "2026-01-07"}
        lines = [
            {"line": 1, "product": "3400937318044", "accepted": 1, "reason": "out of stock", **later},
            {"line": 2, "product": "3400938615470", "accepted": 1, "reason": None},
        ]
        await served.bring(order_id, "dispatched", "delivering")
        async with transactional(served.engine).begin() as connection:
            await move(connection, "delivered", order_id)
            await connection.execute(
                text(
                    "INSERT INTO receipts (order_id, lease, backend, reference, lines) "
                    "VALUES (:id, gen_random_uuid(), 'erp', 'ERP-7', CAST(:lines AS jsonb))"
                ),
                {"id": order_id, "lines": json.dumps(lines)},
            )
        await stream.event()
        told = await stream.event()
        assert told is not None
        nothing = {"substitute": None, "back_ordered": 0, "expected": None}
        assert (told[1], told[2]["erp_reference"]) == ("delivered", "ERP-7")
        assert told[2]["lines"] == [lines[0], {**lines[1], **nothing}]

    over(settings, work)


def test_a_client_that_comes_back_hears_only_what_it_has_not_heard(settings: Settings) -> None:
    async def work(served: Served) -> None:
        (order_id,) = served.orders
        await served.bring(order_id, *DEAD, "accepted", "dispatched", "cancelled")
        stream = await served.stream(order_id)
        told = [await stream.event() for _ in range(4)]
        assert await stream.event() is None
        ids = [each[0] for each in told if each is not None]
        assert [each[1] for each in told if each is not None] == ["accepted", "dead", "accepted", "cancelled"]
        for place, last in enumerate(ids[:-1], 1):
            resumed = await served.stream(order_id, last)
            assert [await resumed.event() for _ in told[place:]] == told[place:]
            assert await resumed.event() is None
        async with await served.get(order_id, ids[-1]) as answer:
            assert (answer.status, await answer.read()) == (204, b"")

    over(settings, work)


@pytest.mark.parametrize("state", ["delivered", "cancelled", "discarded"])
def test_a_client_that_has_the_final_event_is_told_to_come_no_more(settings: Settings, state: str) -> None:
    ways = {"delivered": DELIVERED, "cancelled": ("cancelled",), "discarded": (*DEAD, "discarded")}

    async def work(served: Served) -> None:
        (order_id,) = served.orders
        await served.bring(order_id, *ways[state])
        stream = await served.stream(order_id)
        while (event := await stream.event()) is not None:
            last = event
        assert last[1] == state
        assert (await served.get(order_id, last[0])).status == 204

    over(settings, work)


def test_a_dead_letter_is_not_the_end(settings: Settings) -> None:
    async def work(served: Served) -> None:
        (order_id,) = served.orders
        stream = await served.stream(order_id)
        await served.bring(order_id, *DEAD)
        assert await stream.states(2) == ["accepted", "dead"]
        await served.bring(order_id, "accepted")
        replayed = await stream.event()
        assert replayed is not None and replayed[1] == "accepted" and replayed[0] > 0
        resumed = await served.stream(order_id, replayed[0])
        await served.bring(order_id, *DELIVERED)
        assert await stream.states() == ["delivered"]
        assert await resumed.states() == ["delivered"]

    over(settings, work)


@pytest.mark.parametrize("last", ["x", "-1", "1.0", "1 2", "9" * 19, "99999", "²"])
def test_an_event_that_the_order_never_had_cannot_be_resumed_from(settings: Settings, last: str) -> None:
    async def work(served: Served) -> None:
        status, detail = await served.problem(served.orders[0], last)
        assert (status, detail) == (422, "Last-Event-ID: is no event of this order")
        assert served.listeners.count == 0

    over(settings, work)


def test_another_orders_event_cannot_be_resumed_from(settings: Settings) -> None:
    async def work(served: Served) -> None:
        mine, other = served.orders
        stream = await served.stream(other)
        await served.bring(other, *DEAD)
        await served.bring(mine, *DEAD)
        await stream.event()
        dead = await stream.event()
        assert dead is not None
        assert (await served.problem(mine, dead[0]))[0] == 422

    over(settings, work, 2)


def test_nobody_listens_to_an_order_that_is_not_there(settings: Settings) -> None:
    async def work(served: Served) -> None:
        nobody = uuid4()
        assert await served.problem(nobody) == (404, f"no order {nobody}")
        assert await served.problem(nobody, 0) == (404, f"no order {nobody}")

    over(settings, work)


def test_two_who_listen_to_one_order_hear_each_event_once(settings: Settings) -> None:
    async def work(served: Served) -> None:
        (order_id,) = served.orders
        early = await served.stream(order_id)
        await served.bring(order_id, *DEAD)
        assert await early.states(2) == ["accepted", "dead"]
        late = await served.stream(order_id)
        await served.bring(order_id, "accepted", "cancelled")
        assert await early.states() == ["accepted", "cancelled"]
        assert await late.states() == ["accepted", "dead", "accepted", "cancelled"]

    over(settings, work)


def test_events_that_are_committed_in_another_order_than_that_of_their_ids_are_all_heard(settings: Settings) -> None:
    async def work(served: Served) -> None:
        first, second = served.orders
        streams = [await served.stream(each) for each in served.orders]
        for stream in streams:
            assert await stream.states(1) == ["accepted"]
        async with transactional(served.engine).begin() as slow:
            await move(slow, "cancelled", first)
            await served.bring(second, "cancelled")
            assert await streams[1].states() == ["cancelled"]
        assert await streams[0].states() == ["cancelled"]

    over(settings, work, 2)


def test_more_events_than_are_read_at_once_all_come_in_their_order(settings: Settings) -> None:
    async def work(served: Served) -> None:
        (order_id,) = served.orders
        lives = [*DEAD, "accepted"] * EVENTS_AT_ONCE
        await served.bring(order_id, *lives, "cancelled")
        stream = await served.stream(order_id)
        assert await stream.states() == ["accepted", *["dead", "accepted"] * EVENTS_AT_ONCE, "cancelled"]

    over(settings, work)


def test_many_orders_that_change_in_one_statement_are_each_told_to_their_own(settings: Settings) -> None:
    async def work(served: Served) -> None:
        streams = await asyncio.gather(*[served.stream(each) for each in served.orders])
        assert served.listeners.count == len(served.orders)
        async with served.engine.connect() as connection:
            await move(connection, "cancelled", *served.orders)
        for order_id, stream in zip(served.orders, streams, strict=True):
            await stream.event()
            told = await stream.event()
            assert told is not None and (told[2]["id"], told[1]) == (str(order_id), "cancelled")
        await auntil(lambda: served.listeners.count == 0)

    over(settings, work, 300)


def test_an_event_whose_notice_was_lost_is_found_all_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "UNASKED", 0.3)

    async def work(served: Served) -> None:
        (order_id,) = served.orders
        stream = await served.stream(order_id)
        assert await stream.states(1) == ["accepted"]
        async with served.engine.connect() as connection:
            unsaid = text("INSERT INTO events (order_id, state) VALUES (:id, 'cancelled')")
            await connection.execute(unsaid, {"id": order_id})
        assert await stream.states() == ["cancelled"]

    over(settings, work)


async def as_admin(postgres: Postgres, statement: str) -> None:
    connection = await asyncpg.connect(postgres.url)
    await connection.execute(statement)
    await connection.close()


def test_a_journal_that_goes_away_ends_no_stream_and_nothing_is_missed(settings: Settings, postgres: Postgres) -> None:
    name = settings.need("database_url").partition("?")[0].rpartition("/")[2]
    ours = "FROM pg_stat_activity WHERE application_name = 'relais events' AND datname = current_database()"

    async def work(served: Served) -> None:
        (order_id,) = served.orders
        stream = await served.stream(order_id)
        assert await stream.states(1) == ["accepted"]
        async with served.engine.connect() as connection:
            await as_admin(postgres, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await connection.execute(text(f"SELECT pg_terminate_backend(pid) {ours}"))
            await move(connection, "dispatched", order_id)
            await move(connection, "cancelled", order_id)
            heard = asyncio.create_task(stream.event())
            before = stream.comments
            await auntil(lambda: stream.comments > before + 1)
            assert (await connection.execute(text(f"SELECT count(*) {ours}"))).scalar_one() == 0
            assert not heard.done()
            await as_admin(postgres, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        told = await heard
        assert told is not None and told[1] == "cancelled"
        assert await stream.event() is None

    over(settings, work, comment=0.5)


def test_a_stream_cannot_begin_while_the_journal_is_away(
    settings: Settings, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "TIMEOUT", 0.3)
    name = settings.need("database_url").partition("?")[0].rpartition("/")[2]

    async def work(served: Served) -> None:
        await as_admin(postgres, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        assert await served.problem(served.orders[0]) == (503, "the journal is out of reach")
        await as_admin(postgres, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

        async def begins() -> bool:
            return (await served.get(served.orders[0])).status == 200

        await auntil(begins)

    over(settings, work)


def test_a_listener_that_does_not_read_is_dropped_and_nobody_waits_for_it(settings: Settings) -> None:
    async def work(served: Served) -> None:
        (order_id,) = served.orders
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", served.port))
        deaf.sendall(f"GET /{order_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await auntil(lambda: served.listeners.count == 1)
        stream = await served.stream(order_id)
        async with served.engine.connect() as connection:
            for state in DEAD:
                await move(connection, state, order_id, error="x" * 2**20)
        assert await stream.states(2) == ["accepted", "dead"]
        await auntil(lambda: served.listeners.count == 1)
        await served.bring(order_id, "accepted", "cancelled")
        assert await stream.states() == ["accepted", "cancelled"]
        deaf.close()

    over(settings, work, comment=0.5, patience=2.0)


def test_a_client_that_hangs_up_is_forgotten(settings: Settings) -> None:
    async def work(served: Served) -> None:
        streams = [await served.stream(served.orders[0]) for _ in range(3)]
        assert served.listeners.count == 3
        streams[1].answer.close()
        await auntil(lambda: served.listeners.count == 2)
        await served.bring(served.orders[0], "cancelled")
        assert await streams[2].states() == ["accepted", "cancelled"]

    over(settings, work)


def test_closing_ends_every_stream_and_takes_no_more(settings: Settings) -> None:
    async def work(served: Served) -> None:
        (order_id,) = served.orders
        streams = [await served.stream(order_id) for _ in range(3)]
        await served.listeners.close()
        assert [await stream.states() for stream in streams] == [["accepted"]] * 3
        assert await served.problem(order_id) == (503, "the intake is stopping")

    over(settings, work)


def test_no_more_listen_than_may(settings: Settings) -> None:
    async def work(served: Served) -> None:
        (order_id,) = served.orders
        streams = [await served.stream(order_id) for _ in range(2)]
        assert await served.problem(order_id) == (503, "as many listen as may")
        streams[0].answer.close()
        await auntil(lambda: served.listeners.count == 1)
        await served.stream(order_id)

    over(settings, work, bound=2)


def test_a_stream_that_has_lasted_long_enough_ends_and_is_taken_up_again(settings: Settings) -> None:
    async def work(served: Served) -> None:
        (order_id,) = served.orders
        stream = await served.stream(order_id)
        assert await stream.states() == ["accepted"]
        await served.bring(order_id, "cancelled")
        assert await (await served.stream(order_id, 0)).states() == ["cancelled"]

    over(settings, work, longest=0.5)
