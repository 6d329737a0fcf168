"""Real messages on a real Valkey, under its ACL, to a real worker: what is none of ours stops nothing of ours."""

import base64
import json
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery.worker.control import Panel

from config.embedded.leash import Leash
from config.embedded.valkey import Valkey
from config.redis_keys import ASIDE, NORMAL, NOTICES, URGENT, queue_of
from config.settings import Settings
from tests.cli import command, environment, running
from tests.liveness import QUICK, asked, fresh
from tests.waiting import until
from workers.queue.app import create_app
from workers.queue.envelope import MOST_BYTES, read
from workers.queue.inspection import QUESTIONS
from workers.queue.publisher import Publisher
from workers.queue.registry import node
from workers.queue.sieve import FIRST, MOST_KEPT

QUEUE = queue_of(NORMAL, "erp")
SOON = 10.0  # seconds on a busy machine for all of them; kombu alone needed more for the first

HEARD = "SELECT count(*) FROM workers WHERE heard_at >= '{}'"

Message = dict[str, Any]


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """A worker whose own canaries are rare: those of the test are alone."""
    return settings.replace(**QUICK | {"canary_every": 60.0})


@pytest.fixture
def server(quick: Settings) -> Iterator["redis.Redis[bytes]"]:
    with redis.Redis.from_url(quick.need("redis_url")) as client:
        yield client


@pytest.fixture
def good(quick: Settings, server: "redis.Redis[bytes]") -> Message:
    """A dispatch of an order that nobody knows, as it is published."""
    app = create_app(quick)
    app.tasks["relais.deliver"].apply_async(args=("erp", []), argsrepr="no order", queue=QUEUE)
    app.close()
    (raw,) = server.lrange(QUEUE, 0, -1)
    server.delete(QUEUE)
    assert read(raw) == ("relais.deliver", "no order", None)
    return json.loads(raw)  # type: ignore[no-any-return]


def encoded(body: object) -> str:
    return base64.b64encode(body if isinstance(body, bytes) else json.dumps(body).encode()).decode()


def with_headers(good: Message, **more: object) -> Message:
    return good | {"headers": good["headers"] | more}


def with_properties(good: Message, **more: object) -> Message:
    return good | {"properties": good["properties"] | more}


def without(good: Message, part: str, *names: str) -> Message:
    return good | {part: {name: value for name, value in good[part].items() if name not in names}}


def hostile(good: Message) -> dict[str, bytes]:
    """Each way to be none of ours, by what it is."""
    deep = b"[" * 100_000 + b"]" * 100_000
    bomb = zlib.compress(bytes(64 * 1024 * 1024))
    typed = json.dumps({"__type__": "uuid", "__value__": {"hex": "x"}})
    spoilt: dict[str, object] = {
        "headers null": good | {"headers": None},
        "headers a list": good | {"headers": ["task"]},
        "headers missing": {name: value for name, value in good.items() if name != "headers"},
        "no task": without(good, "headers", "task"),
        "another task": with_headers(good, task="celery.backend_cleanup"),
        "a task that is a list": with_headers(good, task=["relais.deliver"]),
        "no id": without(good, "headers", "id"),
        "an id that is a number": with_headers(good, id=5),
        "compressed": with_headers(good, compression="application/x-gzip") | {"body": encoded(bomb)},
        "compressed with something else": with_headers(good, compression="application/x-bz2"),
        "to be done next year": with_headers(good, eta="2099-01-01T00:00:00"),
        "an instant that is none": with_headers(good, eta={"a": 1}),
        "expired": with_headers(good, expires="yesterday"),
        "ends its worker": with_headers(good, timelimit=[0.001, None]),
        "a limit that is none": with_headers(good, timelimit="soon"),
        "another name": with_headers(good, shadow="relais.other"),
        "properties null": good | {"properties": None},
        "properties missing": {name: value for name, value in good.items() if name != "properties"},
        "no delivery tag": without(good, "properties", "delivery_tag"),
        "a delivery tag that is a list": with_properties(good, delivery_tag=[1]),
        "no delivery info": without(good, "properties", "delivery_info"),
        "delivery info null": with_properties(good, delivery_info=None),
        "another encoding of the body": with_properties(good, body_encoding="rot13"),
        "no encoding of the body": without(good, "properties", "body_encoding"),
        "pickled": good | {"content-type": "application/x-python-serialize"},
        "in EBCDIC": good | {"content-encoding": "cp500"},
        "an encoding that is none": good | {"content-encoding": "x-none"},
        "no content type": good | {"content-type": None},
        "body null": good | {"body": None},
        "body no base64": good | {"body": "%%%"},
        "body no JSON": good | {"body": encoded(b"{")},
        "body no text": good | {"body": encoded(b"\xff\xfe")},
        "body too deep": good | {"body": encoded(deep)},
        "body a word": good | {"body": encoded(["args", {}, {}])},
        "body with names": good | {"body": encoded([["erp", []], {"args": 1}, {}])},
        "calls back": good | {"body": encoded([["erp", []], {}, {"callbacks": [{"task": "relais.tell"}]}])},
        "a list": [good],
        "a number": 5,
    }
    raw = {what: json.dumps(message).encode() for what, message in spoilt.items()}
    return raw | {
        "no JSON": b'{"body": "\x1b[2J',
        "no UTF-8": b"\xff\xfe\x00",
        "nothing": b"",
        "too deep": deep,
        "too large": json.dumps(with_headers(good, argsrepr="x" * 8 * MOST_BYTES)).encode(),
        "a type that does not decode": json.dumps(good).replace('"no order"', typed).encode(),
    }


