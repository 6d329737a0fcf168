"""The rate limit of each client, shared by all intake processes through Redis, at no cost to any request.

A request spends at once from what this process believes is left. Ten times a second one script tells Redis what was
spent, for all clients, and brings back what is left of everybody's; so a client can be ahead by what it hands over
within a tenth of a second, is in debt for it, and gets its rate in the long run whatever the number of processes.

It fails open. While Redis is down, frozen or slow nobody is refused, and the count begins anew when it is back: a
limit protects the intake from a client gone wild, and must never keep an order out because of a fault of ours.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any, Final

from config.redis import close_redis, open_redis
from config.token_bucket import TokenBucket
from orders.access.clients import NO_LIMIT
from orders.ending import ended

log = logging.getLogger("relais.limits")

KEYS: Final = "relais:rate:"
TICK: Final = 0.1  # seconds between two exchanges
BREATH: Final = 0.5  # seconds between two tries to reach a Redis that failed
EXCHANGE_TIMEOUT: Final = 1.0  # seconds for an exchange, connecting included
BURST: Final = 2.0  # seconds' worth of orders at once, where a client has no burst of its own
ALMOST: Final = 1e-6  # orders; what rounding may take away

# ARGV: of each client what was spent, its rate, its burst. The clock is the server's; a key that is gone says full.
EXCHANGE: Final = """
local time, left = redis.call('TIME'), {}
local now = time[1] + time[2] / 1e6
for n = 1, #KEYS do
  local spent, rate, burst = tonumber(ARGV[3 * n - 2]), tonumber(ARGV[3 * n - 1]), tonumber(ARGV[3 * n])
  local known = redis.call('HMGET', KEYS[n], 'left', 'at')
  local room = burst
  if known[1] and known[2] then room = math.min(burst, known[1] + math.max(0, now - known[2]) * rate) end
  if spent > 0 then
    room = room - spent
    redis.call('HSET', KEYS[n], 'left', string.format('%.6f', room), 'at', string.format('%.6f', now))
    redis.call('PEXPIRE', KEYS[n], math.ceil((burst - room) / rate * 1000))
  end
  left[n] = string.format('%.6f', room)
end
return left
"""


@dataclass(slots=True)
class _Bucket(TokenBucket):
    """What this process believes is left of a client's room, and what it has yet to tell."""

    spent: int = 0

    def spend(self, orders: int, now: float) -> float:
        missing = min(orders, self.burst) - self.fill(now)
        if missing > ALMOST:
            return missing / self.rate
        self.room -= orders
        self.spent += orders
        return 0.0


class RateLimit:
    """`orders.api.load_shedding.ClientLimit` by one Redis. Belongs to the event loop on which it is first used."""

    def __init__(self, url: str, default: float | None = None) -> None:
        """`default` in orders a second for clients without a rate, None for no limit. Nothing connects yet."""
        self.open = False
        self.errors = 0
        self._default = default
        self._buckets: dict[str, _Bucket] = {}
        self._exchanging: asyncio.Task[None] | None = None
        self._redis = open_redis(url, EXCHANGE_TIMEOUT)

    def spend(self, client: str, orders: int, rate: float | None, burst: int | None) -> float:
        """As `orders.api.load_shedding.ClientLimit.spend`."""
        rate = rate or self._default
        if rate is None or rate >= NO_LIMIT or self.open:
            return 0.0
        size = burst or max(1.0, rate * BURST)
        now = time.monotonic()
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(rate, size, size, now)
            self._begin()
        bucket.rate, bucket.burst = rate, size
        return bucket.spend(orders, now)

    async def close(self) -> None:
        """Stop exchanging, and let go of the connection."""
        await ended(self._exchanging)
        await close_redis(self._redis)

    def _begin(self) -> None:
        if self._exchanging is None or self._exchanging.done():
            self._exchanging = asyncio.get_running_loop().create_task(self._keep_count())

    async def _keep_count(self) -> None:
        """Exchange while there is anything to limit, or Redis is to be found back."""
        while self._buckets or self.open:
            await asyncio.sleep(BREATH if self.open else TICK)
            try:
                async with asyncio.timeout(EXCHANGE_TIMEOUT):
                    await self._exchange()
            except Exception as error:  # whatever it was, it must neither refuse anybody nor end this
                self._fail(error)
            else:
                self._resume()

    async def _exchange(self) -> None:
        if self.open:
            await self._redis.set(KEYS, b"", px=1000)  # a server that answers may still refuse to write
        spending = [(client, bucket, bucket.spent) for client, bucket in self._buckets.items()]
        arguments: list[Any] = [KEYS + client for client, _, _ in spending]
        for _, bucket, spent in spending:
            bucket.spent = 0
            arguments += [spent, bucket.rate, bucket.burst]
        left = await self._redis.eval(EXCHANGE, len(spending), *arguments)
        now = time.monotonic()
        for (client, bucket, spent), room in zip(spending, map(float, left), strict=True):
            bucket.room, bucket.at = room - bucket.spent, now
            if room >= bucket.burst and not spent and not bucket.spent:
                del self._buckets[client]  # full everywhere: to know nothing says the same

    def _fail(self, error: Exception) -> None:
        if not self.open:
            log.warning("rate limits are open, Redis does not keep count", extra={"error": type(error).__name__})
        self.open = True
        self.errors += 1
        self._buckets.clear()

    def _resume(self) -> None:
        if self.open:
            log.warning("rate limits are in force again")
        self.open = False
