"""What is exported: as the docs say, bounded, for who may see it, and also when a store is away."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import redis
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from orders.access.clients import Scope
from orders.journal import connect
from tests.bench import Bench, OnBench, Scripted, always
from tests.cli import CommandLine, asked, command, environment, running
from tests.intake import ORDER, RawCall, clients_over_http
from tests.machines.erp import raw_server
from tests.machines.roles import above, login
from tests.waiting import until
from workers.backend_transitions import REGISTER
from workers.delivery.deliver import deliver
from workers.erp.port import Kind
from workers.monitoring.exporter import Exporter, exporter_app
from workers.operations import record

ROW = re.compile(r"^\| `(relais_\w+)` \| (\w+) \| (.*?) \| (\w+) \| (.+) \|$", re.MULTILINE)
NOWHERE = "127.0.0.1:1"

Shape = dict[str, tuple[str, frozenset[str], str]]  # of each metric: type, labels, help


def documented(source: str) -> Shape:
    text = Path("docs/metrics.md").read_text(encoding="utf-8")
    return {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)), what)
        for name, kind, labels, where, what in ROW.findall(text)
        if where == source
    }


def shape(exported: str) -> Shape:
    """Of every family that has a sample; `process_…` is the client library's."""
    found: Shape = {}
    for family in text_string_to_metric_families(exported):
        if family.name.startswith("relais_") and family.samples:
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[name] = (family.type, frozenset(labels), family.documentation)
    return found


