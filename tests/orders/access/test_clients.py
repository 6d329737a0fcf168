"""Who is asking: keys in force, renewed, expired and revoked, on a real journal and without one."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from orders.access import clients, key_cache
from orders.access.clients import Scope
from orders.access.key_cache import KeyCache
from orders.errors import Forbidden, JournalDown, NotFound, Unauthorised
from orders.journal import connect
from tests.machines.roles import above
from tests.machines.servers import SMALL, seed
from tests.waiting import auntil

DAY = timedelta(days=1)
Work = Callable[[AsyncEngine, KeyCache], Awaitable[Any]]


@pytest.fixture
def server(leash: Leash, data_dir: Path) -> Iterator[Postgres]:
    """A PostgreSQL of the test's own, to be killed."""
    seed(data_dir)
    postgres = Postgres(data_dir, choose(), SMALL)
    postgres.start(leash)
    yield postgres
    postgres.stop()


@contextlib.asynccontextmanager
async def asking(
    url: str, refresh: float = 0.05, impatience: float = 0.02
) -> AsyncIterator[tuple[AsyncEngine, KeyCache]]:
    owner, engine = connect(above(url), timeout=5), connect(url, timeout=5)
    ring = KeyCache(engine, refresh=refresh, impatience=impatience)
    try:
        yield owner, ring
    finally:
        await ring.close()
        await engine.dispose()
        await owner.dispose()


def on(url: str, work: Work, **pace: float) -> None:
    async def main() -> None:
        async with asking(url, **pace) as (engine, ring):
            await work(engine, ring)

    asyncio.run(main())


def bearer(key: str) -> str:
    return f"Bearer {key}"


async def known(ring: KeyCache, key: str) -> bool:
    try:
        await ring.caller(bearer(key))
    except Unauthorised:
        return False
    return True


async def unknown(ring: KeyCache, key: str) -> bool:
    return not await known(ring, key)


async def sql(engine: AsyncEngine, statement: str, **values: object) -> Any:
    async with engine.connect() as connection:
        found = await connection.execute(text(statement), values)
        return found.all() if found.returns_rows else None


def test_a_key_says_who_asks_and_what_it_may(database_url: str) -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        key = await clients.add(engine, "front", scopes=[Scope.WRITE], pharmacies=["P2", "P1", "P1"], rate=2.5, burst=7)
        caller = await ring.caller(bearer(key))
        assert (caller.name, caller.scopes, caller.pharmacies) == ("front", {"orders:write"}, {"P1", "P2"})
        assert (caller.rate, caller.burst, caller.ends) == (2.5, 7, float("inf"))
        caller.need(Scope.WRITE)
        caller.need_pharmacy("P1")
        for refused in (lambda: caller.need(Scope.READ), lambda: caller.need(Scope.OPS)):
            with pytest.raises(Forbidden):
                refused()
        for pharmacy in ("P3", "p1", "", "P1 "):
            with pytest.raises(Forbidden):
                caller.need_pharmacy(pharmacy)
        assert (key in repr(caller), caller.hash.hex() in repr(caller)) == (False, False)

    on(database_url, work)


def test_a_client_whose_list_is_empty_may_order_for_nobody_and_one_without_a_list_for_any(database_url: str) -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        nobody = await ring.caller(bearer(await clients.add(engine, "nobody", pharmacies=[])))
        with pytest.raises(Forbidden):
            nobody.need_pharmacy("P1")
        assert nobody.readable == frozenset()
        anybody = bearer(await clients.add(engine, "anybody"))
        await auntil(lambda: known(ring, anybody.removeprefix("Bearer ")))
        assert (await ring.caller(anybody)).readable is None
        ops = await clients.add(engine, "ops", scopes=[Scope.OPS], pharmacies=["P1"])
        await auntil(lambda: known(ring, ops))
        caller = await ring.caller(bearer(ops))
        assert (caller.readable, caller.may_order_for("P2")) == (None, False)

    on(database_url, work)


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer relais_",
        "Bearer None",
        "relais_x",
        "Token {key}",
        "Bearer {key}x",
        "Bearer {cut}",
        "Bearer {upper}",
        "Bearer {hash}",
        "Bearer {fingerprint}",
        "Basic {key}",
        "Bearer \xe9\xff",
        "Bearer {key}, Bearer {key}",
        "Basic {basic}",
    ],
)
def test_what_is_no_key_in_force_opens_nothing(database_url: str, shown: str | None) -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        key = await clients.add(engine, "front")
        hashed = clients.hash_of(key)
        basic = base64.b64encode(f"front:{key}".encode()).decode()
        forms = {
            "key": key,
            "cut": key[:-1],
            "upper": key.upper(),
            "hash": hashed.hex(),
            "fingerprint": clients.fingerprint_of(hashed),
            "basic": basic,
        }
        with pytest.raises(Unauthorised) as refused:
            await ring.caller(shown and shown.format(**forms))
        assert key not in str(refused.value)

    on(database_url, work)


