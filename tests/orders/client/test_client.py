"""The client of the intake: an order that it was given is safe in Relais or in the spool, and it says which."""

import asyncio
import contextlib
import itertools
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import uvicorn
from aiohttp import web
from sqlalchemy import text

from config.embedded.ports import choose
from config.retry_after import LONGEST_PAUSE
from config.settings import Settings
from orders.access import clients
from orders.api import create_app
from orders.client.answers import Away, Kept, Outcome, refusal
from orders.client.client import OrderClient
from orders.client.flush import LINES
from orders.client.spool_file import SpoolFull, turn
from orders.errors import Conflict, Forbidden, Malformed, Unauthorised
from orders.journal import connect
from orders.model import EXAMPLE, parse
from tests.machines.roles import above
from tests.machines.tools import ROOT
from tests.waiting import auntil

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def order(number: int, tag: str = "R", **fields: object) -> dict[str, Any]:
    lines = [{"product": "3400937318044", "quantity": 2}]
    return {"pharmacy": f"P{number % 7}", "reference": f"{tag}{number}", "lines": lines, **fields}


def orders(count: int, tag: str = "R") -> list[dict[str, Any]]:
    return [order(number, tag) for number in range(count)]


class Site:
    """A journal, the port of an intake that runs or does not, a key, a spool."""

    def __init__(self, settings: Settings, path: Path) -> None:
        self.settings, self.path, self.port = settings, path, choose()
        self.url = f"http://127.0.0.1:{self.port}"
        self.heard: list[tuple[int, Outcome]] = []

    def client(self, **options: Any) -> OrderClient:
        options = {"key": self.key, "longest_pause": 0.3, **options}
        heard = lambda number, outcome: self.heard.append((number, outcome))  # noqa: E731
        return OrderClient(self.url, options.pop("key"), self.path, heard=heard, **options)

    async def add(self, name: str, **limits: Any) -> str:
        engine = connect(above(self.settings.need("database_url")))
        try:
            return await clients.add(engine, name, **limits)
        finally:
            await engine.dispose()

    @contextlib.asynccontextmanager
    async def intake(self) -> AsyncIterator[None]:
        """The intake, answering at its port."""
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", self.port))
            options = uvicorn.Config(create_app(self.settings), log_level="error", log_config=None, lifespan="on")
            server = uvicorn.Server(options)
            running = asyncio.create_task(server.serve(sockets=[listening]))
            await auntil(lambda: server.started)
            try:
                yield
            finally:
                server.should_exit = True
                await running

    async def journal(self) -> list[str]:
        """The references in the journal, in the order in which they were accepted."""
        engine = connect(above(self.settings.need("database_url")))
        try:
            async with engine.connect() as connection:
                return [*(await connection.execute(text("SELECT reference FROM orders ORDER BY id"))).scalars()]
        finally:
            await engine.dispose()


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Site:
    found = Site(settings, tmp_path / "spool.db")
    found.key = asyncio.run(found.add("front"))
    return found


def test_an_order_is_safe_in_relais_and_says_where(site: Site, run: Run) -> None:
    async def work() -> None:
        async with site.intake(), site.client() as client:
            kept = await client.submit(order(1))
            assert (kept.where, kept.repeated, kept.number) == ("journal", False, None)
            assert kept.id is not None
            as_bytes, as_order = json.dumps(order(1)).encode(), parse(json.dumps(order(1)).encode())
            for same in (as_bytes, as_order):
                assert await client.submit(same) == Kept("journal", True, kept.id)
            with pytest.raises(Conflict, match=str(kept.id)) as conflict:
                await client.submit(order(1, priority="urgent"))
            assert conflict.value.first == str(kept.id)
            timed = await client.submit(order(2, cut_off=datetime.now(UTC)))
            assert timed.where == "journal"
            assert await client.spool.empty()

    run(work())


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (order(1, lines=[]), "lines"),
        (b"nonsense", "body"),
        ({"a": object()}, "body"),
        (order(1, note="\ud800"), "body"),
    ],
)
def test_what_is_malformed_is_refused_even_if_the_intake_is_away(site: Site, run: Run, given: Any, field: str) -> None:
    async def work() -> None:
        async with site.client() as client:
            with pytest.raises(Malformed) as caught:
                await client.submit(given)
            assert caught.value.faults[0].field == field
            (refused, kept) = await client.submit_many([given, order(2)])
            assert isinstance(refused, Malformed)
            assert isinstance(kept, Kept)
            assert (await client.spool.standing()).waiting == 1

    run(work())


