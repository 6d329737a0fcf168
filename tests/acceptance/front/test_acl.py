"""A whole Relais under the ACL and as a role that owns nothing: nobody asks for what it is not given."""

from __future__ import annotations

import asyncio
import base64
import signal
import urllib.request

import asyncpg
import psutil
import pytest
import redis

from config.embedded.leash import Leash
from config.embedded.marks import Mark, birth
from config.journal_roles import PROCESSES, role_of
from tests.acceptance.running import Relais, up
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(300)]

PAGES = (
    "/",
    "/workers",
    "/tasks",
    "/broker",
    "/api/workers?refresh=1",
    "/api/tasks",
    "/api/queues/length",
    "/metrics",
)


def test_no_part_is_refused_anything_in_a_day_with_an_outage_of_the_journal(leash: Leash) -> None:
    with up(leash, RELAIS_CLIENT_RATE="5000") as relais, admin(relais) as client:
        client.execute_command("ACL", "LOG", "RESET")
        second = relais.another_worker(lambda pid: leash.hold(Mark("worker", pid, birth(pid), grace=20)))
        ids = relais.submit(400)
        look(relais)
        postmaster = psutil.Process(relais.pid("postgres"))
        frozen = [postmaster, *postmaster.children()]
        for process in frozen:
            process.suspend()
        try:
            ids += relais.submit(20)
            assert client.llen("relais.spill") > 0, "they were spilled"
        finally:
            for process in reversed(frozen):
                process.resume()
        until(lambda: client.llen("relais.spill") == 0, 60, what="the spill is empty")
        relais.delivered_once(ids)
        look(relais)
        second.send_signal(signal.SIGTERM)
        second.wait(60)
        assert client.execute_command("ACL", "LOG") == []
        with urllib.request.urlopen(f"{relais.endpoints['exporter_url']}/metrics", timeout=30) as answer:
            assert b"\nrelais_backlog_orders" in answer.read(), "it reads the journal"
        assert asyncio.run(users(relais)) == {role_of("relais", each) for each in PROCESSES if each != "audit"}


def admin(relais: Relais) -> redis.Redis:
    return redis.Redis.from_url(relais.endpoints["redis_urls"]["admin"])


def look(relais: Relais) -> None:
    """Every page of Flower that asks workers or queues something."""
    offered = relais.endpoints
    login = base64.b64encode(f"{offered['flower_user']}:{offered['flower_password']}".encode()).decode()
    for page in PAGES:
        request = urllib.request.Request(offered["flower_url"] + page, headers={"Authorization": f"Basic {login}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200


async def users(relais: Relais) -> set[str]:
    """Who is connected to the journal, but for this question."""
    connection = await asyncpg.connect(relais.endpoints["owner_url"])
    try:
        query = "SELECT usename FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        return {row[0] for row in await connection.fetch(query)}
    finally:
        await connection.close()
