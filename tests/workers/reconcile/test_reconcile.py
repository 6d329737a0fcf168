"""Reconciling a real journal with a simulator over loopback: what is told of each order, and what is sent again."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from config.settings import Settings
from orders.errors import TooLate
from orders.intake.cancel import cancel
from orders.journal import transactional
from orders.queries import orders as order_queries
from orders.schema.tables.reconcile import Difference, ReconcileStage
from tests.bench import MEDICINE, Bench
from tests.machines.roles import Logins, logged_in_to
from tests.waiting import auntil
from workers.delivery import deliver as delivery
from workers.delivery.claim import Claim, claim
from workers.delivery.deliver import deliver
from workers.dispatch.scheduler import EXPIRE
from workers.erp.attempts import counted
from workers.erp.http import HttpErp
from workers.erp.port import LINES, Capabilities, ErpReceipt, ErpReceiptLine, Kind, Listing, Outcome
from workers.erp.sim import Dial, Simulator, read_effects
from workers.proof.audit import audit
from workers.reconcile import compare as reconciling
from workers.reconcile import foreign, patience, settling
from workers.reconcile.compare import AcknowledgedOrder, Overtaken, difference, reconcile
from workers.reconcile.foreign import CANNOT, WHOLE
from workers.reconcile.patience import OutOfReach, Patience
from workers.reconcile.resend import preview, resend
from workers.reconcile.runs import Reconciliation, begin, findings, newest, read
from workers.reconcile.settling import Unsettled

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Site(Bench):
    """A bench with a simulator that has everything, and the connector to it."""

    def __init__(self, settings: Settings, logins: Logins, sim: Simulator, file: Path) -> None:
        super().__init__(logins["ops"], settings, logins)
        self.sim, self.file, self.erp = sim, file, HttpErp(settings)

    async def delivered(self, count: int, **fields: object) -> list[UUID]:
        ids = await self.accept(count, **fields)
        await self.deliver_all()
        return ids

    async def deliver_all(self) -> None:
        while due := await self.dispatch():
            await self.sql('UPDATE backends SET "window" = 2000')
            assert (await deliver(self.resources(self.erp), due)).claimed == len(due)  # type: ignore[arg-type]

    async def reconcile(
        self, erp: Any = None, run: Reconciliation | None = None, silence: float = 0.0
    ) -> Reconciliation:
        run = run or await begin(self.engine, "erp", LONG_AGO, None, "a test")
        return await reconcile(self.engine, erp or self.erp, run, Patience(silence, 20.0), lambda *_: None)

    async def found(self, run: Reconciliation, kind: Difference) -> set[UUID]:
        return {row["id"] for row in await findings(self.engine, run.id, 100_000) if row["kind"] == kind}

    async def resend(self, run: Reconciliation) -> int:
        return await resend(self.engine, run, "restored from a backup", lambda done: None)

    def forget(self, last: float) -> set[UUID]:
        return {UUID(order_id) for order_id in self.sim.conduct.book.forget(last=last)}

    def effects(self) -> Counter[UUID]:
        return Counter(UUID(effect["id"]) for effect in read_effects(self.file))


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of hundredths of a second."""
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.01)


OnSite = Callable[[Callable[[Site], Awaitable[Any]]], Any]


