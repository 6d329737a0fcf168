"""Under the ACL each user of Redis does its own work and is refused everybody else's."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from config.acl import ADMIN, USERS
from config.embedded.valkey import Valkey
from config.journal_roles import PROCESSES
from config.secret_files import ACL, MADE, make_secrets
from orders.intake.store import Cancelling, Note, Record
from tests.cli import CommandLine
from tests.waiting import auntil
from workers.intake.rate_limit import RateLimit
from workers.intake.spill_store import RedisSpill

Run = Callable[[Coroutine[Any, Any, Any]], Any]
QUEUE = "relais.normal.erp"

NOBODYS = [
    ("flushall",),
    ("flushdb",),
    ("keys", "*"),
    ("scan", 0),
    ("config", "set", "maxmemory", "1"),
    ("acl", "list"),
    ("acl", "setuser", "x"),
    ("shutdown", "nosave"),
    ("monitor",),
    ("save",),
    ("bgrewriteaof",),
    ("replicaof", "no", "one"),
    ("client", "list"),
    ("client", "kill", "type", "normal"),
    ("module", "list"),
    ("get", "other"),
    ("set", "other", "x"),
    ("lpush", "other", "x"),
    ("del", QUEUE + "x", "other"),
    ("publish", "other", "x"),
    ("psubscribe", "*"),
    ("function", "list"),
    ("script", "flush"),
    ("lpush", "relais.spillage", "x"),
    ("rename", QUEUE, "x"),
    ("swapdb", 0, 1),
    ("select", 0),
    ("select", 1),
    ("eval", "return redis.call('SELECT', 1)", 0),
    ("migrate", "h", 1, "k", 0, 1),
]
REFUSED: dict[str, list[tuple[Any, ...]]] = {
    # Intake neither takes nor forges a dispatch, nor takes out what is spilled.
    "api": [
        ("lpush", QUEUE, "x"),
        ("rpush", QUEUE, "x"),
        ("brpop", QUEUE, 1),
        ("llen", QUEUE),
        ("rpop", "relais.spill"),
        ("lpop", "relais.spill"),
        ("ltrim", "relais.spill", 1, -1),
        ("del", "relais.spill"),
        ("hdel", "relais.spill.notes", "x"),
        ("publish", "/0.celery.pidbox", "x"),
        ("eval", "return redis.call('LPUSH', KEYS[1], 'x')", 1, QUEUE),
        ("eval", "return redis.call('LPOP', KEYS[1])", 1, "relais.spill"),
        ("eval", "return redis.call('RPUSH', ARGV[1], 'x')", 0, QUEUE),
    ],
    # A worker leaves alone what clients have spent, and can spill nothing.
    "worker": [
        ("hset", "relais:rate:front", "left", "1"),
        ("rpush", "relais.spill", "x"),
        ("info",),
        ("xrevrange", "relais.aside", "+", "-"),
        ("hset", "relais.spill.notes", "a", "b"),
        ("eval", "return redis.call('RPUSH', KEYS[1], 'x')", 1, "relais.spill"),
    ],
    # Flower sees how long a queue is, neither what is in it nor what is spilled, and writes none.
    "flower": [
        ("lpush", QUEUE, "x"),
        ("rpush", QUEUE, "x"),
        ("brpop", QUEUE, 1),
        ("lrange", QUEUE, 0, -1),
        ("del", QUEUE),
        ("llen", "relais.spill"),
        ("lpush", "relais.canary.x", "x"),
        ("xadd", "relais.aside", "*", "a", "b"),
        ("config", "get", "*"),
        ("info",),
        ("eval", "return redis.call('DEL', KEYS[1])", 1, QUEUE),
        ("eval", "return redis.call('LRANGE', KEYS[1], 0, -1)", 1, QUEUE),
    ],
    # The exporter counts.
    "exporter": [
        ("lrange", QUEUE, 0, -1),
        ("lindex", QUEUE, 0),
        ("lrange", "relais.spill", 0, -1),
        ("hgetall", "relais.spill.notes"),
        ("lpush", QUEUE, "x"),
        ("brpop", QUEUE, 1),
        ("config", "get", "*"),
        ("publish", "/0.celeryev", "x"),
        ("psubscribe", "/0.celeryev"),
        ("eval", "return 1", 0),
    ],
    # The console counts, too: what it does, it does in the journal.
    "console": [
        ("lrange", QUEUE, 0, -1),
        ("lindex", QUEUE, 0),
        ("lrange", "relais.spill", 0, -1),
        ("rpush", "relais.spill", "x"),
        ("hgetall", "relais.spill.notes"),
        ("lpush", QUEUE, "x"),
        ("brpop", QUEUE, 1),
        ("lrem", QUEUE, 1, "x"),
        ("config", "get", "*"),
        ("publish", "/0.celery.pidbox", "x"),
        ("psubscribe", "/0.celeryev"),
        ("eval", "return 1", 0),
    ],
    # The command line puts nothing into a queue of orders; `replay` goes through the journal.
    "ops": [
        ("lpush", QUEUE, "x"),
        ("brpop", QUEUE, 1),
        ("ltrim", QUEUE, 1, -1),
        ("ltrim", "relais.spill", 1, -1),
        ("del", "relais.spill"),
        ("set", "relais:rate:front", "x"),
    ],
}


@pytest.fixture
def admin(valkey: Valkey, redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.execute_command("ACL", "LOG", "RESET")
        yield client
        client.execute_command("ACL", "LOG", "RESET")


@pytest.mark.parametrize("user", sorted(REFUSED))
def test_a_user_is_refused_what_is_not_its_own(user: str, valkey: Valkey, admin: redis.Redis) -> None:
    admin.lpush(QUEUE, "a message")
    admin.rpush("relais.spill", "an order")
    for words in (*NOBODYS, *REFUSED[user]):
        with redis.Redis.from_url(valkey.url_of(user), socket_timeout=2) as client:
            try:
                client.execute_command(*words)
            except redis.ResponseError as error:
                assert isinstance(error, NoPermissionError) or "ACL failure in script" in str(error), (words, error)
                continue
        pytest.fail(f"{user} may {' '.join(map(str, words))}")
    assert (admin.llen(QUEUE), admin.llen("relais.spill")) == (1, 1)
    assert {row["username"] for row in admin.execute_command("ACL", "LOG")} == {user}


def test_there_are_no_users_but_these_and_none_comes_without_a_name(valkey: Valkey, admin: redis.Redis) -> None:
    assert {*USERS} == {ADMIN, *REFUSED}
    assert {*admin.execute_command("ACL", "USERS")} == {*USERS, "default"}
    for url in (f"redis://127.0.0.1:{valkey.port}/0", f"redis://default:x@127.0.0.1:{valkey.port}/0"):
        with redis.Redis.from_url(url) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_an_operator_may_drop_a_message_that_no_worker_can_take(valkey: Valkey, admin: redis.Redis) -> None:
    admin.lpush(QUEUE, "poison", "another")
    with redis.Redis.from_url(valkey.url_of("ops"), decode_responses=True) as client:
        assert client.lindex(QUEUE, -1) == "poison"
        assert (client.lrem(QUEUE, -1, "poison"), client.delete(QUEUE)) == (1, 1)


def test_spill_and_rates_work_as_their_users(valkey: Valkey, admin: redis.Redis, run: Run) -> None:
    async def told() -> bool:
        return bool(admin.exists("relais:rate:front"))

    async def through() -> None:
        api, worker = RedisSpill(valkey.url_of("api")), RedisSpill(valkey.url_of("worker"))
        rate = RateLimit(valkey.url_of("api"), 100.0)
        try:
            assert await api.known([b"name"]) == (False, [None])
            await api.put([Record(b"id", b"raw", (Note(b"name", b"value"),))])
            assert await api.known([b"name"]) == (True, [b"value"])
            assert await api.cancel(b"id", b"mark") is Cancelling.DONE
            assert await api.find(b"id") == (b"raw", b"mark")
            assert await worker.head(10) == [b"raw"]
            assert await worker.marks([b"id"]) == [b"mark"]
            await api.put([Record(b"other", b"raw2", (Note(b"name2", b"value"),))])
            assert await worker.drop([b"raw"], [b"id"], [b"name"])
            await worker.head(10)
            assert await worker.drop([b"raw2"], [b"other"], [b"name2"])
            rate.spend("front", 2, 1.0, 5)
            await auntil(told, 10, what="Redis was told what was spent")
            assert not rate.open
        finally:
            for each in (api, worker, rate):
                await each.close()

    run(through())
    assert admin.execute_command("ACL", "LOG") == []


def test_secrets_are_made_once_for_their_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    relais, place = CommandLine(capsys, {"RELAIS_DATA_DIR": str(tmp_path)}), tmp_path / "secrets"
    assert relais("admin", "acl", str(place)).code == 2
    assert relais("admin", "secrets", str(place)).code == 0
    first = {path.name: path.read_text() for path in place.iterdir()}
    assert set(first) == {*MADE, ACL}
    assert len({first[name] for name in MADE}) == len(MADE)
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert not any(first[f"valkey_{user}"].strip() in first[ACL] for user in USERS)
    (place / "valkey_worker").unlink()
    assert "Made 1 in" in relais("admin", "secrets", str(place)).err
    second = {path.name: path.read_text() for path in place.iterdir()}
    assert {name for name in first if first[name] != second[name]} == {"valkey_worker", ACL}
    assert relais("admin", "acl", str(place)).out == second[ACL]


def test_the_sql_for_a_dba_names_each_role_and_no_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That it grants what `relais admin migrate` does, tests/orders/schema/test_roles.py shows."""
    relais, place = CommandLine(capsys, {"RELAIS_DATA_DIR": str(tmp_path)}), tmp_path / "secrets"
    assert relais("admin", "roles", str(place)).code == 2
    assert relais("admin", "secrets", str(place)).code == 0
    said = relais("admin", "roles", str(place), "--database", "orders").out
    assert re.findall(r"^ALTER ROLE (\w+) LOGIN PASSWORD 'SCRAM-SHA-256\$", said, re.MULTILINE) == [
        f"orders_{process}" for process in PROCESSES
    ]
    assert not any((place / f"postgres_{process}").read_text().strip() in said for process in PROCESSES)
    single = relais("admin", "roles", "--single", "relais_app").out
    assert re.findall(r"^ALTER ROLE \w+ LOGIN.*", single, re.MULTILINE) == ["ALTER ROLE relais_app LOGIN;"]


def test_a_group_may_read_them(tmp_path: Path) -> None:
    make_secrets(tmp_path, os.getgid())
    assert {(path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()} == {
        (os.getgid(), 0o640)
    }
