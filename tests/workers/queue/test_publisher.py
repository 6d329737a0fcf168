"""Dispatches on a real Redis-compatible server, through Celery and kombu as they are."""

import base64
import json
import os
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from config.embedded.leash import Leash
from config.embedded.valkey import Valkey
from config.redis_keys import NORMAL as NORMALS
from config.redis_keys import NOTICES, queue_of
from config.redis_keys import URGENT as URGENTS
from config.settings import Settings
from tests.cli import command, environment, running
from tests.waiting import until
from workers.queue.app import create_app
from workers.queue.publisher import Publisher, describe

NORMAL, URGENT = queue_of(NORMALS, "erp"), queue_of(URGENTS, "erp")


@dataclass
class Due:
    """A row as the dispatcher's statement returns it."""

    urgent: bool = False
    attempts: int = 0
    place: int = 0
    accepted_at: datetime = datetime(2024, 10, 19, 12, 3, tzinfo=UTC)
    request_id: str | None = None
    traceparent: str | None = None

    def __post_init__(self) -> None:
        self.order_id = uuid4()


def messages(url: str, queue: str) -> list[dict[str, Any]]:
    """The messages waiting in a queue, oldest first, with their ids decoded."""
    with redis.Redis.from_url(url) as client:
        raw = [json.loads(one) for one in client.lrange(queue, 0, -1)][::-1]
    return [{**one, "ids": json.loads(base64.b64decode(one["body"]))[0][-1]} for one in raw]


@pytest.fixture
def publisher(settings: Settings) -> Any:
    app = create_app(settings)
    yield Publisher(app, settings)
    app.close()


def test_few_messages_urgent_apart_and_ids_only(publisher: Publisher, redis_url: str) -> None:
    rows = [Due() for _ in range(450)] + [Due(urgent=True) for _ in range(3)]
    assert publisher.deliver(rows)  # type: ignore[arg-type]
    assert [len(one["ids"]) for one in messages(redis_url, URGENT)] == [3]
    normal = messages(redis_url, NORMAL)
    assert [len(one["ids"]) for one in normal] == [200, 200, 50]
    assert publisher.depth() == 4
    sent = {UUID(order_id) for one in normal for order_id in one["ids"]}
    assert sent == {row.order_id for row in rows if not row.urgent}


def test_orders_are_named_in_their_turn(publisher: Publisher, redis_url: str) -> None:
    third, first, second = Due(place=3), Due(place=1), Due(place=2)
    publisher.deliver([third, first, second])  # type: ignore[list-item]
    (message,) = messages(redis_url, NORMAL)
    assert message["ids"] == [str(row.order_id) for row in (first, second, third)]


def test_orders_that_have_failed_travel_in_small_messages(publisher: Publisher, redis_url: str) -> None:
    rows = [Due(attempts=attempts) for attempts in (0, 1, 2, 3, 7) for _ in range(30)]
    publisher.deliver(rows)  # type: ignore[arg-type]
    sizes = [len(one["ids"]) for one in messages(redis_url, NORMAL)]
    assert sizes == [30, 25, 5] + 10 * [3] + 60 * [1]


def test_what_flower_shows_reads_well(publisher: Publisher, redis_url: str) -> None:
    assert describe([Due()] * 37) == "37 orders, oldest 12:03Z"  # type: ignore[list-item]
    publisher.deliver([Due()])  # type: ignore[list-item]
    (message,) = messages(redis_url, NORMAL)
    assert message["headers"]["argsrepr"] == "1 order, oldest 12:03Z"
    assert message["headers"]["task"] == "relais.deliver"


def test_a_dispatch_names_the_requests_that_brought_its_orders(publisher: Publisher, redis_url: str) -> None:
    rows = [Due(request_id=request) for request in ("r-1", None, "r-2", "r-1")]
    publisher.deliver([*rows, Due(urgent=True)])  # type: ignore[list-item]
    (normal,), (urgent,) = messages(redis_url, NORMAL), messages(redis_url, URGENT)
    assert sorted(normal["headers"]["relais_requests"]) == ["r-1", "r-2"]
    assert "relais_requests" not in urgent["headers"]


def test_a_task_that_fails_names_the_requests(settings: Settings, publisher: Publisher, leash: Leash) -> None:
    """A worker whose journal is not there: the order is rescued, and the log tells which request brought it."""
    lost = {"RELAIS_DATABASE_URL": "postgresql://127.0.0.1:1/none", "RELAIS_ERP_URL": "http://127.0.0.1:1"}
    env = environment(settings) | lost | {"RELAIS_WORKER_CONCURRENCY": "1"}
    with running(leash, "worker", command("worker"), env) as (_, log):
        publisher.deliver([Due(request_id="r-17")])  # type: ignore[list-item]
        until(lambda: "r-17" in log.read_text(), 30, what="the log names the request")
        (line,) = (line for line in log.read_text().splitlines() if "r-17" in line)
        assert "the journal is out of reach" in line


def test_notices_have_a_queue_of_their_own_and_count_as_no_orders(publisher: Publisher, redis_url: str) -> None:
    ids = [uuid4() for _ in range(450)]
    assert publisher.tell(ids)
    told = messages(redis_url, NOTICES)
    assert [len(one["ids"]) for one in told] == [200, 200, 50]
    assert {UUID(each) for one in told for each in one["ids"]} == {*ids}
    assert {one["headers"]["task"] for one in told} == {"relais.tell"}
    assert (publisher.depth(), publisher.untold()) == (0, 3)


def test_a_frozen_redis_holds_the_dispatcher_up_only_briefly(
    publisher: Publisher, redis_url: str, valkey: Valkey
) -> None:
    assert publisher.deliver([Due()])  # type: ignore[list-item]
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert not publisher.deliver([Due()])  # type: ignore[list-item]
        assert publisher.depth() is None
        assert time.monotonic() - began < 10
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    assert publisher.depth() is not None
    assert publisher.deliver([Due()])  # type: ignore[list-item]


def test_a_redis_that_is_not_there_is_said(settings: Settings) -> None:
    elsewhere = settings.replace(redis_url="redis://127.0.0.1:1/0")
    app = create_app(elsewhere)
    nowhere = Publisher(app, elsewhere)
    assert not nowhere.deliver([Due()])  # type: ignore[list-item]
    assert nowhere.depth() is None
    app.close()
