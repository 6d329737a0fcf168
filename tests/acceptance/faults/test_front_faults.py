"""Either store may go away under load: whatever a client was told is safe is delivered, exactly once."""

import asyncio
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from config.settings import Settings
from tests.acceptance.apart import Apart, FrontEnd, apart, load
from tests.cli import CommandLine
from tests.machines.servers import frozen
from tests.waiting import until
from workers.console.i18n import languages
from workers.console.live.poller import Poller
from workers.console.overview.headlines import told

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

OUTAGES = [3.0, pytest.param(20.0, marks=pytest.mark.slow)]  # seconds
NOISE = 0.1  # seconds that this machine may be busy with something else


@pytest.fixture
def parts(data_dir: Path, leash: Leash) -> Iterator[Apart]:
    with apart(data_dir, leash) as running:
        yield running


def ready(parts: Apart) -> tuple[int, str]:
    """The status of /readyz, and the mode that it tells."""
    try:
        with urllib.request.urlopen(f"{parts.url}/readyz", timeout=10) as answer:
            return answer.status, json.load(answer)["mode"]
    except urllib.error.HTTPError as error:
        assert int(error.headers["Retry-After"]) > 0
        return error.code, json.load(error)["mode"]


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


@pytest.mark.parametrize("outage", OUTAGES)
def test_postgresql_away_under_load(parts: Apart, capsys: pytest.CaptureFixture[str], outage: float) -> None:
    relais = CommandLine(capsys, parts.env)
    assert ready(parts) == (200, "journal")
    with load(parts) as front:
        parts.postgres.kill()
        gone = time.monotonic()
        until(lambda: front.kept["spill"] > 100, 15, what="orders go to the spill")
        assert ready(parts) == (200, "spill")
        found = json.loads(relais("status", "--json").out)
        assert (found["api"]["mode"], found["queue"]["spilled"] > 0, bool(found["journal"])) == ("spill", True, True)
        assert "orders go to the spill" in relais("status").out
        wait(max(0.0, gone + outage - time.monotonic()))
        parts.postgres.start()
        until(lambda: ready(parts) == (200, "journal"), 30, what="the journal is used again")
        before = front.kept["journal"]
        until(lambda: front.kept["journal"] > before + 50, 30, what="orders go to the journal again")
    assert front.refused.total() == 0, "the spill took every order"
    parts.delivered_once(front.told)
    found = json.loads(relais("status", "--json").out)
    assert (found["queue"]["spilled"], set(found["asides"]) <= {"repeated"}) == (0, True)


