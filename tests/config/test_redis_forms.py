"""Redis behind TLS and behind Sentinels, as the spill and Celery's broker use it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import KombuError

from config.celeryconfig import connection
from config.embedded.leash import Leash
from config.redis_keys import SPILL_RECORDS
from orders.intake.store import Note, Record, SpillDown
from tests.machines.cluster import Watched
from tests.machines.tls import self_signed, tls_before
from tests.waiting import until
from workers.intake.spill_store import RedisSpill

ONE, OTHER = (Record(name, name, (Note(b"note of " + name, b"of " + name),)) for name in (b"one", b"other"))


def spilling(url: str, work: Callable[[RedisSpill], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        store = RedisSpill(url)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def test_tls_is_spoken_and_verified_by_the_spill_and_the_broker(redis_url: str, tmp_path: Path) -> None:
    _, pem = self_signed(tmp_path)
    _, other = self_signed(tmp_path, "other")
    who, _, port = redis_url.removeprefix("redis://").partition("@127.0.0.1:")
    with tls_before(int(port.partition("/")[0]), pem) as secured:
        url = f"rediss://{who}@127.0.0.1:{secured}/0?ssl_ca_certs="
        spilling(f"{url}{pem}", lambda store: store.put([ONE]))
        with connection(f"{url}{pem}", max_retries=0) as kombu:
            assert kombu.default_channel.client.llen(SPILL_RECORDS) == 1
        with pytest.raises(SpillDown):
            spilling(f"{url}{other}", lambda store: store.put([OTHER]))
        with connection(f"{url}{other}", max_retries=0) as kombu, pytest.raises(KombuError):
            kombu.default_channel.client.llen(SPILL_RECORDS)


@pytest.fixture
def watched(data_dir: Path, leash: Leash) -> Iterator[Watched]:
    cluster = Watched(data_dir)
    servers = [cluster.primary, cluster.replica, cluster.sentinels[0]]
    try:
        for server in servers:
            server.start(leash)
        yield cluster
    finally:
        for server in reversed(servers):
            server.stop()


def test_under_sentinels_a_record_is_safe_only_when_a_replica_has_it(watched: Watched) -> None:
    """Also one that is known already: it may be known to the primary alone."""
    until(lambda: watched.replica.info().get("master_link_status") == "up", 30, what="the replica follows")
    assert spilling(watched.url, lambda store: store.put([ONE])).found == [[None]]
    os.kill(watched.replica.pid, signal.SIGSTOP)
    try:
        for record in (OTHER, OTHER, ONE):
            with pytest.raises(SpillDown, match="no replica has acknowledged it"):
                spilling(watched.url, lambda store, record=record: store.put([record]))  # type: ignore[misc]
    finally:
        os.kill(watched.replica.pid, signal.SIGCONT)
    known = [[b"of other"], [b"of one"]]
    assert spilling(watched.url, lambda store: store.put([OTHER, ONE])).found == known
    with connection(watched.url, max_retries=0) as kombu:
        assert kombu.default_channel.client.llen(SPILL_RECORDS) == 2
    watched.replica.kill()
    until(lambda: watched.primary.info()["connected_slaves"] == 0, 30, what="the primary has no replica")
    with pytest.raises(SpillDown, match="no replica"):
        spilling(watched.url, lambda store: store.check())