def test_a_key_that_shares_a_known_ones_fingerprint_is_compared_in_full(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "fingerprint_of", lambda hashed: "same")

    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        key = await clients.add(engine, "front")
        await sql(engine, "UPDATE keys SET fingerprint = 'same'")
        assert await known(ring, key)
        assert await unknown(ring, key + "x")

    on(database_url, work)


def test_a_password_is_a_key_where_basic_is_spoken(database_url: str) -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        key = await clients.add(engine, "front")
        for user in ("front", "", "é", "anything"):
            shown = base64.b64encode(f"{user}:{key}".encode()).decode()
            assert (await ring.caller(f"basic  {shown} ", basic=True)).name == "front"
        wrong = [key, f"{key}:", f"front:{key}x", "front:", ":", ""]
        raw = [base64.b64encode(word.encode()).decode() for word in wrong]
        for shown in [
            *raw,
            base64.b64encode(b"front:\xff\xfe").decode(),
            "%%%",
            "abc",
            "\xe9\xe9\xe9\xe9",
            "a" * 60_000,
        ]:
            with pytest.raises(Unauthorised):
                await ring.caller(f"Basic {shown}", basic=True)
        assert (await ring.caller(bearer(key), basic=True)).name == "front"

    on(database_url, work)


def test_old_and_new_key_are_in_force_until_the_overlap_is_over(database_url: str) -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        old = await clients.add(engine, "front", scopes=[Scope.WRITE], pharmacies=["P1"])
        new = (await clients.rotate(engine, "front", DAY))["front"]
        for key in (old, new):
            caller = await ring.caller(bearer(key))
            assert (caller.name, caller.scopes, caller.pharmacies) == ("front", {"orders:write"}, {"P1"})
        await sql(engine, "UPDATE keys SET expires_at = now() + interval '300 ms' WHERE expires_at IS NOT NULL")
        await auntil(lambda: unknown(ring, old))
        assert await known(ring, new)
        last = (await clients.rotate(engine, "front", timedelta(0)))["front"]
        await auntil(lambda: unknown(ring, new))
        assert await known(ring, last)

    on(database_url, work)


def test_what_a_client_may_is_changed_for_the_keys_it_has(database_url: str) -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        key = await clients.add(engine, "front")
        assert (await ring.caller(bearer(key))).pharmacies is None
        values = {"pharmacies": ["P1"], "rate": 1.0}
        await clients.change(engine, "front", values, scopes=[Scope.READ])

        async def changed() -> bool:
            caller = await ring.caller(bearer(key))
            return (caller.pharmacies, caller.rate, caller.scopes) == ({"P1"}, 1.0, {"orders:read"})

        await auntil(changed)

    on(database_url, work)


def test_an_act_whose_record_fails_is_not_done(database_url: str) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError

    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        key = await clients.add(engine, "front")
        await clients.add(engine, "other")
        before = await clients.every(engine)
        for act in (
            clients.add(engine, "third", broken),
            clients.change(engine, "front", {"rate": 1.0}, broken),
            clients.rotate(engine, None, DAY, broken),
            clients.revoke(engine, "front", broken),
        ):
            with pytest.raises(RuntimeError):
                await act
        assert await clients.every(engine) == before
        assert await known(ring, key)

    on(database_url, work)


def test_what_was_revoked_is_not_given_again(database_url: str) -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        key = await clients.add(engine, "front")
        await clients.revoke(engine, "front")
        with pytest.raises(NotFound):
            await clients.rotate(engine, "front", DAY)
        with pytest.raises(NotFound):
            await clients.rotate(engine, None, DAY)
        assert await unknown(ring, key)

    on(database_url, work)


def test_a_revoked_key_opens_nothing_also_after_a_time_without_requests(database_url: str) -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        key = await clients.add(engine, "front")
        assert await known(ring, key)
        await clients.revoke(engine, "front")
        await auntil(lambda: not ring._callers.value, what="the keys are read again though nobody asks")
        assert await unknown(ring, key)

    on(database_url, work)