def test_each_message_that_is_none_of_ours_is_told(good: Message) -> None:
    for what, raw in hostile(good).items():
        assert read(raw)[2], what


@pytest.mark.timeout(180)
def test_what_is_none_of_ours_is_set_aside_at_once_and_the_next_of_ours_is_taken(
    leash: Leash, quick: Settings, valkey: Valkey, server: "redis.Redis[bytes]", good: Message
) -> None:
    bad = hostile(good)
    own = quick.replace(redis_url=valkey.url_of("worker"))
    app = create_app(quick)
    publisher = Publisher(app, quick)
    with running(leash, "worker", command("worker"), environment(own)) as (process, log):
        until(lambda: fresh(quick), what="it answers its own canary")
        name = node(process.pid)
        for queue in (QUEUE, queue_of(URGENT, "erp"), NOTICES, f"relais.canary.{name}"):
            began = time.monotonic()
            for raw in (*bad.values(), json.dumps(good).encode()):
                server.lpush(queue, raw)
            until(lambda queue=queue: not server.llen(queue), 30, what=f"{queue} is empty")
            sent = datetime.now(UTC)
            assert publisher.canary(name, sent, 30)
            until(lambda sent=sent: asked(quick, HEARD.format(sent)), 30, what="a process of the pool answers")
            assert time.monotonic() - began < SOON, queue
        until(lambda: server.xinfo_stream(ASIDE)["entries-added"] >= 4 * len(bad), 20, what="all are counted")
        assert not any(server.llen(each) for each in (QUEUE, queue_of(URGENT, "erp"), NOTICES))
        assert "onnection to broker lost" not in log.read_text()
        assert process.poll() is None
    app.close()
    assert server.xinfo_stream(ASIDE)["entries-added"] == 4 * len(bad)
    kept = [entry for _, entry in server.xrange(ASIDE)]
    assert len(kept) == min(MOST_KEPT, 4 * len(bad))
    assert {len(each[b"raw"]) <= FIRST for each in kept} == {True}
    assert b"it is larger than" in b" ".join(each[b"why"] for each in kept)


@pytest.mark.timeout(120)
def test_a_broadcast_that_cannot_be_read_costs_a_worker_nothing(
    leash: Leash, quick: Settings, valkey: Valkey, good: Message
) -> None:
    """From Flower's own user, who may publish there."""
    app = create_app(quick)
    with running(leash, "worker", command("worker"), environment(quick)) as (process, log):
        until(lambda: fresh(quick), what="it answers its own canary")
        with redis.Redis.from_url(valkey.url_of("flower")) as flower:
            for raw in hostile(good).values():
                flower.publish("/0.celery.pidbox", raw)
            for body in ([], "x", {"method": 1}, {"method": "ping", "reply_to": 5}, {"method": "ping", "arguments": 5}):
                flower.publish("/0.celery.pidbox", json.dumps(good | {"body": encoded(body)}))
        until(lambda: app.control.ping(timeout=3, limit=1), 30, what="it hears a ping")  # a broadcast may be lost
        assert "onnection to broker lost" not in log.read_text()
        assert process.poll() is None
    app.close()


@pytest.mark.timeout(120)
def test_nobody_tells_a_worker_what_to_do_over_redis(leash: Leash, quick: Settings, valkey: Valkey) -> None:
    """Each of Celery's control commands, from Flower's own user: only the questions are answered."""
    queues = (queue_of(URGENT, "erp"), NOTICES, QUEUE)
    told: dict[str, dict[str, object]] = {
        "rate_limit": {"task_name": "relais.deliver", "rate_limit": "1/h"},
        "time_limit": {"task_name": "relais.deliver", "hard": 0.001},
        "pool_shrink": {"n": 2},
        "hello": {"from_node": "x", "revoked": {"a": 1}},
        "revoke": {"task_id": ["a"], "terminate": True},
        "terminate": {"signal": "KILL", "task_id": ["a"]},
        "autoscale": {"max": 0, "min": 0},
        "election": {"id": "1", "topic": "task", "action": {}},
    }
    app, flower = create_app(quick), create_app(quick.replace(redis_url=valkey.url_of("flower")))
    with running(leash, "worker", command("worker"), environment(quick)) as (process, log):
        until(lambda: fresh(quick), what="it answers its own canary")
        for name in sorted(Panel.data.keys() - QUESTIONS):
            flower.control.broadcast(name, arguments=told.get(name, {}))
        for queue in queues:
            flower.control.broadcast("cancel_consumer", arguments={"queue": queue})
        flower.control.broadcast("shutdown")
        (answer,) = flower.control.inspect(timeout=10, limit=1).active_queues().values()
        assert {*queues, f"relais.canary.{node(process.pid)}"} == {each["name"] for each in answer}
        with redis.Redis.from_url(quick.need("redis_url")) as server:
            app.tasks["relais.deliver"].apply_async(args=("erp", []), queue=QUEUE)
            until(lambda: not server.llen(QUEUE), SOON, what="a dispatch is taken")
        (done,) = flower.control.inspect(timeout=10, limit=1).stats().values()
        assert done["pool"]["max-concurrency"] == 2
        refused = "pidbox command error"
        assert log.read_text().count(refused) >= len(Panel.data.keys() - QUESTIONS)
        assert process.poll() is None
    app.close()
    flower.close()