@pytest.fixture
def on_site(settings: Settings, tmp_path: Path) -> OnSite:
    def run(work: Callable[[Site], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            file = tmp_path / "erp.jsonl"
            url = settings.need("database_url")
            async with Simulator("127.0.0.1", 0, file, Dial()) as sim, logged_in_to(url) as logins:
                changed = settings.replace(erp_url=sim.url, erp_timeout=5.0)
                site = Site(changed, logins, sim, file)
                try:
                    return await work(site)
                finally:
                    await site.erp.close()

        return asyncio.run(main())

    return run


def counts(run: Reconciliation) -> dict[str, int]:
    names = ("present", "altered", "missing", "unknown", "moved", "foreign")
    return {name: getattr(run, name) for name in names if getattr(run, name)}


def test_all_that_is_as_acknowledged_leaves_only_a_count(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        await site.delivered(60)
        run = await site.reconcile()
        assert (counts(run), run.state, run.listing, run.sound) == ({"present": 60}, ReconcileStage.DONE, WHOLE, True)
        assert await findings(site.engine, run.id, 10) == []
        assert (await newest(site.engine, backend="erp", limit=5)) == [run]

    on_site(work)


def test_what_was_forgotten_is_found_sent_again_and_there_once(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        ids = set(await site.delivered(80))
        lost = site.forget(0.3)
        assert len(lost) == 24
        run = await site.reconcile()
        assert (counts(run), run.sound) == ({"present": 56, "missing": 24}, False)
        assert await site.found(run, Difference.MISSING) == lost
        shown = await preview(site.engine, run)
        assert (shown["orders"], len(shown["sample"]), shown["expired"]) == (24, 10, 0)
        assert shown["oldest"] <= shown["youngest"]
        assert await site.resend(run) == 24
        back = await site.run(
            text("SELECT order_id, unsure, attempts, settled_at FROM deliveries WHERE state = 'accepted'")
        )
        assert {row.order_id for row in back} == lost
        assert {(row.unsure, row.attempts, row.settled_at) for row in back} == {(True, 0, None)}
        await site.deliver_all()
        assert site.effects() == Counter(ids)
        assert site.sim.conduct.book.repeats == 0
        after = await read(site.engine, run.id)
        assert (after.state, after.resent, after.sound) == (ReconcileStage.RESENT, 24, True)
        again = await site.reconcile()
        assert (counts(again), again.sound) == ({"present": 80}, True), "compared with the newest receipt"
        acts = await site.run(text("SELECT act, reason, detail FROM operations ORDER BY id"))
        assert [act.act for act in acts] == ["reconcile", "resend", "reconcile"]
        assert set(acts[1].detail["ids"]) == {str(order_id) for order_id in lost}
        assert (await audit(site.engine)).balanced

    on_site(work)


def test_sending_again_twice_sends_nothing_twice(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        await site.delivered(20)
        site.forget(0.5)
        first, second = await site.reconcile(), await site.reconcile()
        assert await site.resend(first) == 10
        assert await site.resend(first) == await site.resend(second) == 0, "they are in the backlog"
        await site.deliver_all()
        assert await site.resend(first) == await site.resend(second) == 0, "they were delivered again since"
        assert set(site.effects().values()) == {1}
        assert (await read(site.engine, first.id)).resent == 10
        assert (await read(site.engine, second.id)).resent == 0

    on_site(work)


def test_an_order_on_its_way_again_is_not_asked_about_and_cannot_be_cancelled(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        await site.delivered(10)
        lost = site.forget(0.5)
        await site.resend(await site.reconcile())
        run = await site.reconcile()
        assert counts(run) == {"present": 5, "moved": 5}
        assert (await preview(site.engine, run))["orders"] == 0
        with pytest.raises(TooLate):
            await cancel(site.by("api"), lost.pop(), "front", "request")

    on_site(work)


def test_what_is_no_longer_valid_becomes_a_dead_letter_when_it_is_sent_again(
    on_site: OnSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tomorrow(*asked: Any) -> Claim | None:
        taken = await claim(*asked)
        return None if taken is None else replace(taken, at=taken.at + timedelta(days=1))

    async def work(site: Site) -> None:
        soon = datetime.now(UTC) + timedelta(hours=1)
        (order_id,) = await site.delivered(1, valid_until=soon.isoformat())
        site.forget(1.0)
        run = await site.reconcile()
        await site.sql("UPDATE deliveries SET valid_until = now() - interval '1 hour'")
        monkeypatch.setattr(delivery, "claim", tomorrow)
        assert (await preview(site.engine, run))["expired"] == 1
        assert await site.resend(run) == 1
        await site.run(EXPIRE)
        assert (await order_queries.order(site.engine, order_id))["state"] == "accepted", "the ERP is asked first"
        await site.deliver_all()
        life = await order_queries.order(site.engine, order_id)
        assert (life["state"], life["reason"], site.effects()) == ("dead", "expired", Counter())

    on_site(work)


def a_line(product: str, accepted: int, **more: object) -> dict[str, object]:
    return {"lines": [{"line": 1, "product": product, "accepted": accepted, "reason": None, **more}]}


ALTERED: list[tuple[dict[str, object], str]] = [
    ({"reference": "OTHER-1"}, "its reference is OTHER-1, and was SIM-0000001"),
    ({"digest": "0" * 64}, "other bytes"),
    (a_line(MEDICINE, 1), "line 1: 1 box of 3400937318044, and was 2 of 3400937318044"),
    (a_line(MEDICINE, 9), "9 of 2"),
    (a_line("3400938615470", 2), "another product"),
    ({"lines": []}, "0 lines for 1"),
    (
        a_line(MEDICINE, 2, substitute="3400938615470"),
        "line 1: 2 boxes of 3400938615470, and was 2 of 3400937318044",
    ),
    (a_line(MEDICINE, 1, back_ordered=1), "line 1: 1 box of 3400937318044, and was 2 of 3400937318044"),
    (
        a_line(MEDICINE, 2, expected="2024-10-22"),
        "line 1: 0 boxes to come (expected 2024-10-22), and was 0 (no day told)",
    ),
]


def test_what_was_altered_is_named_and_never_sent_again(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        await site.delivered(4 + len(ALTERED), lines=[{"product": MEDICINE, "quantity": 2}])
        changed = dict(zip(site.sim.conduct.book.ids, ALTERED, strict=False))
        for order_id, (change, _) in changed.items():
            site.sim.conduct.book.alter(order_id, change)
        run = await site.reconcile()
        assert counts(run) == {"present": 4, "altered": len(ALTERED)}
        found = {str(row["id"]): row["detail"] for row in await findings(site.engine, run.id, 10)}
        assert {order_id for order_id in changed if changed[order_id][1] not in found[order_id]} == set()
        assert await site.resend(run) == 0
        assert not (await read(site.engine, run.id)).sound

    on_site(work)


def test_a_substitute_that_was_acknowledged_is_no_difference() -> None:
    """Whether or not the backend may substitute by now: its receipt was believed when it came."""
    body = json.dumps({"lines": [{"product": MEDICINE, "quantity": 3}]}).encode()
    digest, now = sha256(body).digest(), datetime.now(UTC)
    line = ErpReceiptLine(1, MEDICINE, 2, None, "3400938615470", 1, date(2026, 1, 7))
    lines = LINES.dump_json((line,), exclude_defaults=True).decode()
    held = AcknowledgedOrder(now, now, uuid4(), True, False, uuid4(), "E-1", lines, body, digest)

    def found(**changes: Any) -> str | None:
        told = Outcome(Kind.ACCEPTED, receipt=ErpReceipt("E-1", digest, (replace(line, **changes),)))
        finding = difference(held, told, Capabilities())
        return finding and finding.detail

    assert found() is None
    assert found(substitute=None) == f"line 1: 2 boxes of {MEDICINE}, and was 2 of 3400938615470"
    was = "and was 1 (expected 2026-01-07)"
    assert found(back_ordered=0, expected=None) == f"line 1: 0 boxes to come (no day told), {was}"
    assert found(expected=date(2026, 1, 9)) == f"line 1: 1 box to come (expected 2026-01-09), {was}"


def test_an_order_that_the_erp_has_twice_is_a_difference_though_one_of_them_is_as_acknowledged(
    on_site: OnSite,
) -> None:
    async def work(site: Site) -> None:
        _, twice = await site.delivered(2)
        told = (await site.erp.find([twice], budget=20))[twice]
        doubled = counted(told, twice, ["S1", "S2"])
        run = await site.reconcile(Answering(site.erp, lambda each, _: doubled if each == twice else None))
        assert counts(run) == {"present": 1, "altered": 1}
        assert (await findings(site.engine, run.id, 1))[0]["detail"] == "taken more than once: S1, S2"
        assert await site.resend(run) == 0

    on_site(work)


class Answering:
    """An ERP of which a test says what it tells of each order; all else is the site's."""

    def __init__(self, erp: HttpErp, tell: Callable[[UUID, int], Outcome | None], fit: bool = True) -> None:
        self.capabilities = Capabilities()
        self._erp, self._tell, self._fit = erp, tell, fit
        self.asked: Counter[UUID] = Counter()

    async def find(self, ids: list[UUID], *, budget: float) -> dict[UUID, Outcome]:
        self.asked.update(ids)
        told = await self._erp.find(ids, budget=budget)
        return {order_id: self._tell(order_id, self.asked[order_id]) or outcome for order_id, outcome in told.items()}

    async def probe(self) -> bool:
        return self._fit


UNREACHED = Outcome(Kind.UNKNOWN, "could not be asked: no connection to the ERP")


@pytest.mark.usefixtures("hurried")
def test_an_order_that_the_erp_chokes_on_is_unknown_and_hides_no_other(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        poison = (await site.delivered(40))[7]
        site.forget(0.5)
        erp = Answering(site.erp, lambda order_id, _: UNREACHED if order_id == poison else None)
        run = await site.reconcile(erp, silence=60.0)
        assert (run.unknown, run.present + run.missing, run.listing) == (1, 39, CANNOT)
        assert await site.found(run, Difference.UNKNOWN) == {poison}
        assert poison not in await site.found(run, Difference.MISSING)
        assert erp.asked[poison] > 2
        assert max(count for order_id, count in erp.asked.items() if order_id != poison) == 1

    on_site(work)


@pytest.mark.usefixtures("hurried")
def test_a_silent_erp_is_waited_for(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        await site.delivered(10)
        erp = Answering(site.erp, lambda _, times: UNREACHED if times < 3 else None)
        assert counts(await site.reconcile(erp, silence=60.0)) == {"present": 10}

    on_site(work)


@pytest.mark.usefixtures("hurried")
def test_an_erp_out_of_reach_ends_the_run_where_it_is_and_takes_nothing_for_missing(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        await site.delivered(10)
        run = await begin(site.engine, "erp", LONG_AGO, None, "a test")
        await site.sim.turn(Dial(down=True))
        with pytest.raises(OutOfReach):
            await site.reconcile(run=run, silence=0.3)
        assert await newest(site.engine, cut_short=True, limit=5) == [run], "nothing was counted"
        await site.sim.turn(Dial(garbage="html"))
        with pytest.raises(OutOfReach):
            await site.reconcile(run=run)
        await site.sim.turn(Dial())
        done = await site.reconcile(run=run)
        assert (done.id, counts(done), done.sound) == (run.id, {"present": 10}, True)

    on_site(work)


def test_an_erp_that_is_fit_and_tells_nothing_leaves_all_unknown(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        ids = await site.delivered(60)
        erp = Answering(site.erp, lambda *_: UNREACHED)
        run = await site.reconcile(erp)
        assert (counts(run), run.sound) == ({"unknown": 60}, False)
        assert await site.found(run, Difference.UNKNOWN) == set(ids)
        assert await site.resend(run) == 0

    on_site(work)


def test_what_was_acknowledged_and_is_refused_now_is_altered(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        await site.delivered(1)
        run = await site.reconcile(Answering(site.erp, lambda *_: Outcome(Kind.REFUSED, "the words")))
        assert counts(run) == {"altered": 1}
        assert (await findings(site.engine, run.id, 1))[0]["detail"] == "acknowledged, and now refused: the words"

    on_site(work)


def test_what_was_acknowledged_and_is_undecided_now_is_missing_and_polled_when_it_is_sent_again(
    on_site: OnSite,
) -> None:
    async def work(site: Site) -> None:
        (order_id,) = await site.delivered(1)
        erp = Answering(site.erp, lambda *_: Outcome(Kind.PENDING, "the words"))
        run = await site.reconcile(erp)
        assert counts(run) == {"missing": 1}
        assert (await findings(site.engine, run.id, 1))[0]["detail"] == "acknowledged, and now pending: the words"
        assert await site.resend(run) == 1
        await deliver(site.resources(erp), await site.dispatch())  # type: ignore[arg-type]
        assert (await order_queries.order(site.engine, order_id))["state"] == "submitted"

    on_site(work)


def test_only_the_span_that_was_named_is_asked_about(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        await site.delivered(5)
        middle = (await site.run(text("SELECT clock_timestamp()")))[0][0]
        await site.delivered(7)
        before = await begin(site.engine, "erp", LONG_AGO, middle, "a test")
        after = await begin(site.engine, "erp", middle, datetime.now(UTC) + timedelta(days=1), "a test")
        assert after.until < datetime.now(UTC) + timedelta(hours=1), "what is still to come is not asked about"
        assert (await site.reconcile(run=before)).present == 5
        assert (await site.reconcile(run=after)).present == 7
        other = await begin(site.engine, "another", LONG_AGO, None, "a test")
        assert (await site.reconcile(run=other)).present == 0

    on_site(work)


def test_a_receipt_that_is_settled_as_a_run_begins_is_waited_for(
    on_site: OnSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    settling_now = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def work(site: Site) -> None:
        await site.delivered(1)
        await site.accept(1)
        (due,) = await site.dispatch()
        async with site.owner.connect() as other, transactional(site.owner).connect() as holding:
            await holding.execute(text("SELECT FROM backends FOR UPDATE"))  # which a settling locks at its end
            settled = asyncio.create_task(deliver(site.resources(site.erp), [due]))  # type: ignore[arg-type]
            await auntil(lambda: waits(other), what="its receipt is written, and not committed")
            run = await begin(site.engine, "erp", LONG_AGO, None, "a test")
            with monkeypatch.context() as hasty, pytest.raises(Unsettled):
                hasty.setattr(settling, "SETTLING", 0.1)
                await site.reconcile(run=run)
            asked = asyncio.create_task(site.reconcile(run=run))
            assert not (await asyncio.wait({asked}, timeout=0.3))[0]
            await holding.rollback()
        assert (await settled).claimed == 1
        assert counts(await asked) == {"present": 2}

    async def waits(connection: Any) -> bool:
        return bool((await connection.execute(text(settling_now))).scalar_one())

    on_site(work)


def test_receipts_without_an_order_do_not_end_the_walk(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        await site.sql(
            "INSERT INTO receipts (order_id, lease, backend, reference, lines) "
            "SELECT gen_random_uuid(), gen_random_uuid(), 'erp', 'E', '[]' FROM generate_series(1, 600)"
        )
        await site.delivered(3)
        assert counts(await site.reconcile()) == {"present": 3, "moved": 600}

    on_site(work)


def test_pages_of_any_size_lead_to_the_same_counts(on_site: OnSite, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = str(reconciling.PAGE)

    async def work(site: Site) -> None:
        await site.delivered(23)
        lost = site.forget(0.4)
        for limit, size in ((500, 1), (3, 10**6), (500, 700)):
            page = whole.replace("LIMIT 500", f"LIMIT {limit}").replace(str(reconciling.PAGE_BYTES), str(size))
            monkeypatch.setattr(reconciling, "PAGE", text(page))
            run = await site.reconcile()
            assert counts(run) == {"present": 14, "missing": 9}
            assert await site.found(run, Difference.MISSING) == lost

    on_site(work)


def test_of_two_at_the_same_run_one_is_told_and_nothing_counts_twice(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        await site.delivered(30)
        site.forget(0.5)
        run = await begin(site.engine, "erp", LONG_AGO, None, "a test")
        ended = await asyncio.gather(*(site.reconcile(run=run) for _ in range(3)), return_exceptions=True)
        assert sum(isinstance(each, Overtaken) for each in ended) == 2
        assert counts(await read(site.engine, run.id)) == {"present": 15, "missing": 15}

    on_site(work)


def test_what_the_erp_holds_and_was_never_sent_is_foreign(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        sent = await site.delivered(30)
        waiting = (await site.accept(2))[0]
        book, planted = site.sim.conduct.book, uuid4()
        for order_id in (planted, waiting):
            await _command(site, "/_plant", {"id": str(order_id)})
        await site.sql("UPDATE backends SET paused = true, quarantined = true")
        run = await site.reconcile()
        assert (counts(run), run.listing) == ({"present": 30, "foreign": 2}, WHOLE)
        assert await site.found(run, Difference.FOREIGN) == {planted, waiting}
        details = {row["id"]: row["detail"] for row in await findings(site.engine, run.id, 10)}
        assert "the journal does not know it" in details[planted]
        assert "it was never sent" in details[waiting]
        assert len(book.ids) == len(sent) + 2, "asking changed nothing"

    on_site(work)


def test_other_bytes_under_an_id_show_in_the_list_where_the_order_was_not_asked_about(on_site: OnSite) -> None:
    async def work(site: Site) -> None:
        (order_id,) = await site.delivered(1)
        await site.sql("UPDATE deliveries SET state = 'accepted'")
        site.sim.conduct.book.alter(str(order_id), {"digest": "0" * 64})
        run = await site.reconcile()
        assert counts(run) == {"moved": 1, "altered": 1}
        assert await site.found(run, Difference.ALTERED) == {order_id}

    on_site(work)


def test_a_list_that_breaks_off_is_said_and_a_resumed_one_counts_nothing_twice(on_site: OnSite) -> None:
    class Breaking:
        """Lists one page, then nothing any more until it is mended."""

        def __init__(self, erp: HttpErp) -> None:
            self.capabilities, self._erp, self.broken = Capabilities(can_list=True), erp, True

        async def find(self, ids: list[UUID], *, budget: float) -> dict[UUID, Outcome]:
            return await self._erp.find(ids, budget=budget)

        async def list(self, since: datetime, until: datetime, *, after: str | None, budget: float) -> Listing:
            page = await self._erp.list(since, until, after=after, budget=budget)
            half = len(page.orders) // 2
            if not self.broken:
                return page
            return Listing(failed=UNREACHED) if after else Listing(page.orders[:half], "half")

    async def work(site: Site) -> None:
        for _ in range(4):
            await _command(site, "/_plant", {})
        erp = Breaking(site.erp)
        run = await site.reconcile(erp)
        assert (run.foreign, run.listing, run.state) == (2, UNREACHED.detail, ReconcileStage.DONE)
        await site.sql("UPDATE reconciliations SET state = 'running'")
        erp.broken = False
        assert (await site.reconcile(erp, run)).foreign == 4

    on_site(work)


def test_a_list_without_end_is_broken_off(on_site: OnSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "MOST_FOREIGN", 5)

    async def work(site: Site) -> None:
        for _ in range(8):
            await _command(site, "/_plant", {})
        run = await site.reconcile()
        assert (run.foreign, str(run.listing).startswith("broken off: over 5")) == (8, True)
        monkeypatch.setattr(foreign, "MOST_PAGES", 0)
        assert str((await site.reconcile()).listing).startswith("broken off after 0")

    on_site(work)


async def _command(site: Site, path: str, body: dict[str, Any]) -> None:
    reply = await site.sim._command("POST", path, {}, json.dumps(body).encode())
    assert reply.label == "200"


class Died(Exception):
    """As a SIGKILL, at a place of the test's choosing."""


def test_a_run_that_dies_anywhere_is_resumed_and_ends_the_same(
    on_site: OnSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every page it dies before it has asked, before it has committed, and after: each order is counted once."""
    monkeypatch.setattr(reconciling, "PAGE", text(str(reconciling.PAGE).replace("LIMIT 500", "LIMIT 5")))
    keep, deaths = reconciling._keep, ["asking", "before", "after"] * 5

    def here(place: str) -> None:
        if deaths and deaths[0] == place:
            deaths.pop(0)
            raise Died

    async def keep_or_die(*arguments: Any) -> Reconciliation:
        here("before")
        run = await keep(*arguments)
        here("after")
        return run

    async def work(site: Site) -> None:
        monkeypatch.setattr(reconciling, "_keep", keep_or_die)
        await site.delivered(24)
        lost = site.forget(0.5)
        run, erp = (
            await begin(site.engine, "erp", LONG_AGO, None, "a test"),
            Answering(site.erp, lambda *_: here("asking")),
        )
        while run.state != ReconcileStage.DONE:
            with suppress(Died):
                await site.reconcile(erp, run)
            run = await read(site.engine, run.id)
        assert deaths == []
        assert counts(run) == {"present": 12, "missing": 12}
        assert await site.found(run, Difference.MISSING) == lost

    on_site(work)


def test_pauses_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ERP that stays silent is asked a bounded number of times."""

    async def work() -> None:
        slept: list[float] = []
        clock = [0.0]

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            clock[0] += seconds

        monkeypatch.setattr(patience.asyncio, "sleep", sleep)
        monkeypatch.setattr(patience.time, "monotonic", lambda: clock[0])
        erp = Answering(None, lambda *_: None, fit=False)  # type: ignore[arg-type]

        async def silent(ids: list[UUID], *, budget: float) -> dict[UUID, Outcome]:
            return dict.fromkeys(ids, UNREACHED)

        erp.find = silent  # type: ignore[method-assign]
        with pytest.raises(OutOfReach, match="no connection"):
            await patience.ask(erp, [uuid4()], Patience(60.0, 1.0), lambda news: None)
        assert sum(slept) == pytest.approx(60.0)
        assert slept[:6] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0]

    asyncio.run(work())
