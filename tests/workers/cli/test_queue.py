"""What waits in Redis and what takes space, as an operator sees it, on a real journal and a real Valkey."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import asyncpg
import pytest
import redis

from config.redis_keys import NORMAL, NOTICES, SPILL_RECORDS, URGENT, queue_of
from config.settings import Settings
from tests.cli import CommandLine, environment
from workers.queue.app import create_app
from workers.queue.envelope import read

QUEUE = queue_of(NORMAL, "erp")
GARBAGE = b'{"body": "\x1b[2J'


@pytest.fixture
def relais(settings: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys, environment(settings))


@pytest.fixture
def server(settings: Settings) -> Iterator["redis.Redis[bytes]"]:
    with redis.Redis.from_url(settings.need("redis_url")) as client:
        yield client


def publish(settings: Settings, count: int) -> None:
    app = create_app(settings)
    for _ in range(count):
        app.tasks["relais.deliver"].apply_async(args=("erp", [str(uuid4())]), argsrepr="1 order", queue=QUEUE)
    app.close()


def test_a_message_of_ours_is_told_from_one_that_no_worker_can_take(
    relais: CommandLine, settings: Settings, server: "redis.Redis[bytes]"
) -> None:
    assert [each["waiting"] for each in json.loads(relais("admin", "queue", "head", "--json").out)] == [0, 0, 0]
    server.rpush(QUEUE, GARBAGE)
    publish(settings, 2)
    found = relais("admin", "queue", "head", "--json")
    urgent, notices, normal = json.loads(found.out)
    assert (found.code, urgent["queue"], notices["queue"]) == (1, queue_of(URGENT, "erp"), NOTICES)
    assert (normal["queue"], normal["waiting"], normal["task"]) == (QUEUE, 3, None)
    assert "no message of Celery's" in normal["fault"]
    assert relais("admin", "queue", "drop", QUEUE, "--because", "it is garbage", "--yes").code == 0
    (*_, normal) = json.loads(relais("admin", "queue", "head", "--json").out)
    assert (normal["waiting"], normal["task"], normal["about"]) == (2, "relais.deliver", "1 order")
    assert normal["fault"] is None


@pytest.mark.parametrize(
    "spoil",
    [
        {"body": {"a": 1}},
        {"body": "W10="},
        {"content-type": None},
        {"headers": {"task": "os.system", "id": "1"}},
        {"properties": {"body_encoding": "base64"}},
        {"headers": None},
        {"body": "%%"},
    ],
)
def test_each_way_to_be_malformed_is_found_out(
    settings: Settings, server: "redis.Redis[bytes]", spoil: dict[str, object]
) -> None:
    publish(settings, 1)
    message = json.loads(server.lrange(QUEUE, 0, -1)[0])
    assert read(json.dumps(message).encode())[2] is None, message
    assert read(json.dumps(message | spoil).encode())[2]


def test_dropping_all_leaves_the_spill_and_is_recorded(
    relais: CommandLine, settings: Settings, server: "redis.Redis[bytes]"
) -> None:
    publish(settings, 5)
    server.rpush(SPILL_RECORDS, b"an order")
    unasked = relais("admin", "queue", "drop", QUEUE, "--all", "--because", "no room")
    assert (unasked.code, server.llen(QUEUE)) == (2, 5)
    done = relais("admin", "queue", "drop", QUEUE, "--all", "--because", "no room", "--yes", "--json")
    assert (done.code, json.loads(done.out)["dropped"]) == (0, 5)
    assert (server.llen(QUEUE), server.llen(SPILL_RECORDS)) == (0, 1)
    url = settings.need("database_url")
    act, reason, detail = asyncio.run(operation(url))
    assert (act, reason, json.loads(detail)["messages"]) == ("queue drop", "no room", 5)
    server.delete(SPILL_RECORDS)


async def operation(url: str) -> "asyncpg.Record":
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchrow("SELECT act, reason, detail FROM operations ORDER BY id DESC LIMIT 1")
    finally:
        await connection.close()


def test_what_is_not_ours_or_not_there_is_said(relais: CommandLine) -> None:
    assert relais("admin", "queue", "drop", SPILL_RECORDS, "--because", "room", "--yes").code == 1, (
        "the spill is no queue"
    )
    assert relais("admin", "queue", "drop", QUEUE, "--because", " ", "--yes").code == 2
    away = partial(relais, RELAIS_REDIS_URL="redis://127.0.0.1:1/0")
    assert (away("admin", "queue", "head").code, "Redis is out of reach" in away("admin", "queue", "head").err) == (
        2,
        True,
    )
    assert away("admin", "queue", "drop", QUEUE, "--because", "why", "--yes").code == 2


def test_space_names_what_is_nearly_full(relais: CommandLine, server: "redis.Redis[bytes]") -> None:
    found = json.loads(relais("admin", "space", "--json").out)
    assert {"orders", "attempts"} <= {row["name"] for row in found["journal"]["tables"]}
    assert found["disks"][0]["size"] > found["disks"][0]["free"] > 0
    assert (found["redis"]["most"], found["redis"]["full"]) == (None, False)
    server.config_set("maxmemory", int(server.info("memory")["used_memory"] * 1.2))
    try:
        full = relais("admin", "space", "--check")
        assert (full.code, "Redis uses" in full.out) == (1, True)
    finally:
        server.config_set("maxmemory", 0)


def test_space_answers_without_either_store(relais: CommandLine) -> None:
    nowhere = {
        "RELAIS_REDIS_URL": "redis://127.0.0.1:1/0",
        "RELAIS_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x",
    }
    found = relais("admin", "space", **nowhere)
    assert found.code == 0
    assert "The journal is out of reach" in found.out
    assert "Redis is out of reach" in found.out
    assert relais("admin", "space", "/nowhere/at/all").code == 2
