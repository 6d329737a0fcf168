"""Every figure shown or exported is what naive SQL counts in the same transaction, whatever goes on meanwhile."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from orders.api.metrics import Families
from orders.errors import TooLate
from orders.intake.cancel import cancel
from orders.journal import snapshot
from orders.queries import order_pages
from orders.queries import orders as order_queries
from orders.schema.tally_triggers import SUM_UP
from orders.states import State
from tests.bench import Bench, OnBench, Scripted
from tests.workers.monitoring.truth import Samples, Truth, at
from workers.delivery import evidence
from workers.delivery.deliver import deliver
from workers.delivery.poll import poll
from workers.erp.port import Evidence, Kind
from workers.monitoring.families import journal_families
from workers.monitoring.snapshot import read_figures
from workers.monitoring.status import told
from workers.operations import record
from workers.replay.choice import Choice
from workers.replay.redrive import discard, replay

KINDS = [
    *[Kind.ACCEPTED] * 12,
    *[Kind.REFUSED] * 4,
    Kind.PENDING,
    Kind.TRANSIENT,
    Kind.UNKNOWN,
    Kind.THROTTLED,
    Kind.DUPLICATE,
]


class Traffic:
    """All that can happen to orders, at once and without end."""

    def __init__(self, bench: Bench, dice: random.Random) -> None:
        self.bench, self._dice = bench, dice
        self.rounds = 0

    async def take(self) -> None:
        """Intake, no faster than the rest."""
        if await order_queries.backlog_size(self.bench.by("ops")) > 200:
            return
        fields = {"priority": self._dice.choice(["urgent", "normal"])}
        if self._dice.random() < 0.2:
            fields["valid_until"] = "2026-01-05T12:00:00Z"  # long over: it dies unsent
        await self.bench.accept(self._dice.randint(1, 30), **fields)

    async def forward(self) -> None:
        """Dispatcher and worker."""
        await self.bench.sql(
            "UPDATE backends SET circuit = 'closed', failures = 0, ack_within = 0.001, \"window\" = 40"
        )
        ids = await self.bench.dispatch(40)
        await deliver(self.bench.resources(self._erp()), ids[: len(ids) - self._dice.randint(0, 2)])
        waiting = await self.bench.run(text("SELECT order_id FROM deliveries WHERE state = 'submitted'"))
        await poll(self.bench.resources(self._erp()), [row[0] for row in waiting])

    async def keep_house(self) -> None:
        """Leases that ran out, retries that are due, tallies summed up."""
        await self.bench.sql(
            "UPDATE deliveries SET lease_until = now() - interval '1 minute' WHERE state = 'dispatched' AND order_id "
            "IN (SELECT order_id FROM deliveries WHERE state = 'dispatched' LIMIT 1 FOR UPDATE SKIP LOCKED)"
        )
        await self.bench.rescue()
        await self.bench.now_due()
        await self.bench.run(SUM_UP)

    async def operate(self) -> None:
        """Operators and pharmacies change their minds, and evidence comes in."""
        dead = [row["id"] for row in await order_queries.dead(self.bench.by("ops"), limit=12)]
        self._dice.shuffle(dead)
        await discard(self.bench.by("ops"), Choice(State.DEAD, ids=tuple(dead[:1])), "no use")
        await replay(self.bench.by("ops"), Choice(State.DEAD, ids=tuple(dead[1:3])), "a test")
        page = [row.id for row in await order_pages.page(self.bench.by("ops"))]
        for order_id in (*dead[3:4], *self._dice.sample(page, min(2, len(page)))):
            try:
                await cancel(self.bench.by("api"), order_id, "front", "r")
            except TooLate:
                continue
        await self.bench.sql(
            "UPDATE deliveries SET state = 'accepted', settled_at = NULL, unsure = true WHERE order_id IN "
            "(SELECT order_id FROM deliveries WHERE state = 'delivered' ORDER BY order_id LIMIT 1)"
        )
        async with self.bench.owner.connect() as connection:
            kind = self._dice.choice([Evidence.BAD_SIGNATURE, Evidence.REFUSALS])
            await evidence.write(connection, "erp", uuid4(), [evidence.EvidenceFound(None, kind, "odd")])
            await record(connection, "audit", None, {"sound": self._dice.random() < 0.5, "faults": 0, "first": []})

    def _erp(self) -> Scripted:
        kinds = {}

        def answer(order_id: UUID) -> Kind:
            return kinds.setdefault(order_id, self._dice.choice(KINDS))

        return Scripted(answer, found=self._dice.choice([Kind.ABSENT, Kind.UNKNOWN]))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[list[asyncio.Task[None]]]:
        """Each of them over and over, beside the block, as tasks that do not end. Raises what they raise."""

        async def again(work: Callable[[], Awaitable[None]]) -> None:
            while True:
                await work()
                self.rounds += 1
                await asyncio.sleep(0)

        works = [asyncio.create_task(again(work)) for work in (self.take, self.forward, self.keep_house, self.operate)]
        try:
            yield works
        finally:
            failed = [each.exception() for each in works if each.done()]
            for each in works:
                each.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            assert failed == []


def exported(families: Sequence[Metric]) -> Samples:
    registry = CollectorRegistry()
    registry.register(Families(list(families)))
    return {
        at(sample.name, **sample.labels): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def assert_same(said: dict[Any, Any], true: dict[Any, Any]) -> None:
    wrong = {key: (said.get(key), true.get(key)) for key in {*said, *true} if not _same(said.get(key), true.get(key))}
    assert not wrong, f"said, true: {wrong}"


def _same(said: Any, true: Any) -> bool:
    if isinstance(said, float) and isinstance(true, float | int):
        return said == pytest.approx(true, abs=2e-6, rel=1e-9)
    return bool(said == true)


async def compare(bench: Bench) -> int:
    """Read cleverly and naively in one transaction; how many figures there were."""
    async with snapshot(bench.owner) as connection:
        truth = Truth(connection)
        figures = await read_figures(connection, bench.settings)
        backends = [bench.settings.erp.backend]
        said, true = exported(list(journal_families(figures, backends))), await truth.samples(backends)
        assert_same(said, true)
        shown, counted = told(figures, backends), await truth.status()
    flow = shown["flow"]
    report = {
        **{name: shown[name] for name in ("orders", "backlog", "oldest", "oldest_by_priority", "fates", "asides")},
        "unsealed": shown["seals"]["unsealed"],
        "flow": (flow.accepted, flow.delivered, flow.failed),
        "evidence": {row["name"]: row["evidence"] for row in shown["backends"] if row["evidence"]},
        "notices": shown["webhooks"]["waiting"],
        "webhooks": sum(shown["webhooks"][name] for name in ("fit", "failing", "disabled")),
    }
    assert_same(report, counted)
    for row in shown["backends"]:
        assert row["out"] == said[at("relais_backend_out_orders", backend=row["name"])]
    return len(said) + len(report)


@pytest.mark.parametrize("times", [20, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_every_figure_is_what_sql_counts_in_the_same_transaction_under_load(on_bench: OnBench, times: int) -> None:
    async def work(bench: Bench) -> None:
        assert await compare(bench) > 50, "an empty journal has its figures too"
        await bench.sql("INSERT INTO webhooks (client, url, secrets) VALUES ('t', 'http://127.0.0.1:1/', '{whsec_}')")
        await bench.dispatch()
        traffic = Traffic(bench, random.Random(times))
        async with traffic.running() as works:
            for number in itertools.count(1):
                await compare(bench)
                if (number >= times and traffic.rounds >= 20) or any(work.done() for work in works):
                    break
        assert await compare(bench) > 100
        await bench.sql("DELETE FROM tallies")
        with pytest.raises(AssertionError, match="said, true"):
            await compare(bench)
        for statement in import_module("orders.migrations.versions.0008_tallies").FILL:
            await bench.sql(statement)
        assert await compare(bench) > 100, "a journal that is brought up to date begins with all that was before"
        async with snapshot(bench.owner) as connection:
            met = (await Truth(connection).status())["fates"]
        assert all(met.values()), met

    on_bench(work)
