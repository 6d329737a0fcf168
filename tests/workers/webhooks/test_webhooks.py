"""Notices on a real journal, told to real receivers: taken, claimed, sent, settled, and what goes wrong between."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from standardwebhooks import Webhook

from config.redis_keys import NOTICES
from config.settings import Settings
from orders.access import clients
from orders.errors import Malformed, NotFound
from orders.intake.group_commit import Intake
from orders.model import parse
from orders.queries import webhooks as webhook_queries
from orders.webhooks import endpoints
from tests.cli import CommandLine, environment
from tests.machines.erp import raw_server, read_request, response
from tests.machines.roles import OWNER, logged_in_to
from tests.waiting import auntil, until
from workers.dispatch.dispatcher import Dispatcher
from workers.queue.app import create_app
from workers.queue.publisher import Publisher
from workers.webhooks import outbox
from workers.webhooks.retry_policy import Answer
from workers.webhooks.sender import MOST_BYTES, Sender

MEDICINE = "3400937318044"
OK = response(204)
NOW_DUE = "UPDATE notices SET due_at = now() - interval '1 second' WHERE told_at IS NULL"


@dataclass
class Receiver:
    """What a client runs: it keeps what it got, and answers what it is set to, or nothing while it hangs."""

    answer: Callable[[dict[str, Any]], bytes] = lambda event: OK
    hanging: bool = False
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    secret: str = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            headers, body = await read_request(reader)
            self.got.append((headers, body))
            if self.hanging:
                await self.let_go.wait()
            writer.write(self.answer(json.loads(body)))
            await writer.drain()

    @property
    def ids(self) -> list[str]:
        """The webhook-id of everything it got, in turn."""
        return [headers["webhook-id"] for headers, _ in self.got]

    @property
    def orders(self) -> list[UUID]:
        """The orders it was told of, in turn."""
        return [UUID(json.loads(body)["data"]["id"]) for _, body in self.got]


class Bench:
    """A journal with clients, orders, webhooks, and one worker process's teller."""

    def __init__(self, engine: AsyncEngine, settings: Settings, owner: AsyncEngine) -> None:
        self.engine, self.settings, self.owner = engine, settings, owner

    async def sql(self, statement: str, **values: object) -> list[Any]:
        async with self.owner.connect() as connection:
            done = await connection.execute(text(statement), values)
            return list(done.all()) if done.returns_rows else []

    async def client(self, name: str, url: str) -> str:
        """A client with a webhook; returns the secret."""
        await clients.add(self.owner, name)
        return await endpoints.add(self.owner, name, url)

    async def accept(self, count: int = 1, client: str = "front", **fields: object) -> list[UUID]:
        intake = Intake(self.owner, self.settings.erp.backend)
        lines = [{"product": MEDICINE, "quantity": 3}]
        bodies = [{"pharmacy": "P1", "reference": uuid4().hex, "lines": lines, **fields} for _ in range(count)]
        sent = [parse(json.dumps(body).encode()) for body in bodies]
        return [one.id for one in await asyncio.gather(*(intake.accept(order, client) for order in sent))]

    async def bring(self, ids: list[UUID], state: str, reason: str | None = None, error: str | None = None) -> None:
        """Take orders to a final state, by the way that the journal allows."""
        if state == "delivered":
            later = {"substitute": "3400938615470", "back_ordered": 1, "expected": "2026-01-07"}
            lines = [{"line": 1, "product": MEDICINE, "accepted": 1, "reason": "out of stock", **later}]
            await self.sql(
                "INSERT INTO receipts (order_id, lease, backend, reference, lines) SELECT id, gen_random_uuid(), "
                "'erp', 'ERP-1', CAST(:lines AS jsonb) FROM unnest(CAST(:ids AS uuid[])) AS u (id)",
                ids=ids,
                lines=json.dumps(lines),
            )
        for step in () if state == "cancelled" else ("dispatched", "delivering"):
            await self.sql(
                "UPDATE deliveries SET state = :step, attempts = 1 WHERE order_id = ANY(CAST(:ids AS uuid[]))",
                step=step,
                ids=ids,
            )
        await self.sql(
            "UPDATE deliveries SET state = :state, reason = :reason, error = :error, settled_at = now() "
            "WHERE order_id = ANY(CAST(:ids AS uuid[]))",
            state=state,
            reason=reason,
            error=error,
            ids=ids,
        )

    async def delivered(self, count: int = 1, client: str = "front") -> list[UUID]:
        ids = await self.accept(count, client)
        await self.bring(ids, "delivered")
        return ids

    async def take(self) -> list[UUID]:
        async with self.engine.connect() as connection:
            return await outbox.take(connection, self.settings)

    async def tell(self) -> int:
        """One round, as dispatcher and worker make it; returns how many notices were taken."""
        ids = await self.take()
        teller = Sender(self.settings)
        await teller.begin(self.engine, ids)
        await teller.finish()
        return len(ids)

    async def tell_all(self) -> None:
        while await self.tell():
            pass

    async def untold(self, client: str = "front") -> int:
        return int(
            (await self.sql("SELECT count(*) FROM notices WHERE client = :client AND told_at IS NULL", client=client))[
                0
            ][0]
        )

    async def standing(self, client: str = "front") -> dict[str, Any]:
        return next(row for row in await webhook_queries.every(self.owner) if row["client"] == client)

    @asynccontextmanager
    async def receiver(self, client: str = "front", **more: Any) -> AsyncIterator[Receiver]:
        receiver = Receiver(**more)
        async with raw_server(receiver) as url:
            receiver.secret = await self.client(client, url)
            yield receiver