def series(exported: bytes) -> set[str]:
    return {line.rpartition(" ")[0] for line in exported.decode().splitlines() if not line.startswith("#")}


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[str]:
    runner = web.AppRunner(exporter_app(settings), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def get(url: str, token: str | None = None, scheme: str = "Bearer") -> tuple[int, str]:
    headers = {} if token is None else {"Authorization": f"{scheme} {token}"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def scraped(settings: Settings) -> bytes:
    exporter = Exporter(settings)
    try:
        return await exporter.scrape()
    finally:
        await exporter.close()


@pytest.fixture
def limited_redis(redis_url: str) -> Any:
    """Redis with a limit to its memory, as in production."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", 1_000_000_000)
        yield
        client.config_set("maxmemory", 0)


def test_the_table_of_metrics_is_what_is_exported(on_bench: OnBench, limited_redis: None) -> None:
    async def work(bench: Bench) -> str:
        await bench.accept(3)
        await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), await bench.dispatch())
        await bench.sql("INSERT INTO seals VALUES (1, 1, 0, 0, 9, '{}', now(), NULL, 'p', 'm', 'k', 's')")
        await bench.sql("INSERT INTO workers (name, host, pid) VALUES ('relais-7@here', 'here', 7)")
        async with bench.by("audit").connect() as connection:
            await record(connection, "audit", None, {"sound": True, "faults": 0, "first": []})
        assert "relais_set_aside_answers{" not in (await scraped(bench.settings)).decode(), "nobody has looked"
        await bench.sql("UPDATE backends SET set_aside = 2, set_aside_at = now() - interval '1 min'")
        told = (await scraped(bench.settings)).decode()
        assert 'relais_set_aside_answers{backend="erp"} 2.0\n' in told
        assert 'relais_set_aside_age_seconds{backend="erp"} 60.' in told
        return told

    found = shape(on_bench(work))
    assert found == documented("exporter")
    for name, (kind, _, _) in found.items():
        assert name.endswith("_total") == (kind == "counter"), name
        assert kind != "histogram" or name.endswith("_seconds"), name


def of_intake(settings: Settings) -> Settings:
    """As an intake has them."""
    return settings.replace(database_url=login(settings.need("database_url"), "api"))


def test_the_table_of_the_intakes_metrics_is_what_it_exports(settings: Settings) -> None:
    async def work(call: RawCall) -> None:
        assert (await call("front", "POST", "/orders", json={**ORDER, "reference": "R1"}))[0] == 202
        _, _, body = await call("ops", "GET", "/metrics")
        assert shape(body.decode()) == documented("intake")

    clients_over_http(of_intake(settings), {"front": {}, "ops": {"scopes": [Scope.OPS]}}, work)


def test_no_series_comes_with_orders_pharmacies_or_clients(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        exporter = Exporter(bench.settings)

        async def traffic(count: int, tag: str) -> None:
            answers = [Kind.REFUSED, Kind.ACCEPTED, Kind.TRANSIENT]
            ids: list[UUID] = []
            for number in range(count // 100):
                ids += await bench.accept(100, pharmacy=f"{tag}{number}")
            await bench.run(REGISTER, window=1000)
            while sent := await bench.dispatch():
                await deliver(bench.resources(Scripted(lambda order_id: answers[order_id.int % 3])), sent)
            assert (await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), ids)).claimed == 0, (
                "messages that name what is not due"
            )

        await traffic(200, "P")
        before = series(await exporter.scrape())
        await traffic(1000, "Q")
        assert series(await exporter.scrape()) == before
        await exporter.close()
        assert len(before) < 150

    on_bench(work)


def test_only_who_has_the_token_is_told(settings: Settings) -> None:
    async def work() -> None:
        async with served(settings.replace(metrics_token=SecretStr("s3cret-token"))) as url:
            assert (await get(f"{url}/metrics"))[0] == 401
            assert (await get(f"{url}/metrics", "wrong"))[0] == 401
            for scheme, status in (("bearer", 200), ("BEARER ", 200), ("Basic", 401)):
                assert (await get(f"{url}/metrics", "s3cret-token", scheme))[0] == status, scheme
            status, body = await get(f"{url}/metrics", "s3cret-token")
            assert (status, "relais_journal_up 1.0" in body) == (200, True)
            assert (await get(f"{url}/healthz"))[0] == 200

    asyncio.run(work())


def test_the_intake_takes_the_token_beside_a_key(settings: Settings) -> None:
    async def work(call: RawCall) -> None:
        for name, status in (("front", 403), ("ops", 200)):
            assert (await call(name, "GET", "/metrics"))[0] == status
        # `call` adds the client's key; the token takes its place.
        assert (await call("front", "GET", "/metrics", token="s3cret-token"))[0] == 200
        assert (await call("front", "GET", "/metrics", token="s3cret-tokeN"))[0] == 401
        assert (await call("front", "GET", "/orders", token="s3cret-token"))[0] == 401

    with_token = settings.replace(metrics_token=SecretStr("s3cret-token"))
    clients_over_http(of_intake(with_token), {"front": {}, "ops": {"scopes": [Scope.OPS]}}, work)


def test_stores_that_are_away_are_metrics_and_no_error(settings: Settings) -> None:
    away = {"database_url": f"postgresql://relais@{NOWHERE}/relais", "redis_url": f"redis://{NOWHERE}/0"}

    async def work() -> None:
        lines = (await scraped(settings.replace(**away))).decode().splitlines()
        assert {"relais_journal_up 0.0", "relais_redis_up 0.0"} <= {*lines}
        assert not any(line.startswith(("relais_deliveries", "relais_dispatcher", "relais_spill")) for line in lines)
        assert any(line.startswith("relais_disk_free_bytes{") for line in lines)

    asyncio.run(work())


def test_stores_that_are_frozen_cost_three_seconds_at_most(settings: Settings) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass

    async def work() -> None:
        async with raw_server(silent) as url:
            place = url.removeprefix("http://")
            frozen = {"database_url": f"postgresql://relais@{place}/relais", "redis_url": f"redis://{place}/0"}
            exporter = Exporter(settings.replace(**frozen))
            began = time.monotonic()
            body = await exporter.scrape()
            assert time.monotonic() - began < 3.0
            assert b"relais_journal_up 0.0" in body
            assert b"relais_redis_up 0.0" in body
            await exporter.close()

    asyncio.run(work())


def test_scrapes_at_the_same_time_share_a_reading(settings: Settings) -> None:
    async def work() -> None:
        exporter = Exporter(settings)
        bodies = await asyncio.gather(*(exporter.scrape() for _ in range(20)))
        assert len({id(body) for body in bodies}) == 1
        assert (await exporter.scrape()) is not bodies[0]
        await exporter.close()

    asyncio.run(work())


def test_the_command_serves_until_it_is_told_to_stop(
    leash: Leash, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    port = choose()
    url = f"http://127.0.0.1:{port}"
    with running(leash, "exporter", command("exporter", "--port", str(port)), environment(settings)) as (
        process,
        log,
    ):
        assert f'"event":"ready","url":"{url}"' in log.read_text()
        status, body = asked(f"{url}/metrics")
        assert (status, b'relais_orders_total{fate="accepted"} 0.0' in body) == (200, True)
        taken = CommandLine(capsys, environment(settings))("exporter", "--port", str(port))
        assert (taken.code, "cannot listen on" in taken.err) == (2, True)
        os.kill(process.pid, signal.SIGTERM)
        assert until(lambda: process.poll() is not None, 10)
        assert process.poll() == 0


def test_an_audit_leaves_its_verdict_where_the_metrics_find_it(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    relais = CommandLine(capsys, environment(settings))

    def exported() -> set[str]:
        return {*asyncio.run(scraped(settings)).decode().splitlines()}

    assert not any(line.startswith("relais_audit_") for line in exported())
    assert "none yet" in relais("status").out
    assert relais("audit").code == 0
    assert "relais_audit_ok 1.0" in exported()
    assert "all is well" in relais("status").out

    async def harm() -> None:
        engine = connect(above(settings.need("database_url")))
        async with engine.connect() as connection:
            await connection.exec_driver_sql(
                "INSERT INTO orders VALUES (gen_random_uuid(), 'p', 'r', 'b', 'd', now(), 'c')"
            )
        await engine.dispose()

    asyncio.run(harm())
    assert relais("audit").code == 1
    assert "relais_audit_ok 0.0" in exported()
    assert json.loads(relais("status", "--json").out)["audit"]["sound"] is False


def test_a_journal_that_takes_no_rows_is_audited_all_the_same(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    url = settings.need("database_url")

    async def forbid() -> None:
        engine = connect(above(url))
        async with engine.connect() as connection:
            name = url.rpartition("/")[2].partition("?")[0]
            await connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await engine.dispose()

    asyncio.run(forbid())
    done = CommandLine(capsys, environment(settings))("audit")
    assert (done.code, "could not be written down" in done.err) == (0, True)


@pytest.mark.slow
def test_audits_go_on_until_they_are_stopped(leash: Leash, settings: Settings) -> None:
    argv = command("audit", "--every", "1s")
    with running(leash, "audit", argv, environment(settings), ready="balances") as (process, log):
        until(lambda: log.read_text().count("balances") >= 2)
        os.kill(process.pid, signal.SIGTERM)
        assert until(lambda: process.poll() is not None, 10)
        assert process.poll() == 0


def test_a_spool_tells_what_it_holds(settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    relais = CommandLine(capsys, {"RELAIS_API_URL": f"http://{NOWHERE}", "RELAIS_API_KEY": "relais_k"})
    spool, file = tmp_path / "spool.db", tmp_path / "orders.ndjson"
    file.write_text("".join(json.dumps({**ORDER, "reference": f"R{n}"}) + "\n" for n in range(3)))
    assert relais("submit", str(file), "--spool", str(spool), "--patience", "0").code == 0
    said = relais("spool", "status", "--spool", str(spool), "--metrics").out
    assert shape(said) == documented("spool")
    values = dict(line.split(" ") for line in said.splitlines() if not line.startswith("#"))
    assert (values["relais_spool_orders"], int(values["relais_spool_bytes"]) > 300) == ("3", True)
    assert 0 <= float(values["relais_spool_oldest_age_seconds"]) < 60
