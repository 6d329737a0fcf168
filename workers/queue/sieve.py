"""What a worker takes from Redis: messages of ours. Everything else is set aside at once, and stops nobody.

kombu decodes a message while it reads its connection, so that what it cannot decode costs the connection, and all
that waits behind it the time until there is another. Here each message is looked at before kombu has it. What is none
of ours is kept at the end of a stream in Redis, the last `MOST_KEPT` with their first bytes, and the stream counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import Empty
from typing import Any, Final

from kombu.transport.redis import Channel
from redis import Redis
from redis.exceptions import RedisError

from config.redis_keys import ASIDE, OURS
from workers.queue.envelope import read

log = logging.getLogger("relais.queue")

MOST_KEPT: Final = 100  # messages
FIRST: Final = 1024  # bytes of each

_create_client = Channel._create_client
_receive_one = Channel._receive_one


def sift() -> None:
    """From now on, whatever this process takes from Redis through kombu."""
    Channel._create_client = _sifting_client
    Channel._receive_one = _sifted_broadcast


def _sifting_client(channel: Channel, asynchronous: bool = False) -> Redis:
    """The channel's client; the one that waits for messages hands on those of ours, and of the others none."""
    client: Redis = _create_client(channel, asynchronous=asynchronous)
    if asynchronous:
        client.set_response_callback("BRPOP", lambda answer, **_: _sifted(lambda: _create_client(channel), answer))
    return client


def _sifted(client: Callable[[], Redis], answer: list[bytes] | None) -> list[bytes] | None:
    if not answer:
        return None
    queue, raw = answer
    fault = read(raw)[2] if queue.startswith(OURS) else None
    if fault is None:
        return answer
    _set_aside(client(), queue.decode(errors="replace"), raw, fault)
    return None


def _sifted_broadcast(channel: Channel, pubsub: Any) -> Any:
    """What came on a channel to all: a question that cannot be read, or that makes who answers it fail, is nobody's."""
    try:
        return _receive_one(channel, pubsub)
    except (*channel.connection_errors, Empty):
        raise
    except Exception as error:
        log.warning("a broadcast cannot be read", extra={"error": type(error).__name__})
        raise Empty from None


def _set_aside(client: Redis, queue: str, raw: bytes, fault: str) -> None:
    """Keep its first bytes, and count it. Redis may be gone meanwhile: then it is neither."""
    log.error("a message that is none of ours", extra={"queue": queue, "size": len(raw), "why": fault})
    told: dict[Any, Any] = {"queue": queue, "size": len(raw), "why": fault, "raw": raw[:FIRST]}
    try:
        client.xadd(ASIDE, told, maxlen=MOST_KEPT, approximate=False)
    except (RedisError, OSError) as error:
        log.warning("it is not set aside", extra={"error": type(error).__name__})