OnBench = Callable[..., Any]


@pytest.fixture
def on_bench(settings: Settings) -> OnBench:
    def run(work: Callable[[Bench], Awaitable[Any]], **changes: object) -> Any:
        async def main() -> Any:
            quick = settings.replace(**{"webhook_timeout": 2.0, **changes})
            async with logged_in_to(quick.need("database_url")) as logins:
                return await work(Bench(logins["worker"], quick, logins[OWNER]))

        return asyncio.run(main())

    return run


def failing(status: int, **headers: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: response(status, b"who reads this", **headers)


def test_each_event_is_told_once_signed_and_as_it_was(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver() as receiver:
            ids = await bench.accept(3, note="pour Mme Durand")
            await bench.bring(ids[:1], "delivered")
            await bench.bring(ids[1:2], "dead", "refused", "the ERP knows no such pharmacy")
            await bench.bring(ids[2:], "cancelled")
            assert await bench.tell() == 3
            assert await bench.tell() == 0
            told = {}
            for headers, body in receiver.got:
                event = Webhook(receiver.secret).verify(body, headers)
                assert (headers["content-type"], b"Durand" in body) == ("application/json", False)
                told[event["type"]] = event["data"]
            line = {"line": 1, "product": MEDICINE, "quantity": 3}
            delivered, dead, cancelled = (told[f"order.{state}"] for state in ("delivered", "dead", "cancelled"))
            assert [UUID(each["id"]) for each in (delivered, dead, cancelled)] == ids
            assert delivered["erp_reference"] == "ERP-1"
            later = {"substitute": "3400938615470", "back_ordered": 1, "expected": "2026-01-07"}
            assert delivered["lines"] == [{**line, "accepted": 1, "missing": 1, "reason": "out of stock", **later}]
            assert (dead["reason"], dead["error"]) == ("refused", "the ERP knows no such pharmacy")
            names = ("accepted", "missing", "reason", "substitute", "back_ordered", "expected")
            assert dead["lines"] == [{**line, **dict.fromkeys(names)}]
            assert (cancelled["state"], cancelled["erp_reference"]) == ("cancelled", None)
            assert set(receiver.ids) == {str(row.id) for row in await bench.sql("SELECT id FROM notices")}
            standing = await bench.standing()
            assert (standing["standing"], standing["waiting"]) == ("fit", 0)
            assert standing["succeeded_at"] is not None

    on_bench(work)


def test_a_dead_letter_is_told_as_it_was_though_it_was_replayed_since(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver() as receiver:
            ids = await bench.accept()
            await bench.bring(ids, "dead", "exhausted", "503: out of service")
            await bench.sql("UPDATE deliveries SET state = 'accepted', reason = NULL, error = NULL, attempts = 0")
            await bench.bring(ids, "delivered")
            await bench.tell()
            told = {json.loads(body)["type"]: json.loads(body)["data"] for _, body in receiver.got}
            assert set(told) == {"order.dead", "order.delivered"}
            dead = told["order.dead"]
            assert (dead["state"], dead["reason"], dead["error"]) == ("dead", "exhausted", "503: out of service")
            assert (dead["attempts"], dead["erp_reference"], dead["lines"][0]["accepted"]) == (None, None, None)
            assert told["order.delivered"]["attempts"] == 1

    on_bench(work)


def test_only_clients_with_a_webhook_are_told_and_only_of_their_own_orders(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver("a") as a, bench.receiver("b") as b:
            mine, yours = await bench.delivered(2, "a"), await bench.delivered(1, "b")
            await bench.delivered(1, "nobody")
            assert await bench.tell() == 3
            assert (set(a.orders), b.orders) == (set(mine), yours)

    on_bench(work)


def test_a_notice_that_failed_goes_again_under_the_same_id(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver(answer=failing(500)) as receiver:
            await bench.delivered()
            await bench.tell()
            standing = await bench.standing()
            assert (standing["standing"], standing["why"], standing["waiting"]) == ("failing", "answered 500", 1)
            assert await bench.tell() == 0, "it is not due yet"
            receiver.answer = lambda event: OK
            await bench.sql(NOW_DUE)
            await bench.tell()
            assert len(receiver.ids) == 2
            assert len(set(receiver.ids)) == 1
            standing = await bench.standing()
            assert (standing["standing"], standing["why"], standing["waiting"]) == ("fit", None, 0)

    on_bench(work)


def test_a_webhook_that_fails_is_probed_by_one_notice_at_a_time_until_it_answers(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver(answer=failing(503)) as receiver:
            ids = await bench.delivered(60)
            assert await bench.tell() == 60
            assert 3 <= len(receiver.got) < 30, "after a few failures the rest is left"
            assert await bench.tell() == 0
            for probes in range(1, 4):
                before = len(receiver.got)
                await bench.sql(NOW_DUE)
                assert await bench.take() != [], probes
                assert await bench.take() == [], "one is on its way"
                await bench.sql(NOW_DUE)
                assert await bench.tell() == 1
                assert len(receiver.got) == before + 1
                assert await bench.tell() == 0
            receiver.answer = lambda event: OK
            await bench.sql(NOW_DUE)
            assert await bench.tell() == 1
            await bench.sql(NOW_DUE)
            await bench.tell_all()
            assert (await bench.untold(), set(receiver.orders)) == (0, set(ids))
            assert {row[0] for row in await bench.sql("SELECT attempts FROM notices")} <= {0, 1}

    on_bench(work)


def test_after_an_outage_what_held_the_others_back_is_due_as_if_there_had_been_none(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver(answer=failing(503, Retry_After="3000")) as receiver:
            await bench.delivered(40)
            await bench.tell()
            assert await bench.tell() == 0
            latest = "SELECT extract(epoch FROM max(due_at) - now()) FROM notices WHERE told_at IS NULL"
            assert float((await bench.sql(latest))[0][0]) > 2900, "the pause that was asked for"
            receiver.answer = lambda event: OK
            await bench.sql("UPDATE notices SET due_at = now() WHERE lease IS NOT NULL")
            assert await bench.tell() == 1
            await bench.tell_all()
            assert await bench.untold() == 0

    on_bench(work)


def test_one_that_its_receiver_never_takes_keeps_no_other_from_it(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver() as receiver:
            ids = await bench.delivered(40)
            bad = str(ids[7])
            receiver.answer = lambda event: response(500) if event["data"]["id"] == bad else OK
            for times in range(1, 5):
                await bench.tell_all()
                (row,) = await bench.sql(
                    "SELECT order_id, attempts, due_at - now() AS wait FROM notices WHERE told_at IS NULL"
                )
                assert (str(row.order_id), row.attempts) == (bad, times)
                assert row.wait.total_seconds() > 0.7 * 2**times
                assert (await bench.standing())["standing"] == "fit"
                await bench.sql(NOW_DUE)
                await bench.delivered(20)
            await bench.tell_all()
            assert len(set(receiver.orders)) == 120

    on_bench(work)


def test_410_disables_at_once_and_enabling_tells_all_that_waited(
    on_bench: OnBench, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver(answer=failing(410)) as receiver:
            ids = await bench.delivered(2)
            await bench.tell()
            standing = await bench.standing()
            assert (standing["standing"], standing["why"]) == ("disabled", "answered 410")
            assert "webhook disabled" in caplog.text
            ids += await bench.delivered(3)
            await bench.sql(NOW_DUE)
            assert await bench.tell() == 0
            assert await bench.untold() == 5
            figures = await webhook_queries.figures(bench.engine)
            assert (figures["disabled"], figures["waiting"], figures["oldest"] is None) == (1, 5, False)
            receiver.answer = lambda event: OK
            await endpoints.enable(bench.owner, "front")
            await bench.tell_all()
            assert (await bench.untold(), set(receiver.orders)) == (0, set(ids))

    on_bench(work)


def test_a_week_of_failure_disables_with_a_warning_and_drops_nothing(
    on_bench: OnBench, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver(answer=failing(500)) as receiver:
            await bench.delivered(2)
            await bench.tell()
            for days, standing in ((6.9, "failing"), (7, "disabled")):
                await bench.sql(
                    "UPDATE webhooks SET failing_since = now() - make_interval(secs => :s)", s=days * 86400.0
                )
                await bench.sql(NOW_DUE)
                assert await bench.tell() == 1
                assert (await bench.standing())["standing"] == standing
            assert await bench.untold() == 2
            receiver.answer = lambda event: OK
            await endpoints.enable(bench.owner, "front")
            await bench.tell_all()
            assert await bench.untold() == 0

    with caplog.at_level(logging.INFO):
        on_bench(work)
    assert "webhook disabled" in caplog.text
    for secret in ("whsec_", MEDICINE, "http://", "who reads this"):
        assert secret not in caplog.text


def test_what_an_operator_disabled_stays_as_it_is_whatever_was_on_its_way(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver():
            await bench.delivered(2)
            (errand,) = await outbox.claim(bench.engine, await bench.take(), bench.settings)
            await endpoints.disable(bench.owner, "front", "they asked")
            before = await bench.standing()
            answers = [Answer(True, "answered 204", 204), Answer(False, "answered 500", 500)]
            await outbox.settle(bench.engine, errand, answers)
            after = await bench.standing()
            assert (after["standing"], after["why"]) == ("disabled", "they asked")
            assert (before["waiting"], after["waiting"]) == (2, 1)
            await bench.sql(NOW_DUE)
            assert await bench.tell() == 0

    on_bench(work)


def test_a_receiver_that_hangs_delays_nobody_else(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver("slow", hanging=True) as slow, bench.receiver("quick") as quick:
            await bench.delivered(50, "slow")
            ids = await bench.delivered(50, "quick")
            teller = Sender(bench.settings)
            await teller.begin(bench.engine, await bench.take())

            async def quick_settled() -> bool:
                return await bench.untold("quick") == 0

            await auntil(quick_settled)
            assert set(quick.orders) == set(ids)
            assert 0 < len(slow.got) < 50
            assert await bench.untold("slow") == 50, "it has answered nothing"
            slow.let_go.set()
            await teller.finish()
            assert (await bench.untold("slow"), len(set(slow.ids))) == (0, 50)

    on_bench(work, webhook_timeout=15.0)


def test_a_client_has_only_so_many_on_their_way(on_bench: OnBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "EACH", 20)

    async def work(bench: Bench) -> None:
        async with bench.receiver("many") as many, bench.receiver("few") as few:
            await bench.delivered(50, "many")
            await bench.delivered(5, "few")
            assert len(await bench.take()) == 25
            await bench.delivered(5, "few")
            assert len(await bench.take()) == 5
            await bench.sql(NOW_DUE)
            await bench.tell_all()
            assert (len(set(many.ids)), len(set(few.ids))) == (50, 10)

    on_bench(work)


def test_a_message_that_is_forged_or_repeated_claims_nothing(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver():
            await bench.delivered(4)
            every = [row[0] for row in await bench.sql("SELECT id FROM notices")]
            assert await outbox.claim(bench.engine, every, bench.settings) == []
            assert await outbox.claim(bench.engine, [uuid4()], bench.settings) == []
            taken = await bench.take()
            (errand,) = await outbox.claim(bench.engine, taken, bench.settings)
            assert {notice.id for notice in errand.notices} == set(every)
            assert await outbox.claim(bench.engine, taken, bench.settings) == []
            assert "whsec_" not in repr(errand)
            assert MEDICINE not in repr(errand)

    on_bench(work)


def test_a_worker_that_was_presumed_dead_changes_nothing_when_it_comes_back(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver() as receiver:
            await bench.delivered()
            (ghost,) = await outbox.claim(bench.engine, await bench.take(), bench.settings)
            assert await bench.tell() == 0, "its lease still holds"
            await bench.sql(NOW_DUE)
            assert await bench.tell() == 1
            (before,) = await bench.sql("SELECT * FROM notices")
            health = await bench.standing()
            await outbox.settle(bench.engine, ghost, [Answer(False, "no connection")])
            assert await bench.sql("SELECT * FROM notices") == [before]
            assert (before.told_at is not None, len(receiver.got)) == (True, 1)
            assert await bench.standing() == health

    on_bench(work)


def test_settling_again_changes_nothing(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver():
            await bench.delivered(2)
            (errand,) = await outbox.claim(bench.engine, await bench.take(), bench.settings)
            answers = [Answer(True, "answered 204", 204), Answer(False, "no connection")]
            await outbox.settle(bench.engine, errand, answers)
            rows = await bench.sql("SELECT * FROM notices ORDER BY id")
            assert sorted(row.attempts for row in rows) == [0, 1]
            await outbox.settle(bench.engine, errand, answers)
            assert await bench.sql("SELECT * FROM notices ORDER BY id") == rows

    on_bench(work)


@pytest.mark.parametrize(
    ("answer", "told", "why"),
    [
        (response(200, b"x" * (4 * MOST_BYTES)), True, None),
        (response(201, b"{not json"), True, None),
        (response(302, Location="http://127.0.0.1:1/elsewhere"), False, "answered 302"),
        (response(404), False, "answered 404"),
        (b"220 mail.example ESMTP\r\n\r\n", False, "the answer is not HTTP"),
    ],
    ids=["large", "senseless", "redirect", "not found", "no http"],
)
def test_of_an_answer_only_the_status_counts(on_bench: OnBench, answer: bytes, told: bool, why: str | None) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver(answer=lambda event: answer) as receiver:
            await bench.delivered()
            await bench.tell()
            assert (await bench.untold() == 0, (await bench.standing())["why"]) == (told, why)
            assert len(receiver.got) == 1

    on_bench(work)


def test_nobody_there_and_nobody_who_answers(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await bench.client("gone", "http://127.0.0.1:1/")
        async with bench.receiver("mute", hanging=True):
            for client in ("gone", "mute"):
                await bench.delivered(1, client)
            await bench.tell()
            assert (await bench.standing("gone"))["why"] == "no connection"
            assert (await bench.standing("mute"))["why"] == "no answer in time"

    on_bench(work, webhook_timeout=0.5)


def test_while_a_secret_is_rotated_both_sign(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver() as receiver:
            old: str = receiver.secret
            new = await endpoints.rotate(bench.owner, "front")
            with pytest.raises(Malformed):
                await endpoints.rotate(bench.owner, "front")
            await bench.delivered()
            await bench.tell()
            await endpoints.finish_rotation(bench.owner, "front")
            await bench.delivered()
            await bench.tell()
            (both, first), (one, second) = receiver.got
            for secret in (old, new):
                Webhook(secret).verify(first, both)
            Webhook(new).verify(second, one)
            assert len(one["webhook-signature"].split()) == 1
            with pytest.raises(NotFound):
                await endpoints.rotate(bench.owner, "nobody")

    on_bench(work)


def test_a_webhook_that_was_removed_leaves_its_notices_for_the_next(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver() as receiver:
            ids = await bench.delivered(2)
            (errand,) = await outbox.claim(bench.engine, await bench.take(), bench.settings)
            url = (await endpoints.target(bench.owner, "front"))[0]
            await endpoints.remove(bench.owner, "front")
            await outbox.settle(bench.engine, errand, [Answer(False, "no connection")] * 2)
            await bench.sql(NOW_DUE)
            assert await bench.tell() == 0
            (row,) = await webhook_queries.waiting(bench.engine)
            assert (row["client"], row["notices"]) == ("front", 2)
            await endpoints.add(bench.owner, "front", url)
            await bench.tell()
            assert set(receiver.orders) == set(ids)

    on_bench(work)


def test_what_redis_lost_is_dispatched_again(settings: Settings, redis_url: str, on_bench: OnBench) -> None:
    hasty = settings.replace(claim_patience=0.5)

    async def prepare(bench: Bench) -> None:
        await bench.client("front", "http://127.0.0.1:1/")
        await bench.delivered(3)

    @contextmanager
    def dispatching() -> Any:
        app = create_app(hasty)
        dispatcher = Dispatcher(hasty, partial(Publisher, app))
        dispatcher.start()
        yield
        dispatcher.stop()
        app.close()

    on_bench(prepare)
    with dispatching(), redis.Redis.from_url(redis_url) as client:
        until(lambda: client.llen(NOTICES) > 0, what="dispatched")
        client.flushall()
        until(lambda: client.llen(NOTICES) > 0, what="dispatched again")
        assert json.loads(client.lindex(NOTICES, 0))["headers"]["task"] == "relais.tell"


@pytest.fixture
def relais(settings: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys, environment(settings))


def test_an_operator_adds_moves_rotates_disables_enables_and_removes(relais: CommandLine, on_bench: OnBench) -> None:
    url = "https://hooks.example/in?token=abc"
    assert relais("webhook", "add", "front", url).code == 1, "no such client"
    relais("client", "add", "front")
    assert relais("webhook", "add", "front", "http://hooks.example/").code == 2
    assert relais("webhook", "add", "front", "https://u:p@hooks.example/").code == 2
    added = relais("webhook", "add", "front", url)
    assert (added.code, added.out.startswith("whsec_"), "once" in added.err) == (0, True, True)
    assert relais("webhook", "add", "front", url).code == 1
    assert json.loads(relais("webhook", "rotate", "front", "--json").out)["secret"] != added.out.strip()
    assert relais("webhook", "rotate", "front").code == 2
    assert relais("webhook", "rotate", "front", "--finish").code == 0
    assert relais("webhook", "move", "front", "http://127.0.0.1:1/").code == 0
    assert relais("webhook", "disable", "front", "--because", "they asked").code == 0
    (listed,) = json.loads(relais("webhook", "list", "--json").out)
    assert (listed["standing"], listed["why"], listed["secrets"]) == ("disabled", "they asked", 1)
    shown = relais("webhook", "list").out
    assert "relais webhook enable front" in shown
    assert "whsec_" not in shown
    assert relais("webhook", "enable", "front").code == 0
    assert relais("webhook", "remove", "front").code == 2, "nobody can be asked"
    assert relais("webhook", "remove", "front", "--yes").code == 0
    assert relais("webhook", "enable", "front").code == 1
    plain = relais("webhook", "add", "front", "http://hooks.example/", RELAIS_WEBHOOK_PLAIN_HTTP="true")
    assert plain.code == 0

    async def work(bench: Bench) -> list[Any]:
        return await bench.sql("SELECT act, reason, detail FROM operations WHERE act LIKE 'webhook %' ORDER BY id")

    done = on_bench(work)
    assert [row.act.removeprefix("webhook ") for row in done] == [
        "add",
        "rotate",
        "rotate",
        "move",
        "disable",
        "enable",
        "remove",
        "add",
    ]
    assert (done[0].detail, done[4].reason) == ({"client": "front", "host": "hooks.example"}, "they asked")
    assert "token" not in str(done)
    assert "whsec_" not in str(done)


def test_an_operator_sees_what_waits_and_tries_a_receiver(relais: CommandLine, on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with bench.receiver(answer=failing(500)) as receiver:
            ids = await bench.delivered(3)
            await bench.tell()
            tried = await asyncio.to_thread(relais, "webhook", "test", "front")
            assert (tried.code, "answered 500" in tried.out) == (1, True)
            receiver.answer = lambda event: OK
            tried = await asyncio.to_thread(relais, "webhook", "test", "front", "--json")
            assert json.loads(tried.out) == {
                "client": "front",
                "told": True,
                "status": 204,
                "answer": "answered 204",
            }
            headers, body = receiver.got[-1]
            event = Webhook(receiver.secret).verify(body, headers)
            assert (event["type"], event["data"]) == ("relais.test", {"client": "front"})
            listed = json.loads((await asyncio.to_thread(relais, "webhook", "notices", "front", "--json")).out)
            assert {row["order_id"] for row in listed} == {str(order_id) for order_id in ids}
            assert {row["error"] for row in listed} == {"answered 500"}
            (row,) = json.loads((await asyncio.to_thread(relais, "webhook", "notices", "--waiting", "--json")).out)
            assert (row["client"], row["notices"], row["failed"], row["error"]) == ("front", 3, 3, "answered 500")
            assert (await asyncio.to_thread(relais, "webhook", "notices")).code == 2

    on_bench(work)
