"""What waits in Redis, as an operator looks at it and drops it.

A message is disposable: the journal sends again what it named. So when one holds up the others, or Redis runs out of
memory, dropping it loses no order. The spill, which does hold orders, is none of these queues; what of it was forged,
and stayed in Redis, can be dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, cast

from kombu.exceptions import KombuError
from redis import Redis
from redis.exceptions import RedisError

from config.celeryconfig import connection
from config.errors import first_line
from config.redis_keys import NORMAL, NOTICES, SPILL_ASIDE, URGENT, queue_of
from config.settings import Settings
from config.settings.routes_file import load_backends
from orders.errors import NotFound
from workers.queue.envelope import read

REDIS_TIMEOUT: Final = 2.0  # s for Redis
MOST_SHOWN: Final = 4096  # bytes of a message


class RedisAway(Exception):
    """Redis does not answer; the message says what it met."""


@dataclass(frozen=True, slots=True)
class QueueHead:
    """A queue: how many messages wait, and the one that a worker takes next.

    All but the first two are empty where nothing waits. `fault` says why no worker can take it, None when one can.
    """

    queue: str
    waiting: int
    task: str | None
    about: str | None
    size: int
    fault: str | None
    raw: bytes


@contextmanager
def redis_of(settings: Settings) -> Iterator[Redis]:
    """Redis, as the workers reach it. Raises RedisAway, also for what is raised inside."""
    options = {"socket_timeout": REDIS_TIMEOUT, "socket_connect_timeout": REDIS_TIMEOUT, "max_retries": 0}
    try:
        with connection(settings.need("redis_url"), **options) as asked:
            yield asked.default_channel.client
    except (KombuError, RedisError, OSError) as error:
        raise RedisAway(first_line(error)) from None


def queues(settings: Settings) -> list[str]:
    """The queues of these settings, in the order in which workers take from them."""
    backends = load_backends(settings)
    return [*(queue_of(URGENT, each) for each in backends), NOTICES, *(queue_of(NORMAL, each) for each in backends)]


def heads(redis: Redis, settings: Settings) -> list[QueueHead]:
    """Every queue with its next message."""
    return [head(redis, name) for name in queues(settings)]


def head(redis: Redis, queue: str) -> QueueHead:
    """A queue with its next message; a worker takes from the list's right end."""
    waiting, raw = int(redis.llen(queue)), cast(bytes | None, redis.lindex(queue, -1))
    if raw is None:
        return QueueHead(queue, waiting, None, None, 0, None, b"")
    task, about, fault = read(raw)
    return QueueHead(queue, waiting, task, about, len(raw), fault, raw)


def known(settings: Settings, queue: str) -> str:
    """The queue, if it is one of ours. Raises NotFound."""
    if queue not in queues(settings):
        raise NotFound(f"no queue {queue}; there are {', '.join(queues(settings))}")
    return queue


def drop(redis: Redis, found: QueueHead) -> bool:
    """Take out the very message that was looked at; False when it is gone, taken by a worker or another operator."""
    return bool(redis.lrem(found.queue, -1, found.raw))  # type: ignore[arg-type] # bytes are what Redis has


def spill_aside(redis: Redis) -> int:
    """How many forged records of the spill stayed in Redis."""
    return int(redis.llen(SPILL_ASIDE))


def drop_spill_aside(redis: Redis) -> None:
    """Forget them."""
    redis.delete(SPILL_ASIDE)


def clear(redis: Redis, queue: str) -> int:
    """Take out all messages of a queue; how many there were."""
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.llen(queue)
        pipeline.delete(queue)
        waiting, _ = pipeline.execute()
    return int(waiting)
