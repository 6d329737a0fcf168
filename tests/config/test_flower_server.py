"""What Flower lets through, whom it lets in, how much it keeps, and how it comes back when Redis does."""

import http.client
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from flower.urls import handlers

from config import flower_server
from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.valkey import Valkey
from config.flower import OPTIONS
from config.flower_server import TaskListener
from config.settings import Settings
from tests.cli import command, environment, running
from tests.dispatching import WORKER, tell
from tests.waiting import until
from workers.queue.app import create_app

AUTH = "relais:opensesame"
WRONG = ("relais:wrong", "relais", ":", "relais:opensesame\n", "other:opensesame")
METHODS = ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")
PROBED = ("/", "/healthcheck", "/api/task/send-task/x")  # with every method
NEAR = ("//healthcheck", "/healthcheck/", "/%68ealthcheck", "/healthcheck/../tasks", "/static/../healthcheck", "/x")


class Page:
    """What Flower answered."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()


class Flower:
    """A running `relais flower`, to ask."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, path: str, auth: str | None = AUTH, method: str = "GET", **headers: str) -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        if auth is not None:
            headers["Authorization"] = "Basic " + b64encode(auth.encode()).decode()
        with closing(connection):
            connection.request(method, path, headers=headers)
            return Page(connection.getresponse())

    def tasks(self) -> int:
        """How many tasks it has."""
        query = "draw=1&start=0&length=1&order[0][column]=0&columns[0][data]=name"
        return int(json.loads(self(f"/tasks/datatable?{query}").body)["recordsTotal"])


@pytest.fixture
def flower(leash: Leash, settings: Settings) -> Iterator[Flower]:
    port = choose()
    argv = command("flower", "--port", str(port))
    with running(leash, "flower", argv, {**environment(settings), "RELAIS_FLOWER_AUTH": AUTH}):
        yield Flower(port)


def routes() -> list[str]:
    """A path for every route that Flower has."""
    patterns = [each.regex.pattern if hasattr(each, "regex") else each[0] for each in handlers]
    paths = [re.sub(r"\(.*?\)", "x", pattern.removesuffix("$").replace("/?", "")) for pattern in patterns]
    return [path if path.startswith("/") else "/nonsense" for path in paths]


def test_nothing_is_open_but_the_health_check_and_nothing_changes_anything(flower: Flower, redis_url: str) -> None:
    secret = str(urlsplit(redis_url).password).encode()
    paths = routes()
    assert len(paths) > 30
    for path in (*paths, *NEAR):
        open_to_all = path == "/healthcheck"
        for method in METHODS if path in PROBED else METHODS[:2]:
            expected = 200 if open_to_all and method in ("GET", "HEAD") else 401
            assert flower(path, None, method).status == expected, (method, path)
        assert flower(path, "relais:wrong").status == (200 if open_to_all else 401), path
    assert {flower("/tasks", auth).status for auth in WRONG} == {401}
    for path in paths:
        for method in METHODS[1:] if path in PROBED else METHODS[1:2]:
            expected = {("POST", "/tasks/datatable"): 400, ("HEAD", "/healthcheck"): 200}.get((method, path), 403)
            assert flower(path, AUTH, method).status == expected, (method, path)
        page = flower(path)
        assert page.status in (200, 400, 404, 405, 503), (path, page.status)
        assert secret not in page.body, path
        assert "Access-Control-Allow-Origin" not in page.headers, path
    assert flower("/tasks/datatable", AUTH, "POST", Origin="https://elsewhere.example").status == 403
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert flower("/tasks", None, **upgrade).status == 401
    assert flower("/metrics").status == 200
    assert flower("/tasks", None).headers["WWW-Authenticate"].startswith("Basic")
    with redis.Redis.from_url(redis_url) as client:
        assert not client.keys("relais.*"), "a task was sent"


def test_it_keeps_the_newest_5000_tasks_and_shows_what_a_dispatch_is(flower: Flower, settings: Settings) -> None:
    app = create_app(settings)
    until(lambda: tell(app, 1) or flower.tasks() > 0, 10, what="it listens")
    most = OPTIONS["max_tasks"]
    tell(app, most + 300)
    until(lambda: b"orders, oldest" in flower("/api/tasks?limit=5").body and flower.tasks() == most, 20)
    found: dict[str, Any] = json.loads(flower("/api/tasks?limit=5").body)
    assert len(found) == 5
    for task in found.values():
        assert (task["name"], task["args"], task["worker"]) == ("relais.deliver", "37 orders, oldest 12:03Z", WORKER)
    one = next(iter(found))
    assert b"37 orders, oldest 12:03Z" in flower(f"/task/{one}").body
    assert "text/plain" in flower("/metrics").headers["Content-Type"]


class Heard(TaskListener):
    """A listener that ends with the first event it hears."""

    def run(self) -> None:
        with suppress(SystemExit):
            super().run()

    def on_event(self, event: dict[str, Any]) -> None:
        raise SystemExit


def test_it_tries_redis_at_a_steady_pace_and_hears_again_soon(
    data_dir: Path,
    leash: Leash,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(flower_server, "PAUSE", 0.05)
    valkey = Valkey(data_dir, choose())
    app = create_app(settings.replace(redis_url=valkey.url))
    listener = Heard(app, None, max_tasks_in_memory=10)
    Thread.start(listener)  # without the timer that asks workers to tell
    until(lambda: caplog.text.count("trying again") >= 12, 6, what="twelve tries, each as soon as the one before")
    valkey.start(leash)
    until(lambda: tell(app, 1) or not listener.is_alive(), what="an event is heard")
    valkey.stop()
