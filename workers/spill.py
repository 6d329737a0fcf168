"""The spill in Redis: a list of signed records, and a hash of notes so that each is there once.

It takes an order only where the server has it on disk before it answers: `appendonly yes` and `appendfsync always`,
also while it rewrites its file, and nothing evicted. That is asked before, with and after every write: a server whose
configuration was changed, or that was replaced by another, is found out before anybody is told that an order is safe.
(`WAITAOF` would prove nothing: under `everysec` it is answered without an fsync.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from orders.spill import Record, SpillDown

RECORDS: Final = "relais.spill"
NOTES: Final = "relais.spill.notes"
PATIENCE: Final = 1.5  # seconds for one answer; a request is waiting

NEEDED: Final = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
ASKED: Final = (*NEEDED, "maxmemory", "maxmemory-policy")

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
        self._redis = Redis.from_url(
            url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 0)
        )

    async def put(self, records: Sequence[Record], *, force: bool = False) -> list[list[bytes | None]]:
        """As `orders.spill.Store.put`: returns once the records are on the server's disk."""
        arguments: list[Any] = [int(force)]
        for record in records:
            arguments.append(len(record.notes))
            for note in record.notes:
                arguments += [note.name, note.value]
            arguments.append(record.raw)
        await self.check()
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.config_get(*ASKED)
                pipeline.eval(PUT, 2, RECORDS, NOTES, *arguments)
                configuration, found = await pipeline.execute()
        except (RedisError, OSError) as error:
            raise SpillDown(type(error).__name__) from None
        _verify(configuration)
        await self.check()
        return cast(list[list[bytes | None]], found)

    async def check(self) -> None:
        """Raise SpillDown unless the server has every write on its disk before it answers, and evicts nothing."""
        _verify(await self._answer(self._redis.config_get(*ASKED)))

    async def head(self, count: int) -> list[bytes]:
        """As `orders.spill.Store.head`."""
        return cast(list[bytes], await self._answer(self._redis.lrange(RECORDS, 0, count - 1)))

    async def drop(self, records: Sequence[bytes], names: Sequence[bytes]) -> bool:
        """As `orders.spill.Store.drop`: only while these are the oldest, so that a late comer drops nobody else's."""
        ends = (records[0], records[-1], len(records))
        return bool(await self._answer(self._redis.eval(DROP, 2, RECORDS, NOTES, *ends, *names)))

    async def close(self) -> None:
        """Let go of connections."""
        await self._redis.aclose()

    async def _answer(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except (RedisError, OSError) as error:
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
