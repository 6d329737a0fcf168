"""Several backends on a real journal and a real Valkey: routed, dispatched and delivered each on its own."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from config.redis_keys import NORMAL, URGENT, queue_of
from config.settings import Settings
from config.settings.routes_file import load_backends
from orders.intake.entries import entry
from orders.intake.group_commit import Intake
from orders.intake.routing import open_routing
from orders.intake.spill import SpillSigner, spill
from orders.journal import connect
from orders.model import parse
from tests.bench import MEDICINE, Scripted, always
from tests.cli import CommandLine, environment
from tests.dispatching import on_journal
from tests.waiting import until
from workers.delivery.deliver import WorkerResources, deliver
from workers.delivery.dispatch_result import DispatchResult
from workers.dispatch.dispatcher import Dispatcher
from workers.erp.port import Kind
from workers.intake.spill_store import RedisSpill
from workers.queue.app import create_app
from workers.queue.process import WorkerProcess
from workers.queue.publisher import Publisher

BACKENDS = """
default = "main"
[backends.main]
url = "http://127.0.0.1:1"
[backends.other]
url = "http://127.0.0.1:1"
[[routes]]
backend = "other"
pharmacy = ["P7"]
"""
SECRET = "shared by intake and workers"


@pytest.fixture
def two(settings: Settings, tmp_path: Path) -> Settings:
    """Two backends; what P7 orders goes to the other one."""
    (tmp_path / "backends.toml").write_text(BACKENDS)
    update = {
        "backends": tmp_path / "backends.toml",
        "backend": "main",
        "worker_concurrency": 2,
        "claim_patience": 600.0,
        "spill_key": SecretStr(SECRET),
    }
    return settings.replace(**update)


def order(pharmacy: str, **fields: object) -> Any:
    lines = [{"product": MEDICINE, "quantity": 1}]
    return parse(json.dumps({"pharmacy": pharmacy, "reference": uuid4().hex, "lines": lines, **fields}).encode())


def accept(settings: Settings, pharmacies: list[str], **fields: object) -> list[UUID]:
    async def run() -> list[UUID]:
        engine = connect(settings.need("database_url"))
        intake = Intake(engine, open_routing(settings))
        wanted = [intake.accept(order(each, **fields), "t") for each in pharmacies]
        ids = [one.id for one in await asyncio.gather(*wanted)]
        await engine.dispose()
        return ids

    return asyncio.run(run())


def rows(settings: Settings, columns: str) -> list[tuple[Any, ...]]:
    query = f"SELECT {columns}, count(*) FROM deliveries GROUP BY {columns} ORDER BY {columns}"
    return [tuple(row) for row in on_journal(settings, query)]


@contextmanager
def dispatching(settings: Settings) -> Iterator[None]:
    app = create_app(settings)
    dispatcher = Dispatcher(settings, partial(Publisher, app))
    dispatcher.start()
    try:
        yield
    finally:
        dispatcher.stop()
        app.close()


def waiting(url: str, backend: str) -> int:
    with redis.Redis.from_url(url) as client:
        return sum(int(client.llen(queue_of(kind, backend))) for kind in (URGENT, NORMAL))


def test_an_order_is_journalled_for_the_backend_of_its_route(two: Settings) -> None:
    accept(two, ["P1", "P7", "P2", "P7", "P7"])
    assert rows(two, "backend, state") == [("main", "accepted", 2), ("other", "accepted", 3)]


def test_what_was_spilled_is_routed_when_it_is_journalled(two: Settings) -> None:
    async def run() -> None:
        store = RedisSpill(two.need("redis_url"))
        entries = [entry(order(each), "t", "somewhere") for each in ("P1", "P7")]
        await spill(entries, store, SpillSigner.of(SecretStr(SECRET)), ())
        await store.close()

    asyncio.run(run())
    with dispatching(two):
        until(lambda: rows(two, "backend") == [("main", 1), ("other", 1)], what="the spill is journalled")


def test_messages_that_nobody_takes_hold_up_their_own_backend_only(two: Settings, redis_url: str) -> None:
    with dispatching(two):
        for _ in range(12):
            accept(two, ["P1"])
        until(lambda: waiting(redis_url, "main") == 1, what="as many as a worker may soon want")
        accept(two, ["P1"] * 10)
        accept(two, ["P7"] * 5)
        until(lambda: waiting(redis_url, "other") == 1, what="the other one's are out")
        assert waiting(redis_url, "main") == 1
        assert ("main", "accepted") in [row[:2] for row in rows(two, "backend, state")]


def test_a_backend_that_takes_its_time_occupies_no_process(two: Settings) -> None:
    process, done = WorkerProcess(two), []
    free = asyncio.Event()

    async def hang(resources: WorkerResources, ids: list[UUID]) -> None:
        await free.wait()
        done.append(resources.settings.erp.backend)

    async def flow(resources: WorkerResources, ids: list[UUID]) -> None:
        done.append(resources.settings.erp.backend)

    async def release() -> None:
        free.set()

    for _ in range(3):
        process.deliver("main", [uuid4()] * 64, hang, lambda _: False, print)  # type: ignore[arg-type]
    process.deliver("other", [uuid4()], flow, lambda _: False, print)  # type: ignore[arg-type]
    assert done == ["other"], "it did not wait for the main one's"
    process.run(release())
    process.finish()
    assert done == ["other", "main", "main", "main"], "what was begun is done before the process ends"
    asyncio.run(process.engine.dispose())


def test_a_lone_backend_s_task_waits_for_its_batch(settings: Settings) -> None:
    process, done = WorkerProcess(settings.replace(erp_url="http://127.0.0.1:1")), []

    async def slow(resources: WorkerResources, ids: list[UUID]) -> None:
        await asyncio.sleep(0.8)  # longer than a task would wait where there are others
        done.append(ids)

    process.deliver("erp", [uuid4()], slow, lambda _: False, print)  # type: ignore[arg-type]
    assert len(done) == 1


def test_a_message_that_names_another_backend_changes_nothing(two: Settings) -> None:
    """Whoever can write to Redis can name any backend and any order."""
    main, other = load_backends(two).values()
    ids = accept(two, ["P1"] * 3)
    on_journal(two, "INSERT INTO backends (name, \"window\") VALUES ('main', 50), ('other', 50)")
    on_journal(two, "UPDATE deliveries SET state = 'dispatched', lease_until = now() + interval '1 hour'")
    process, erp = WorkerProcess(two), Scripted(always(Kind.ACCEPTED))

    async def forged(engine: AsyncEngine) -> DispatchResult:
        return await deliver(WorkerResources(engine, erp, other, "test"), ids)

    async def none(resources: WorkerResources, wanted: list[UUID]) -> None:
        raise AssertionError("nobody's backend was worked for")

    assert process.run(forged(process.engine)).claimed == 0
    assert str(process.deliver("nobody's", ids, none, lambda _: False, print)) == "0 delivered, 3 elsewhere"  # type: ignore[arg-type]
    assert (erp.sent, rows(two, "backend, state")) == ([], [("main", "dispatched", 3)])
    assert process.run(deliver(WorkerResources(process.engine, erp, main, "test"), ids)).claimed == 3
    process.run(process.engine.dispose())


def test_each_backend_is_paused_by_its_name_and_the_default_one_without(
    two: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    relais = CommandLine(capsys, environment(two))
    assert relais("pause", "--because", "stocktaking").code == 0
    assert relais("pause", "other", "--because", "stocktaking too").code == 0
    assert relais("pause", "erp", "--because", "nobody's").code == 1
    held = {row["name"]: row["held"] for row in json.loads(relais("status", "--json").out)["backends"]}
    assert held == {"main": "main is paused: stocktaking", "other": "other is paused: stocktaking too"}
    on_journal(two, "INSERT INTO backends (name, \"window\") VALUES ('old', 50)")
    held = {row["name"]: row["held"] for row in json.loads(relais("status", "--json").out)["backends"]}
    assert held["old"] == "old is none of the backends any more", "nobody forwards to it"
    bad = relais("status", RELAIS_BACKENDS="/nowhere.toml")
    assert (bad.code, "/nowhere.toml: No such file" in bad.err) == (2, True)
