"""The spill in Redis: a list of signed records, and a hash of notes so that each is there once.

It takes an order only where the server has it on disk before it answers: `appendonly yes` and `appendfsync always`,
also while it rewrites its file, and nothing evicted. That is asked before, with and after every write: a server whose
configuration was changed, or that was replaced by another, is found out before anybody is told that an order is safe.
(`WAITAOF` would prove nothing: under `everysec` it is answered without an fsync.)

Where Sentinels watch, the server that answers may be given up for its replica, and with it what only it has: there a
record is safe when a replica has acknowledged it too (`WAIT`), and without a replica the spill takes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, cast

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from config.redis import close_redis, open_redis
from config.redis_keys import SPILL_NOTES, SPILL_RECORDS
from config.redis_url import redis_address
from orders.intake.spill import Record, SpillDown

ANSWER_TIMEOUT: Final = 1.5  # seconds for one answer; a request is waiting
REPLICATION: Final = 1.0  # seconds for a replica to acknowledge; less than ANSWER_TIMEOUT

NEEDED: Final = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
ASKED: Final = (*NEEDED, "maxmemory", "maxmemory-policy")

# A record that is known already is touched: `WAIT` waits for what its own connection wrote, and for nothing else.
# ARGV: force, then of each record its number of notes, their names and values, and the record itself.
PUT: Final = """
local force, at, answers = ARGV[1] == '1', 2, {}
while at <= #ARGV do
  local count, known, found = tonumber(ARGV[at]), false, {}
  for n = 1, count do
    local value = redis.call('HGET', KEYS[2], ARGV[at + 2 * n - 1])
    known = known or value
    found[n] = value
  end
  if force or not known then
    for n = 1, count do redis.call('HSET', KEYS[2], ARGV[at + 2 * n - 1], ARGV[at + 2 * n]) end
    redis.call('RPUSH', KEYS[1], ARGV[at + 2 * count + 1])
  else
    for n = 1, count do if found[n] then redis.call('HSET', KEYS[2], ARGV[at + 2 * n - 1], found[n]) end end
  end
  answers[#answers + 1] = found
  at = at + 2 * count + 2
end
return answers
"""

# ARGV: the first and the last of the records to drop, how many there are, then the names of notes.
DROP: Final = """
local count = tonumber(ARGV[3])
if redis.call('LINDEX', KEYS[1], 0) ~= ARGV[1] then return 0 end
if redis.call('LINDEX', KEYS[1], count - 1) ~= ARGV[2] then return 0 end
redis.call('LTRIM', KEYS[1], count, -1)
for n = 4, #ARGV do redis.call('HDEL', KEYS[2], ARGV[n]) end
return 1
"""


class RedisSpill:
    """The spill at one Redis. Belongs to the event loop on which it is first used."""

    def __init__(self, url: str) -> None:
        """Nothing connects yet."""
        self._redis = open_redis(url, ANSWER_TIMEOUT)
        self._replicated = redis_address(url).service is not None

    async def put(self, records: Sequence[Record], *, force: bool = False) -> list[list[bytes | None]]:
        """As `orders.intake.spill.Store.put`: returns once the records are on the server's disk."""
        arguments: list[Any] = [int(force)]
        for record in records:
            arguments.append(len(record.notes))
            for note in record.notes:
                arguments += [note.name, note.value]
            arguments.append(record.raw)
        await self.check()
        configuration, found = await self._answer(lambda: self._put(arguments))
        _verify(configuration)
        await self.check()
        return cast(list[list[bytes | None]], found)

    async def _put(self, arguments: Sequence[Any]) -> list[Any]:
        """On one connection: a primary that is another than the one that was written to has nothing to wait for."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.execute_command("MULTI")
            pipeline.execute_command("CONFIG", "GET", *ASKED)
            pipeline.execute_command("EVAL", PUT, 2, SPILL_RECORDS, SPILL_NOTES, *arguments)
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
        """Raise SpillDown unless the server has every write on its disk before it answers, and evicts nothing; where
        Sentinels watch, unless it also has a replica.
        """
        _verify(await self._answer(lambda: self._redis.config_get(*ASKED)))
        if self._replicated and not (await self._answer(lambda: self._redis.info("replication")))["connected_slaves"]:
            raise SpillDown("the primary has no replica")

    async def head(self, count: int) -> list[bytes]:
        """As `orders.intake.spill.Store.head`."""
        return cast(list[bytes], await self._answer(lambda: self._redis.lrange(SPILL_RECORDS, 0, count - 1)))

    async def drop(self, records: Sequence[bytes], names: Sequence[bytes]) -> bool:
        """As `orders.intake.spill.Store.drop`: only while these are the oldest, so that a late comer drops nobody
        else's.
        """
        ends = (records[0], records[-1], len(records))
        return bool(await self._answer(lambda: self._redis.eval(DROP, 2, SPILL_RECORDS, SPILL_NOTES, *ends, *names)))

    async def close(self) -> None:
        """Let go of connections."""
        await close_redis(self._redis)

    async def _answer(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What the server answers; over a connection that turns out to be dead it is asked again, over a new one."""
        try:
            try:
                return await ask()
            except (
                RedisConnectionError,
                RuntimeError,
            ):  # the latter is a transport's or an event loop's that is closed
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


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
