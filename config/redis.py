"""Everybody's way to Redis: clients, and Celery's broker, for whatever RELAIS_REDIS_URL says (`config.redis_url`).

Where Sentinels watch, each new connection asks them which server is the primary now; one that has become a replica is
let go. Nobody tries twice here: whoever asks knows how long it can wait, and what it means to get no answer.
"""

from __future__ import annotations

import config.alone.redis  # noqa: F401 # before redis-py itself

# isort: split

from typing import Any, Final, cast
from urllib.parse import quote

from redis.asyncio import Redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError as RedisError
from redis.retry import Retry

from config.redis_url import RedisAddress, redis_address

ASKING: Final = 0.5  # seconds for a Sentinel; one whose machine is gone must not use up the patience of who asks


def open_redis(url: str, timeout: float) -> Redis:
    """A client that waits at most `timeout` seconds to connect and for each answer; `close_redis` ends it."""
    address, retry = redis_address(url), AsyncRetry(NoBackoff(), 0)
    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": retry}
    options |= address.tls or {}
    if address.service is None:
        scheme = "redis" if address.tls is None else "rediss"
        return Redis.from_url(_url(scheme, *address.hosts[0], address), **options)
    asking = {**_sentinel(address), "retry": retry}
    options |= {"db": address.database, "username": address.username, "password": address.password}
    options |= {} if address.tls is None else {"ssl": True}
    watch = Sentinel(address.hosts, sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]
    return cast(Redis, watch.master_for(address.service))


async def close_redis(client: Redis) -> None:
    """Let go of connections, those to Sentinels too."""
    watch = getattr(client.connection_pool, "sentinel_manager", None)
    await client.aclose()
    if watch is not None:
        await watch.aclose()


def broker(url: str) -> dict[str, Any]:
    """Celery's `broker_url` and `broker_use_ssl`, and what belongs into `broker_transport_options`."""
    address = redis_address(url)
    scheme = "redis" if address.service is None else "sentinel"
    options: dict[str, Any] = {}
    if address.service is not None:
        asking = {**_sentinel(address), "retry": Retry(NoBackoff(), 0)}
        options = {"master_name": address.service, "sentinel_kwargs": asking}
    return {
        "broker_url": ";".join(_url(scheme, host, port, address) for host, port in address.hosts),
        "broker_use_ssl": address.tls,
        "broker_transport_options": options,
    }


def _url(scheme: str, host: str, port: int, address: RedisAddress) -> str:
    user, password = quote(address.username or "", safe=""), quote(address.password or "", safe="")
    who = f"{user}:{password}@" if user or password else ""
    return f"{scheme}://{who}{f'[{host}]' if ':' in host else host}:{port}/{address.database}"


def _sentinel(address: RedisAddress) -> dict[str, Any]:
    return {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "socket_timeout": ASKING,
        "socket_connect_timeout": ASKING,
        **({} if address.tls is None else {"ssl": True, **address.tls}),
    }
