"""The spill in Redis: a list of signed records, and a hash of notes so that each is there once and is found.

It takes an order only where the server has it on disk before it answers: `appendonly yes` and `appendfsync always`,
also while it rewrites its file, and nothing evicted. That is asked before, with and after every write: a server whose
configuration was changed, or that was replaced by another, is found out before anybody is told that an order is safe.
(`WAITAOF` would prove nothing: under `everysec` it is answered without an fsync.)

Where Sentinels watch, the server that answers may be given up for its replica, and with it what only it has: there a
record is safe when a replica has acknowledged it too (`WAIT`), and without a replica the spill takes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, cast

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from config.redis import close_redis, open_redis
from config.redis_keys import SPILL_ASIDE, SPILL_ERA, SPILL_NOTES, SPILL_RECORDS
from config.redis_url import redis_address
from orders.intake.store import Cancelling, Put, Record, SpillDown
from workers.intake.spill_scripts import CANCEL, DROP, FIND, HEAD, PUT

ANSWER_TIMEOUT: Final = 1.5  # seconds for one answer; a request is waiting
REPLICATION: Final = 1.0  # seconds for a replica to acknowledge; less than ANSWER_TIMEOUT

ERA: Final = 30  # seconds without a record after which an era ends
KEYS: Final = (SPILL_RECORDS, SPILL_NOTES, SPILL_ERA)
DRAINED: Final = (*KEYS, SPILL_ASIDE)

NEEDED: Final = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
ASKED: Final = (*NEEDED, "maxmemory", "maxmemory-policy")


class RedisSpill:
    """The spill at one Redis. Belongs to the event loop on which it is first used."""

    def __init__(self, url: str) -> None:
        """Nothing connects yet."""
        self._redis = open_redis(url, ANSWER_TIMEOUT)
        self._replicated = redis_address(url).service is not None

    async def put(self, records: Sequence[Record], *, force: bool = False) -> Put:
        """As `orders.intake.store.Store.put`: returns once the records are on the server's disk."""
        arguments: list[Any] = [int(force), secrets.token_hex(8), ERA * 1000]
        for record in records:
            arguments.append(len(record.notes))
            for note in record.notes:
                arguments += [note.name, note.value]
            arguments += [record.id, record.raw]
        return Put(*await self._write(PUT, arguments))

    async def cancel(self, order_id: bytes, mark: bytes) -> Cancelling:
        """As `orders.intake.store.Store.cancel`: returns once the mark is on the server's disk."""
        return Cancelling(await self._write(CANCEL, [order_id, mark]))

    async def known(self, names: Sequence[bytes]) -> tuple[bool, list[bytes | None]]:
        """As `orders.intake.store.Store.known`."""
        holds, *found = await self._answer(lambda: self._known(names))
        return bool(holds), found[0] if found else []

    async def _known(self, names: Sequence[bytes]) -> list[Any]:
        if not names:
            return [await self._redis.exists(SPILL_RECORDS, SPILL_ERA)]
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(SPILL_RECORDS, SPILL_ERA)
            pipeline.hmget(SPILL_NOTES, list(names))
            return await pipeline.execute()

    async def find(self, order_id: bytes) -> tuple[bytes | None, bytes | None]:
        """As `orders.intake.store.Store.find`."""
        raw, mark = await self._answer(lambda: self._redis.eval(FIND, len(KEYS), *KEYS, order_id))
        return raw, mark

    async def _write(self, script: str, arguments: Sequence[Any]) -> Any:
        """Returns what the script says once the server has on its disk what it wrote."""
        await self.check()
        configuration, said = await self._answer(lambda: self._run(script, arguments))
        _verify(configuration)
        await self.check()
        return said

    async def _run(self, script: str, arguments: Sequence[Any]) -> list[Any]:
        """On one connection: a primary that is another than the one that was written to has nothing to wait for."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.execute_command("MULTI")
            pipeline.execute_command("CONFIG", "GET", *ASKED)
            pipeline.execute_command("EVAL", script, len(KEYS), *KEYS, *arguments)
            pipeline.execute_command("EXEC")
            if self._replicated:
                pipeline.execute_command("WAIT", 1, int(REPLICATION * 1000))
            answers = await pipeline.execute()
        said, found = answers[3]
        if isinstance(found, Exception):
            raise found
        if self._replicated and not answers[4]:
            raise SpillDown("no replica has acknowledged it")
        return [said if isinstance(said, Mapping) else dict(zip(said[::2], said[1::2], strict=True)), found]

    async def check(self) -> None:
        """Raise SpillDown unless the server has every write on its disk before it answers, has room, and evicts
        nothing; where Sentinels watch, unless it also has a replica.
        """
        _verify(await self._answer(lambda: self._redis.config_get(*ASKED)))
        _has_room(await self._answer(lambda: self._redis.info("memory")))
        if self._replicated and not (await self._answer(lambda: self._redis.info("replication")))["connected_slaves"]:
            raise SpillDown("the primary has no replica")

    async def head(self, count: int) -> list[bytes]:
        """As `orders.intake.store.Store.head`: a replica that there is knows too which records were handed out."""
        return cast(list[bytes], await self._answer(lambda: self._head(count)))

    async def _head(self, count: int) -> Any:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.eval(HEAD, len(KEYS), *KEYS, count)
            if self._replicated:
                pipeline.execute_command("WAIT", 1, int(REPLICATION * 1000))
            return (await pipeline.execute())[0]

    async def marks(self, ids: Sequence[bytes]) -> list[bytes | None]:
        """As `orders.intake.store.Store.marks`."""
        if not ids:
            return []
        names = [b"c\x1f" + each for each in ids]
        return cast(list[bytes | None], await self._answer(lambda: self._redis.hmget(SPILL_NOTES, names)))

    async def drop(
        self, records: Sequence[bytes], ids: Sequence[bytes], names: Sequence[bytes], aside: Sequence[int] = ()
    ) -> bool:
        """As `orders.intake.store.Store.drop`: only while these are the oldest, so that a late comer drops nobody
        else's.
        """
        notes = [*names, *(kind + each for each in ids for kind in (b"i\x1f", b"c\x1f"))]
        ends: tuple[bytes | int, ...] = (records[0], records[-1], len(records), len(aside), *aside)
        return bool(await self._answer(lambda: self._redis.eval(DROP, len(DRAINED), *DRAINED, *ends, *notes)))

    async def aside(self, passed: int, count: int) -> list[bytes]:
        """As `orders.intake.store.Store.aside`."""
        ends = (-passed - count, -passed - 1)
        return cast(list[bytes], await self._answer(lambda: self._redis.lrange(SPILL_ASIDE, *ends)))

    async def take_aside(self, record: bytes) -> None:
        """As `orders.intake.store.Store.take_aside`."""
        await self._answer(lambda: self._redis.lrem(SPILL_ASIDE, -1, record))  # type: ignore[arg-type] # bytes it is

    async def close(self) -> None:
        """Let go of connections."""
        await close_redis(self._redis)

    async def _answer(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What the server answers; over a connection that turns out to be dead it is asked again, over a new one."""
        try:
            try:
                return await ask()
            except (RedisConnectionError, RuntimeError):  # the latter of a transport or a loop that is closed
                with suppress(RedisError, OSError, RuntimeError):  # each is dropped, whether it can be closed or not
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
                return await ask()
        except SpillDown:
            raise
        except Exception as error:  # whatever it was, nobody knows that the server has it
            raise SpillDown(type(error).__name__) from None


def _verify(configuration: Mapping[Any, Any]) -> None:
    said = {_text(name): _text(value) for name, value in configuration.items()}
    for name, value in NEEDED.items():
        if said.get(name) != value:
            raise SpillDown(f"{name} is {said.get(name)}, not {value}")
    if said.get("maxmemory") != "0" and said.get("maxmemory-policy", "").startswith("allkeys"):
        raise SpillDown(f"maxmemory-policy {said['maxmemory-policy']} may evict orders")


def _has_room(memory: Mapping[str, Any]) -> None:
    """As the server itself decides whether it takes a write."""
    used = memory["used_memory"] - memory.get("mem_not_counted_for_evict", 0)
    if 0 < memory["maxmemory"] < used:
        raise SpillDown("its memory is full")


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
