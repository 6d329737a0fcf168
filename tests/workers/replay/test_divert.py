"""Orders diverted from one backend to another on a real journal: never at two, whatever happens at the same time."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from config.settings import Settings
from config.settings.routes_file import load_backends
from tests.bench import RECEIPT, Bench, OnBench, Scripted, always, named, outcome
from tests.cli import CommandLine, environment
from tests.recovery import BACKENDS
from workers.backend_transitions import REGISTER
from workers.delivery.deliver import WorkerResources, deliver
from workers.dispatch.scheduler import RESCUE, rescue_bounds
from workers.dispatch.take_due import DISPATCH, UNBOUNDED
from workers.erp.port import Kind, Outcome, Submission
from workers.proof.audit import audit
from workers.replay.choice import Choice
from workers.replay.divert import divert, preview

FREE = "order_id IN (SELECT order_id FROM deliveries WHERE {} ORDER BY order_id FOR UPDATE SKIP LOCKED)"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "backends.toml").write_text(BACKENDS)
    return settings.replace(backends=tmp_path / "backends.toml")


async def moved(bench: Bench, choice: Choice, to: str = "other", **more: bool) -> list[UUID]:
    return await divert(bench.by("ops"), choice, to, "the ERP is out", **more)


async def backends(bench: Bench) -> dict[UUID, tuple[str, str, bool]]:
    found = await bench.run(text("SELECT order_id, backend, state, unsure FROM deliveries"))
    return {row[0]: (row[1], row[2], row[3]) for row in found}


async def dispatch(bench: Bench, backend: str) -> list[UUID]:
    """As `Bench.dispatch`, for any backend."""
    async with bench.worker.connect() as connection:
        await connection.execute(REGISTER, {"backend": backend, "window": 50})
        values = {
            "backend": backend,
            "patience": bench.settings.delivery.claim_patience,
            "share": bench.settings.replay.live_share,
            "allowance": UNBOUNDED,
        }
        return [row[0] for row in await connection.execute(DISPATCH, values)]


def resources(bench: Bench, backend: str, erp: Any) -> WorkerResources:
    return WorkerResources(bench.worker, erp, load_backends(bench.settings)[backend], "test")


def test_what_is_chosen_moves_and_is_due_at_once_and_written_down(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        urgent = await bench.accept(3, priority="urgent")
        normal = await bench.accept(2)
        await bench.sql("UPDATE deliveries SET attempts = 3, failed_at = now(), due_at = now() + interval '1 hour'")
        shown = await preview(bench.by("ops"), Choice(priority="urgent"), "other")
        assert (shown["orders"], shown["left_unknown"], shown["left_on_their_way"]) == (3, 0, 0)
        assert [row["id"] for row in shown["sample"]] == urgent
        assert sorted(await moved(bench, Choice(priority="urgent"))) == urgent
        assert {i: where[0] for i, where in (await backends(bench)).items()} == {
            **dict.fromkeys(urgent, "other"),
            **dict.fromkeys(normal, "erp"),
        }
        assert sorted(await dispatch(bench, "other")) == urgent
        (row,) = await bench.run(text("SELECT act, reason, detail FROM operations"))
        assert (row.act, row.reason, row.detail["to"]) == ("divert", "the ERP is out", "other")
        assert (sorted(row.detail["ids"]["erp"]), row.detail["unknown"]) == ([str(i) for i in urgent], [])
        fresh = await bench.run(text("SELECT count(*) FROM deliveries WHERE attempts = 0 AND failed_at IS NULL"))
        assert fresh[0][0] == 3, "what failed at the one is not held against it at the other"

    on_bench(work)


def test_what_may_be_with_its_backend_stays_until_an_operator_names_it(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (lost,) = await bench.accept()
        await deliver(bench.resources(Scripted(always(Kind.UNKNOWN))), await bench.dispatch())
        (out,) = await bench.accept()
        await bench.dispatch()
        (free,) = await bench.accept()
        shown = await preview(bench.by("ops"), Choice(), "other")
        assert (shown["orders"], shown["left_unknown"], shown["left_on_their_way"]) == (1, 1, 1)
        assert await moved(bench, Choice()) == [free]
        assert await moved(bench, Choice(ids=(lost, out))) == []
        with pytest.raises(ValueError, match="by its id"):
            await moved(bench, Choice(), although_unknown=True)
        assert await moved(bench, Choice(ids=(lost, out)), although_unknown=True) == [lost]
        asked = Scripted(always(Kind.ACCEPTED))
        await bench.now_due()
        await deliver(resources(bench, "other", asked), await dispatch(bench, "other"))
        assert {lost, free} == {*asked.sent}
        (*_, row) = await bench.run(text("SELECT detail FROM operations ORDER BY id"))
        assert row.detail["unknown"] == [str(lost)], "the record says which were unknown"

    on_bench(work)


def test_the_first_is_asked_when_what_was_unknown_there_comes_back(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (lost,) = await bench.accept()
        await deliver(bench.resources(Scripted(always(Kind.UNKNOWN))), await bench.dispatch())
        await moved(bench, Choice(ids=(lost,)), although_unknown=True)
        refusing = Scripted(always(Kind.TRANSIENT))
        await deliver(resources(bench, "other", refusing), await dispatch(bench, "other"))
        assert (await backends(bench))[lost] == ("other", "accepted", False), "the other one surely has it not"
        assert await moved(bench, Choice(ids=(lost,)), to="erp") == [lost]
        first = Scripted(always(Kind.ACCEPTED), found=Kind.ACCEPTED)
        first.receipt = await bench.receipt(lost)
        await bench.sql("UPDATE backends SET circuit = 'closed'")
        await deliver(bench.resources(first), await bench.dispatch())
        assert (first.asked, first.sent) == ([lost], []), "it had it, and is not sent it again"
        assert (await backends(bench))[lost][:2] == ("erp", "delivered")

    on_bench(work)


class Holding:
    """An ERP that keeps what it takes; some of it fails, certainly or not, and it can be asked."""

    def __init__(self, capabilities: Any, chance: random.Random) -> None:
        self.capabilities, self._chance = capabilities, chance
        self.has: Counter[UUID] = Counter()

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        await asyncio.sleep(self._chance.uniform(0, 0.02))
        answers = {}
        for order in orders:
            kind = self._chance.choice([Kind.ACCEPTED, Kind.ACCEPTED, Kind.TRANSIENT, Kind.UNKNOWN])
            if kind is Kind.ACCEPTED or (kind is Kind.UNKNOWN and self._chance.random() < 0.5):
                self.has[order.id] += 1
            answers[order.id] = outcome(kind, named(RECEIPT, order.id))
        return answers

    async def find(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        return {i: outcome(Kind.PENDING if self.has[i] else Kind.ABSENT) for i in ids}

    async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        return await self.find(ids, budget=budget)

    async def probe(self) -> bool:
        return True

    async def close(self) -> None:
        pass


def test_diverts_that_race_with_everything_leave_each_order_at_one_backend(on_bench: OnBench) -> None:
    """Dispatch, claim, settling, rescue and diverts to and fro at once; messages come twice and late, and to both."""

    async def work(bench: Bench) -> None:
        chance = random.Random(4)
        ids = await bench.accept(60)
        erps = {name: Holding(Scripted(always(Kind.ACCEPTED)).capabilities, chance) for name in ("erp", "other")}
        messages: list[list[UUID]] = []

        async def out(backend: str) -> None:
            if found := await dispatch(bench, backend):
                messages.append(found)

        async def take(backend: str) -> None:
            wanted = chance.choice(messages) if messages else ids
            await deliver(resources(bench, backend, erps[backend]), wanted)

        async def move(to: str) -> None:
            await moved(bench, Choice(), to=to)

        async def rescue() -> None:
            await bench.sql(soon)
            await bench.sql("UPDATE backends SET circuit = 'closed', changed_at = now()")
            for name in erps:
                values = {**rescue_bounds(bench.settings), "max_attempts": 1000, "grace": 0.0}
                values |= {"backend": name, "dead": [], "noticed": None, "ran_out": True}
                async with bench.worker.connect() as connection:
                    await connection.execute(RESCUE, values)

        soon = "UPDATE deliveries SET due_at = now() WHERE " + FREE.format("state = 'accepted'")
        late = FREE.format("state = 'dispatched' AND random() < 0.3")
        hurry = f"UPDATE deliveries SET lease_until = now() WHERE {late}"
        for _ in range(40):
            acts: list[Awaitable[None]] = [out("erp"), out("other"), take("erp"), take("other"), take("erp")]
            acts += [take("other"), move("other"), move("erp"), rescue(), bench.sql(hurry)]
            chance.shuffle(acts)
            await asyncio.gather(*acts)
        holders = {i: [name for name, erp in erps.items() if erp.has[i]] for i in ids}
        assert {i: names for i, names in holders.items() if len(names) > 1} == {}, "no order is at two backends"
        assert all(erp.has[i] <= 1 for erp in erps.values() for i in ids), "and at none twice"
        taken = [i for i, names in holders.items() if names]
        assert len(taken) > 50, "too little was delivered to say anything"
        assert {names[0] for names in holders.values() if names} == {*erps}, "both had their share"
        assert (await audit(bench.by("audit"))).balanced

    on_bench(work)


def test_the_operator_sees_what_would_move_and_is_asked(
    settings: Settings, capsys: pytest.CaptureFixture[str], on_bench: OnBench
) -> None:
    relais = CommandLine(capsys, environment(settings))
    ids: list[UUID] = on_bench(lambda bench: bench.accept(3, priority="urgent"))
    words = ("divert", "--to", "other", "--because", "the ERP is out")
    assert relais("divert", "--to", "other").code == 2
    unknown = relais("divert", "--to", "nowhere", "--because", "a test", "--yes")
    assert (unknown.code, "there are erp, other" in unknown.err) == (1, True)
    dry = relais(*words, "--dry-run")
    assert (dry.code, "left unknown" in dry.out, str(ids[0]) in dry.out) == (0, True, True)
    assert relais(*words).code == 2, "nobody can be asked"
    assert relais(*words, "--although-unknown", "--yes").code == 2
    on_bench(lambda bench: bench.sql(f"UPDATE deliveries SET unsure = true WHERE order_id = '{ids[0]}'"))
    refused = relais(*words, "--order", str(ids[0]), "--order", str(ids[1]), "--yes")
    assert (refused.code, "only 1 of 2" in refused.err) == (1, True)
    named = relais(*words, "--order", str(ids[0]), "--although-unknown", "--yes", "--json")
    assert (named.code, json.loads(named.out)["diverted"]) == (0, 1)
    done = relais(*words, "--yes", "--json", "--from", "erp", "--priority", "urgent", "--pharmacy", "990000002")
    assert (done.code, json.loads(done.out)["diverted"]) == (0, 2)
    again = relais(*words, "--yes")
    assert (again.code, "0 orders diverted" in again.out) == (0, True)