def test_while_the_intake_is_away_orders_wait_in_the_spool_and_arrive_in_order(site: Site, run: Run) -> None:
    count = 2 * LINES + 50

    async def work() -> None:
        async with site.client() as client:
            single = [await client.submit(each) for each in orders(30)]
            many = await client.submit_many(orders(count)[30:])
            assert [each.number for each in [*single, *many]] == list(range(1, count + 1))  # type: ignore[union-attr]
            assert {(each.where, each.id) for each in single} == {("spool", None)}
            assert (await client.submit(order(3))) == Kept("spool", True, number=4)
            left = await client.flush()
            assert (left.waiting, str(client.trouble) != "") == (count, True)
            async with site.intake():
                left = await client.flush(20)
                assert (left.waiting, left.refused, client.trouble) == (0, 0, None)
                assert (await client.submit(order(count))).where == "journal"
        assert await site.journal() == [each["reference"] for each in orders(count + 1)]
        assert [number for number, _ in site.heard] == list(range(1, count + 1))
        assert {(each.where, each.repeated) for _, each in site.heard if isinstance(each, Kept)} == {("journal", False)}

    run(work())


def test_a_spool_that_is_left_behind_is_emptied_by_the_next_client_without_being_asked(site: Site, run: Run) -> None:
    async def work() -> None:
        async with site.client() as client:
            await client.submit_many(orders(10))
        async with site.intake(), site.client() as client:
            await auntil(client.spool.empty, 20)
        assert len(await site.journal()) == 10

    run(work())


def test_new_orders_queue_behind_those_that_wait_though_the_intake_answers(site: Site, run: Run) -> None:
    async def work() -> None:
        async with site.client() as client:
            await client.submit(order(0))
        with turn(site.path):  # as another process that is emptying the spool
            async with site.intake(), site.client() as client:
                assert (await client.submit(order(1))).where == "spool"
                (kept,) = await client.submit_many([order(2)])
                assert (await client.flush()).waiting == 3
                assert "another process" in str(client.trouble)
                assert (await site.journal(), isinstance(kept, Kept) and kept.number) == ([], 3)
        async with site.intake(), site.client() as client:
            assert (await client.flush(20)).waiting == 0
        assert await site.journal() == ["R0", "R1", "R2"]

    run(work())


def test_what_the_intake_refuses_later_is_kept_with_the_reason(site: Site, run: Run) -> None:
    async def work() -> None:
        narrow = await site.add("narrow", pharmacies=["P1", "P2"])
        async with site.intake(), site.client() as client:
            await client.submit(order(1))
        async with site.client(key=narrow) as client:
            await client.submit_many([order(1, priority="urgent"), order(2), order(3)])
            async with site.intake():
                left = await client.flush(20)
                assert (left.waiting, left.refused) == (0, 2)
                refused = await client.spool.refused()
                with pytest.raises(Forbidden):
                    await client.submit(order(3))
        assert [(each.number, each.kind) for each in refused] == [(1, "conflict"), (3, "forbidden")]
        assert "other content" in refused[0].reason
        assert [type(outcome) for _, outcome in site.heard] == [Conflict, Kept, Forbidden]
        assert await site.journal() == ["R1", "R2"]

    run(work())


def test_a_key_that_is_refused_costs_no_order(site: Site, run: Run) -> None:
    async def work() -> None:
        async with site.client(key="relais_wrong") as client:
            await client.submit_many(orders(5))
            async with site.intake():
                left = await client.flush(60)  # it does not go on for a minute with a key that is refused
                assert isinstance(client.trouble, Unauthorised)
                assert (left.waiting, left.refused) == (5, 0)
        async with site.intake(), site.client() as client:
            assert (await client.flush(20)).waiting == 0
        async with site.intake(), site.client(key="relais_wrong") as client:
            kept = await client.submit(order(9))
            assert (kept.where, kept.why) == ("spool", str(client.trouble))
            assert isinstance(client.trouble, Unauthorised)
        async with site.intake(), site.client() as client:
            assert (await client.flush(20)).waiting == 0
        assert len(await site.journal()) == 6

    run(work())


