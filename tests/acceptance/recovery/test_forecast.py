"""A real drain, foretold early: a worker empties a backlog into a simulator that answers slowly."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from orders.intake.entries import entry, write
from orders.journal import connect
from orders.model import parse
from orders.queries.orders import first_id
from tests.cli import CommandLine, command, environment, running
from tests.constants.turned import turned
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

MEDICINE = "3400937318044"
CALLS, LATENCY = 8, 0.1  # in flight at once, in each of two processes; seconds of each: at most 160 orders a second


def hold_back(settings: Settings, count: int) -> None:
    """A backlog as an outage leaves it, from an hour ago on."""

    async def run() -> None:
        engine, began = connect(settings.need("database_url")), datetime.now(UTC) - timedelta(hours=1)
        async with engine.connect() as connection:
            for first in range(0, count, 500):
                group = []
                for number in range(first, min(count, first + 500)):
                    body = {
                        "pharmacy": f"P{number % 100}",
                        "reference": f"R{number}",
                        "lines": [{"product": MEDICINE, "quantity": 1}],
                    }
                    came = began + timedelta(seconds=3000 * number / count)
                    order_id = UUID(int=first_id(came).int | 7 << 76 | 8 << 60 | number)
                    group.append(
                        entry(parse(json.dumps(body).encode()), "t", settings.erp.backend)._replace(
                            id=order_id, received_at=came
                        )
                    )
                await write(connection, group)
        await engine.dispose()

    asyncio.run(run())


@pytest.fixture
def relais(settings: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(
        capsys,
        environment(settings)
        | {
            "RELAIS_WORKER_CONCURRENCY": "2",
            "RELAIS_ERP_CONCURRENCY": str(CALLS),
            **turned(MOST_IDS=50),
        },
    )


@pytest.fixture
def erp(leash: Leash, relais: CommandLine) -> Iterator[None]:
    port = choose()
    relais.env["RELAIS_ERP_URL"] = f"http://127.0.0.1:{port}"
    sim = command("erp-sim", "--port", str(port), "--latency-ms", str(1000 * LATENCY))
    with running(leash, "erp-sim", sim, relais.env, ready="control"):
        yield


def foretold(relais: CommandLine) -> dict[str, Any]:
    """The forecast; without a rate where no worker has come to the backend yet."""
    found: dict[str, Any] = json.loads(relais("forecast", "--json").out or '{"rate": null}')
    return found


def seconds(found: dict[str, Any], name: str) -> float:
    return (datetime.fromisoformat(found[name]) - datetime.fromisoformat(found["now"])).total_seconds()


@pytest.mark.slow
@pytest.mark.parametrize("orders", [1600, 5000])
def test_a_drain_ends_about_when_it_was_foretold_early(
    settings: Settings, leash: Leash, relais: CommandLine, erp: None, orders: int
) -> None:
    hold_back(settings, orders)
    with ExitStack() as stack:
        stack.enter_context(running(leash, "worker", command("worker"), relais.env))
        early = until(lambda: measured(foretold(relais)), 60, 0.2, "the pace was measured")
        assert early["backlog"] > orders / 5
        assert early["rate"]["p95"] < 3 * 2 * CALLS / LATENCY
        status = json.loads(relais("status", "--json").out)["forecast"]
        assert [one["backend"] for one in status] == ["erp"]
        assert "will be empty at" in relais("status").out
        assert relais("drain", "--timeout", "150s").code == 0
    took = (datetime.now(UTC) - datetime.fromisoformat(early["now"])).total_seconds()
    assert seconds(early, "p5") / 3 < took < 3 * seconds(early, "p95") + 5, (early, took)
    done = foretold(relais)
    assert (done["backlog"], done["sentence"]) == (0, "The backlog of erp is empty.")


def measured(found: dict[str, Any]) -> dict[str, Any] | None:
    """The forecast, once it rests on a few samples of this drain."""
    seen = re.match("([0-9]+) busy samples", found["rate"]["basis"]) if found["rate"] else None
    return found if seen and int(seen[1]) >= 3 else None