def test_when_a_key_was_last_used_is_written_though_no_request_follows(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "USE_WRITTEN", 0.1)

    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        used, unused = await clients.add(engine, "front"), await clients.add(engine, "other")
        began = (await sql(engine, "SELECT clock_timestamp()"))[0][0]
        assert await known(ring, used)

        async def written() -> Any:
            return {row["client"]: row["last_used_at"] for row in await clients.every(engine)}["front"]

        at = await auntil(written)
        ended = (await sql(engine, "SELECT clock_timestamp()"))[0][0]
        assert began <= at <= ended
        assert await known(ring, unused)
        await auntil(lambda: not ring._used)
        assert await written() == at  # another's use is not this one's

    on(database_url, work)


def test_when_a_key_was_last_used_is_written_at_the_end_and_an_earlier_time_never_replaces_a_later(
    database_url: str,
) -> None:
    async def work(engine: AsyncEngine, _: KeyCache) -> None:
        key = await clients.add(engine, "front")
        async with asking(database_url) as (_, ring):
            assert await known(ring, key)
        [row] = await clients.every(engine)
        assert row["last_used_at"] is not None
        await sql(engine, "UPDATE keys SET last_used_at = now() + interval '1 hour'")
        async with asking(database_url) as (_, ring):
            assert await known(ring, key)
        [after] = await clients.every(engine)
        assert after["last_used_at"] > row["last_used_at"] + timedelta(minutes=59)

    on(database_url, work)


def test_a_crowd_with_unknown_keys_asks_the_journal_once_at_a_time(database_url: str) -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        statements: list[str] = []
        event.listen(ring._engine.sync_engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
        async with engine.connect() as lock:
            await lock.execution_options(isolation_level="READ COMMITTED")
            await lock.execute(text("LOCK TABLE keys IN ACCESS EXCLUSIVE MODE"))
            crowd = [asyncio.create_task(known(ring, f"relais_{number}")) for number in range(200)]
            await auntil(lambda: readings(statements))
            crowd += [asyncio.create_task(known(ring, f"relais_{number}")) for number in range(200)]
            await asyncio.sleep(0)  # they are all waiting now
            await lock.rollback()
        assert set(await asyncio.gather(*crowd)) == {False}
        assert readings(statements) == 1

    on(database_url, work, refresh=60, impatience=0)


def readings(statements: list[str]) -> int:
    return sum("FROM keys" in each for each in statements)


def test_a_journal_that_was_never_reached_locks_out_with_a_try_again() -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        for _ in range(3):
            with pytest.raises(JournalDown):
                await ring.caller("Bearer relais_x")
        with pytest.raises(Unauthorised):
            await ring.caller(None)

    on("postgresql://nobody@127.0.0.1:1/none", work)


def test_a_journal_without_tables_is_no_unknown_key(postgres: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        with pytest.raises(JournalDown):
            await ring.caller("Bearer relais_x")

    on(postgres.database_url("postgres"), work)
    assert "cannot be read" in caplog.text


def test_while_the_journal_is_down_keys_open_what_they_did_until_they_expire(server: Postgres) -> None:
    async def work(engine: AsyncEngine, ring: KeyCache) -> None:
        lasting, passing = await clients.add(engine, "lasting"), await clients.add(engine, "passing")
        await sql(engine, "UPDATE keys SET expires_at = now() + interval '4 s' WHERE client = 'passing'")
        assert await known(ring, lasting)
        assert await known(ring, passing)
        await asyncio.to_thread(server.kill)
        await auntil(lambda: ring._callers.blind, what="the outage is noticed")
        assert (await ring.caller(bearer(lasting))).name == "lasting"

        async def out_of_force() -> bool:
            try:
                await ring.caller(bearer(passing))
            except JournalDown:  # its time is over, and nobody can say whether it was prolonged
                return True
            return False

        await auntil(out_of_force)
        assert (await ring.caller(bearer(lasting))).name == "lasting"
        with pytest.raises(JournalDown):
            await ring.caller("Bearer relais_unknown")
        await asyncio.to_thread(server.start)
        await auntil(lambda: not ring._callers.blind, 20, what="the journal is found back")
        assert await unknown(ring, passing)
        await engine.dispose()  # its connections died with the server
        new = await clients.add(engine, "new")
        await auntil(lambda: known(ring, new))

    on(server.url, work)