def test_a_full_spool_is_an_error_and_what_is_in_it_stays(site: Site, run: Run) -> None:
    async def work() -> None:
        async with site.client(most_orders=2) as client:
            await client.submit(order(0))
            outcomes = await client.submit_many(orders(3)[1:])
            assert [type(each) for each in outcomes] == [Kept, SpoolFull]
            with pytest.raises(SpoolFull, match="holds 2 of 2 orders"):
                await client.submit(order(2))
            async with site.intake():
                assert (await client.flush(20)).waiting == 0
                assert (await client.submit(order(2))).where == "journal"

    run(work())


DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from orders.client.client import OrderClient
from orders.client.spool import Spool
from tests.machines.roles import above

async def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    Spool.settle = die  # the answers are here, and nothing is deleted yet
    async with OrderClient(sys.argv[1], sys.argv[2], Path(sys.argv[3])) as client:
        await client.flush(20)

asyncio.run(main())
"""


def test_a_crash_between_the_answer_and_its_noting_takes_nothing_twice(site: Site, run: Run) -> None:
    async def work() -> None:
        async with site.client() as client:
            await client.submit_many(orders(20))
        async with site.intake():
            argv = [sys.executable, "-c", DYING, site.url, site.key, str(site.path)]
            died = await asyncio.to_thread(subprocess.run, argv, cwd=ROOT, check=False, timeout=60)
            assert died.returncode == -signal.SIGKILL
            assert sorted(await site.journal()) == sorted(each["reference"] for each in orders(20))
            async with site.client() as client:
                assert (await client.spool.standing()).waiting in (0, 20)
                assert (await client.flush(20)).waiting == 0
        assert [isinstance(each, Kept) and each.repeated for _, each in site.heard] == [True] * 20
        assert len(await site.journal()) == 20

    run(work())


# What only an intake that misbehaves shows: a real HTTP server that answers as it is told.

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedIntake:
    """Answers one request after the other as the list says, the last answer again and again; and remembers them."""

    def __init__(self, *answers: Answer) -> None:
        self._answers, self.seen, self.at = [*answers], list[tuple[str, list[str]]](), list[float]()
        self.most, self._now = 0, 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self._now += 1
        self.most = max(self.most, self._now)
        self.at.append(time.monotonic())
        lines = (await request.text()).splitlines()
        self.seen.append((request.path, [json.loads(line)["reference"] for line in lines]))
        try:
            return await (self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])(request)
        finally:
            self._now -= 1

    def batches(self) -> list[list[str]]:
        return [references for path, references in self.seen if path == "/orders/batch"]


@contextlib.asynccontextmanager
async def serving(site: Site, intake: ScriptedIntake) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/{path:.*}", intake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", site.port, reuse_address=True).start()
    try:
        yield
    finally:
        await runner.cleanup()


def says(status: int, body: object = None, content_type: str = "application/problem+json", **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body or {"status": status, "detail": "because"})
        return web.Response(status=status, text=text, content_type=content_type, headers=headers)

    return answer


def lines_of(*answers: dict[str, Any], breaks: bool = False) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for each in answers:
            await response.write(json.dumps(each).encode() + b"\n")
        if breaks and request.transport is not None:
            request.transport.abort()
        return response

    return answer


async def takes(request: web.Request) -> web.StreamResponse:
    count = len((await request.text()).splitlines())
    return await lines_of(*(taken(number) for number in range(1, count + 1)))(request)


def taken(line: int, **more: object) -> dict[str, object]:
    return {"line": line, "status": "accepted", "id": str(uuid4()), "kept": "journal", **more}


def test_an_order_that_relais_spilled_is_as_safe(site: Site, run: Run) -> None:
    one = str(uuid4())
    intake = ScriptedIntake(
        says(202, {"id": one, "repeated": False, "kept": "spill"}, "application/json"),
        lines_of(taken(1, kept="spill")),
    )

    async def work() -> None:
        async with serving(site, intake), site.client() as client:
            assert await client.submit(order(1)) == Kept("spill", False, UUID(one))
            (kept,) = await client.submit_many([order(2)])
            assert isinstance(kept, Kept)
            assert (kept.where, await client.spool.empty()) == ("spill", True)

    run(work())


@pytest.mark.parametrize("status", [429, 503])
def test_the_intake_is_left_alone_for_as_long_as_it_asks(site: Site, run: Run, status: int) -> None:
    intake = ScriptedIntake(says(status, **{"Retry-After": "1"}), says(status, **{"Retry-After": "1"}), takes)

    async def work() -> None:
        async with serving(site, intake), site.client() as client:
            assert (await client.submit(order(1))).where == "spool"
            assert (await client.flush(20)).waiting == 0

    run(work())
    assert [path for path, _ in intake.seen] == ["/orders", "/orders/batch", "/orders/batch"]
    assert all(after - before >= 0.99 for before, after in zip(intake.at, intake.at[1:], strict=False))


def test_lines_that_were_answered_are_not_sent_again(site: Site, run: Run) -> None:
    intake = ScriptedIntake(
        says(503),
        lines_of(taken(1), taken(2), {"line": 3, "status": "unavailable", "detail": "no", "retry_after": 0}, taken(4)),
        lines_of(taken(1), breaks=True),
        takes,
    )

    async def work() -> None:
        async with serving(site, intake), site.client() as client:
            outcomes = await client.submit_many(orders(6))
            assert [each.number for each in outcomes if isinstance(each, Kept)] == [1, 2, 3, 4, 5, 6]
            assert (await client.flush(20)).waiting == 0

    run(work())
    whole = [f"R{number}" for number in range(6)]
    assert intake.batches() == [whole, whole, ["R2", "R4", "R5"], ["R4", "R5"]]


def test_of_many_only_what_has_no_answer_goes_to_the_spool(site: Site, run: Run) -> None:
    unavailable = {"line": 2, "status": "unavailable", "detail": "no", "retry_after": 0}
    first = uuid4()
    intake = ScriptedIntake(
        lines_of(taken(1), unavailable, {"line": 3, "status": "conflict", "first": str(first)}), takes
    )

    async def work() -> None:
        async with serving(site, intake), site.client() as client:
            kept, spooled, refused = await client.submit_many(orders(3))
            assert isinstance(kept, Kept)
            assert isinstance(refused, Conflict)
            assert (kept.where, spooled, refused.first) == ("journal", Kept("spool", False, number=1), str(first))
            assert (await client.flush(20)).waiting == 0

    run(work())
    assert intake.batches()[1:] == [["R1"]]


@pytest.mark.parametrize(
    "answer",
    [
        says(404, "<html>no such site", "text/html"),
        says(200, "<html>please log in", "text/html"),
        says(401, "<html>proxy", "text/html"),
        says(403, "<html>firewall", "text/html"),
        says(302, "", "text/html", Location="/elsewhere"),
        says(409, "{}"),
        says(422, "not JSON"),
        says(500),
        says(202, "{}", "application/json"),
        lines_of({"line": 7, "status": "accepted", "id": str(uuid4())}),
        lines_of({"line": 1, "status": "what?"}),
        lines_of(),
    ],
)
def test_who_is_not_the_intake_refuses_and_takes_nothing(site: Site, run: Run, answer: Answer) -> None:
    intake = ScriptedIntake(answer, answer, answer, takes)

    async def work() -> None:
        async with serving(site, intake), site.client() as client:
            assert (await client.submit(order(1))).where == "spool"
            assert (await client.flush(20)).waiting == 0
            assert (await client.spool.standing()).refused == 0

    run(work())
    assert len(intake.seen) == 4
    assert len(site.heard) == 1


PROBLEM = {"Content-Type": "application/problem+json"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "said"),
    [
        (
            422,
            PROBLEM,
            b'{"type":"urn:relais:problem:malformed","faults":[{"field":"lines.1.quantity","message":"too small"}]}',
            Malformed,
            "lines.1.quantity",
        ),
        (422, PROBLEM, b'{"type":"urn:relais:problem:malformed","detail":"no"}', Malformed, "body: no"),
        (413, PROBLEM, b'{"type":"urn:relais:problem:too-large","title":"too large"}', Malformed, "too large"),
        (409, PROBLEM, b'{"type":"urn:relais:problem:conflict","first":"the other"}', Conflict, "the other"),
        (409, PROBLEM, b'{"type":"urn:relais:problem:too-late","state":"delivered"}', Away, "it answered 409"),
        (
            401,
            PROBLEM,
            b'{"type":"urn:relais:problem:unauthorised","detail":"not in force"}',
            Unauthorised,
            "not in force",
        ),
        (403, PROBLEM, b"[]", Away, "it answered 403"),
        (403, {}, b'{"type":"urn:relais:problem:forbidden"}', Away, "it answered 403"),
        (422, PROBLEM, b'{"type":"about:blank","detail":"no"}', Away, "it answered 422"),
        (400, PROBLEM, b'{"type":"urn:relais:problem:malformed"}', Away, "it answered 400"),
        (503, PROBLEM, b'{"detail":"away"}', Away, "it answered 503"),
    ],
)
def test_only_a_problem_document_refuses_for_good(
    status: int, headers: dict[str, str], body: bytes, kind: type[Exception], said: str
) -> None:
    found = refusal(status, headers, body)
    assert type(found) is kind
    assert said in str(found)


def test_retry_after_is_seconds_or_a_date_and_within_reason() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    beyond = "Mon, 20 Nov 9999999999 12:00:00 GMT"
    given = {"7": 7.0, "-3": None, "1e9": None, "9" * 400: LONGEST_PAUSE, "nonsense": None, beyond: None}
    given |= {"Wed, 21 Oct 2015 07:28:00 GMT": 0.0}
    for given_as, seconds in given.items():
        answer = refusal(503, {"Retry-After": given_as}, b"")
        assert isinstance(answer, Away)
        assert answer.retry_after == seconds
    dated = refusal(429, {"Retry-After": soon}, b"")
    assert isinstance(dated, Away)
    assert 60 < (dated.retry_after or 0) <= 90


def test_an_intake_that_hangs_keeps_only_the_first_order_waiting(site: Site, run: Run) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    intake = ScriptedIntake(never)

    async def work() -> None:
        async with serving(site, intake), site.client(timeout=0.3) as client:
            kept = [await client.submit(each) for each in orders(20)]
            assert [each.number for each in kept] == list(range(1, 21))

    run(work())
    assert [references for path, references in intake.seen if path == "/orders"] == [["R0"]]


def test_two_clients_of_one_spool_never_flush_at_the_same_time(site: Site, run: Run) -> None:
    intake = ScriptedIntake(takes)

    async def work() -> None:
        async with site.client() as client:
            await client.submit_many(orders(3 * LINES))
        async with serving(site, intake), site.client() as one, site.client() as two:
            first, second = await asyncio.gather(one.flush(20), two.flush(20))
            assert (first.waiting, second.waiting) == (0, 0)

    run(work())
    assert intake.most == 1
    assert sorted(itertools.chain(*intake.batches())) == sorted(each["reference"] for each in orders(3 * LINES))


def test_what_is_no_url_and_what_is_no_key_is_said_at_once(tmp_path: Path) -> None:
    for url in ("intake", "ftp://intake", "http://", ""):
        with pytest.raises(ValueError, match="is no URL"):
            OrderClient(url, "key", tmp_path / "spool.db")
    with pytest.raises(ValueError, match="the API key holds") as caught:
        OrderClient("http://intake", "relais_secret\r\nX: y", tmp_path / "spool.db")
    assert "secret" not in str(caught.value)


def test_a_listener_that_fails_stops_no_order(site: Site, run: Run) -> None:
    def heard(number: int, outcome: Outcome) -> None:
        raise KeyError(number)

    async def work() -> None:
        async with site.client() as client:
            await client.submit_many(orders(5))
        async with serving(site, ScriptedIntake(takes)), OrderClient(site.url, "key", site.path, heard=heard) as client:
            assert (await client.flush(20)).waiting == 0

    run(work())


def test_the_example_of_the_documentation_is_an_order(site: Site, run: Run) -> None:
    async def work() -> None:
        async with site.intake(), site.client() as client:
            assert (await client.submit(dict(EXAMPLE))).where == "journal"

    run(work())