def test_a_frozen_postgresql_is_told_as_it_is(parts: Apart, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody waits for it, nobody says no for it, and where orders are kept meanwhile is told everywhere."""
    relais = CommandLine(capsys, parts.env)
    with load(parts) as front, headline(parts) as console:
        until(lambda: front.kept["journal"] > 50, 30, what="orders go to the journal")
        until(lambda: console[-1:] == ["All is well: orders flow to every backend"], 30, what="all is well")
        with frozen(parts.postgres.pid):
            began = datetime.now(UTC)
            slowest, answer = 0.0, ready(parts)
            while answer != (200, "spill"):
                assert answer == (200, "journal"), "an intake that takes orders is ready"
                assert datetime.now(UTC) - began < timedelta(seconds=15)
                asked = time.monotonic()
                answer = ready(parts)
                slowest = max(slowest, time.monotonic() - asked)
            assert slowest < 0.2 + NOISE
            until(lambda: front.kept["spill"] > 50, 15, what="orders go to the spill")
            asked = time.monotonic()
            shown = relais("status", "--check")
            assert time.monotonic() - asked < 5
            assert shown.code == 1, "the journal is out of reach"
            assert f"out of reach: it does not answer, not since {began:%Y-%m-%d}" in shown.out
            assert "is ready: PostgreSQL is away, orders go to the spill on Redis' disk, since" in shown.out
            plain = relais("status", "--json")
            found = json.loads(plain.out)
            assert (plain.code, found["api"]["mode"], found["api"]["ready"], found["leader"]) == (
                0,
                "spill",
                True,
                None,
            )
            last, since = (datetime.fromisoformat(found["api"][name]) for name in ("journal_answered_at", "since"))
            assert last < began + timedelta(seconds=0.5) < since
            told_so = "PostgreSQL has not answered since "
            until(lambda: console[-1].startswith(told_so), 15, what="the console says so")
            day, zone, _ = console[-1].removeprefix(told_so).partition(" UTC")
            silent = datetime.strptime(f"{began:%Y} {day}{zone}", "%Y %d %b %H:%M:%S %Z").replace(tzinfo=UTC)
            assert began - timedelta(seconds=4) <= silent <= began + timedelta(seconds=2)
            kept = "orders are taken in and wait in Redis, nothing is forwarded"
            until(lambda: console[-1].endswith(kept), 15, what="and where orders are kept")
            assert shown.out.startswith(told_so) and kept in " ".join(shown.out.split())
            assert not [each for each in console if "no order comes in" in each or "takes no order" in each]
        until(lambda: ready(parts) == (200, "journal"), 30, what="the journal is used again")
    assert front.refused.total() == 0
    parts.delivered_once(front.told)


def fails_where_nobody_takes_orders(relais: CommandLine) -> None:
    """`relais status`, once the intake is gone."""
    gone = relais("status")
    assert (gone.code, "takes no order: " in gone.out) == (1, True)
    with frozen_listener() as url:
        doubtful = relais("status", RELAIS_API_URL=url)
    assert (doubtful.code, "is not known to take orders: no answer within 2 s" in doubtful.out) == (0, True)


@contextmanager
def headline(parts: Apart) -> Iterator[list[str]]:
    """The first sentence of a console's overview, one after the other."""
    own = {name: parts.env[f"RELAIS_{name.upper()}"] for name in ("database_url", "redis_url", "data_dir")}
    settings = Settings(_env_file=None, **own, api_port=int(parts.url.rpartition(":")[2]))
    seen, stopped = [""], threading.Event()

    async def look() -> None:
        poller = Poller(settings)
        async with poller.running():
            while not stopped.is_set():
                await poller.after((await poller.fresh()).beat, 0.5)
                seen.append(told(poller.seen, languages("UTC")["en"])[0].text)

    looking = threading.Thread(target=asyncio.run, args=[look()])
    looking.start()
    try:
        yield seen
    finally:
        stopped.set()
        looking.join()


@contextmanager
def frozen_listener() -> Iterator[str]:
    """Where the kernel lets everybody in and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("outage", OUTAGES)
def test_redis_away_under_load_is_not_noticed(parts: Apart, outage: float) -> None:
    with load(parts) as front:
        assert any(unnoticed(parts, front, outage) for _ in range(3)), "it is noticed"
    assert (set(front.kept), front.refused.total()) == ({"journal"}, 0)
    parts.delivered_once(front.told)


def unnoticed(parts: Apart, front: FrontEnd, outage: float) -> bool:
    """Whether the p99 of answers while Redis is away is at most twice that before; a machine may hold its breath."""
    began = time.monotonic()
    wait(outage / 2)
    parts.valkey.kill()
    gone = time.monotonic()
    wait(outage)
    back = time.monotonic()
    parts.valkey.start()
    wait(1)
    return front.p99(gone, back) <= 2 * front.p99(began, gone) + NOISE


@pytest.mark.slow
def test_both_away_in_turn_and_together(parts: Apart) -> None:
    with load(parts) as front:
        parts.postgres.kill()
        until(lambda: front.kept["spill"] > 100, 15, what="orders go to the spill")
        wait(5)
        parts.valkey.kill()
        until(lambda: front.refused[503] > 20, 15, what="orders are refused at once")
        assert ready(parts) == (503, "refusing")
        wait(3)
        parts.valkey.start()
        spilled = front.kept["spill"]
        until(lambda: front.kept["spill"] > spilled + 50, 30, what="orders go to the spill again")
        parts.postgres.start()
        until(lambda: ready(parts) == (200, "journal"), 30, what="the journal is used again")
        parts.valkey.kill()
        kept = front.kept["journal"]
        until(lambda: front.kept["journal"] > kept + 50, 30, what="orders go to the journal without Redis")
        parts.valkey.start()
    parts.delivered_once(front.told)


def test_the_intake_killed_in_the_middle_of_requests_while_the_journal_is_away(
    parts: Apart, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was spilled and not answered is asked again of another intake, which knows nobody: the keys are gone."""
    with load(parts) as front:
        parts.postgres.kill()
        until(lambda: front.kept["spill"] > 50, 15, what="orders go to the spill")
        parts.kill_api()
        parts.postgres.start()
        parts.api()
        before = front.kept["journal"]
        until(lambda: front.kept["journal"] > before + 50, 30, what="orders go to the journal")
        parts.kill_api()
        parts.api()
        before = front.kept["journal"]
        until(lambda: front.kept["journal"] > before + 50, 30, what="orders go to the journal")
    parts.delivered_once(front.told)
    parts.kill_api()
    fails_where_nobody_takes_orders(CommandLine(capsys, parts.env))
