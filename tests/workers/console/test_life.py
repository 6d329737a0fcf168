"""An order's page tells all that the journal knows of it: what its receipt proves, what operators did with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from config.settings import Settings
from orders.access import receipt_keys
from orders.refusals import NotDone
from orders.sentences import Sentence
from orders.states import State
from tests.bench import MEDICINE, Bench, Scripted, always, outcome
from tests.machines.erp import MEDICINES
from tests.workers.console.journalled import Quiet, Work
from tests.workers.console.site import Browser, Site, text_of
from workers import operations
from workers.cli.commands.trust.seal import sealed
from workers.console.access.people import Role
from workers.console.search import acts
from workers.console.search.timeline import WIDE, TimelineEntry, shapes
from workers.delivery.deliver import deliver
from workers.erp.port import ErpReceipt, Evidence, Kind, Outcome, Submission
from workers.erp.signing import sign
from workers.intake.spill_drain import Aside, set_aside
from workers.operations import acting_as
from workers.replay.choice import Choice
from workers.replay.divert import divert
from workers.replay.redrive import discard, replay

HOUR = timedelta(hours=1)
KEY = Ed25519PrivateKey.generate()
AtConsole = Callable[[Work], None]


class Answering(Scripted):
    """An ERP that answers each order with what was prepared for it."""

    def __init__(self, answers: Mapping[UUID, Outcome]) -> None:
        super().__init__(always(Kind.ACCEPTED))
        self.answers = answers

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        now = datetime.now(UTC)
        return {order.id: replace(self.answers[order.id], started=now, ended=now) for order in orders}


def signed(receipt: ErpReceipt, order: UUID, **otherwise: Any) -> ErpReceipt:
    """The receipt with a signature over it, or over something else."""
    assert receipt.digest is not None
    what: dict[str, Any] = {"digest": receipt.digest.hex(), "reference": receipt.reference, "lines": receipt.lines}
    signature = sign(KEY, "k", str(order), at=datetime.now(UTC), **(what | otherwise))
    return replace(receipt, signature=signature, key_id="k")


def test_the_mark_of_a_later_seal_hides_no_end() -> None:
    began = datetime(2026, 1, 5, 8, tzinfo=UTC)
    life: Any = SimpleNamespace(lasts=(began, began + HOUR))
    died = TimelineEntry("order", began + HOUR, "dead", "bad")
    drawn = shapes([died, TimelineEntry("proof", began + 3 * HOUR, "sealed", "good")], life)
    assert [(each.colour, each.x + each.width) for each in drawn] == [("good", WIDE), ("bad", WIDE)], "red is on top"


async def told(browser: Browser, order: UUID) -> str:
    """What a person reads of an order's page."""
    answer = await browser.get(f"/order/{order}")
    assert answer.status_code == 200, answer.text
    return text_of(answer)


async def tried(bench: Bench, kind: Kind, count: int) -> list[UUID]:
    """Orders that the ERP answered so."""
    ids = await bench.accept(count)
    await bench.dispatch()
    await deliver(bench.resources(Scripted(always(kind))), ids)
    return ids


def test_a_receipt_is_verified_again_each_time_that_it_is_shown(at_console: AtConsole) -> None:
    async def work(site: Site, bench: Bench) -> None:
        await receipt_keys.add(bench.owner, "erp", KEY.public_key().public_bytes_raw(), "k")
        jeanne, ids = await site.enter(role=Role.VIEWER), await bench.accept(7)
        good = [await bench.receipt(order) for order in ids]
        papers = {
            "holds, with the key k": signed(good[0], ids[0]),
            "does not hold: it was signed with other lines": signed(good[1], ids[1], lines=()),
            "does not hold: it was signed for another order": signed(good[2], ids[0]),
            "does not hold: its signature is not good": replace(good[3], signature="x.y.z", key_id="k"),
            "does not hold: the key gone is not registered": replace(signed(good[4], ids[4]), key_id="gone"),
            "signed, but by no key that was registered when it came": replace(good[5], signature="x.y.z"),
            "the ERP echoes another than ours": replace(good[6], digest=bytes(32)),
        }
        answers = {order: outcome(Kind.ACCEPTED, paper) for order, paper in zip(ids, papers.values(), strict=True)}
        await deliver(bench.resources(Answering(answers)), await bench.dispatch())
        for order, says in zip(ids, papers, strict=True):
            page = await told(jeanne, order)
            assert says in page, (says, page)
            assert (" proven " in page.replace("not proven", "")) is (order == ids[0]), says
        await receipt_keys.revoke(bench.owner, "erp", "k", "stolen")
        assert "holds, with the key k" in await told(jeanne, ids[0]), "what it signed before is still its work"

    at_console(work)


def test_what_the_erp_delivers_otherwise_is_told_in_both_languages(at_console: AtConsole) -> None:
    """Of three lines one is replaced, one comes later in part, and one is refused."""

    async def work(site: Site, bench: Bench) -> None:
        jeanne = await site.enter(role=Role.VIEWER)
        (order,) = await bench.accept(lines=[{"product": each, "quantity": 5} for each in MEDICINES])
        paper = await bench.receipt(order)
        first, second, third = paper.lines
        later = replace(second, accepted=2, reason="0005 Manque rayon", back_ordered=3, expected=date(2026, 1, 22))
        lines = (replace(first, substitute="3400930000001"), later, replace(third, accepted=0, reason="0003"))
        answers = {order: outcome(Kind.ACCEPTED, replace(paper, lines=lines))}
        await deliver(bench.resources(Answering(answers)), await bench.dispatch())
        counted = "1 line refused", "1 line replaced", "1 line to come later"
        for says in (*counted, "In its place", "3400930000001", "Boxes to come", "22 Jan 2026", "0005 Manque rayon"):
            assert says in await told(jeanne, order), says
        french = text_of(await jeanne.get(f"/order/{order}", headers={"Accept-Language": "fr"}))
        for says in ("1 ligne remplacée", "À la place", "À venir", "Prévu le", "22 janv. 2026"):
            assert says in french, says
        page = text_of(await jeanne.get("/pharmacy/990000002?show=missing"))
        for says in ("5 of 5 boxes", "3400930000001 in its place", "3 boxes to come", "expected on 22 Jan 2026"):
            assert says in page, says

    at_console(work)


def test_what_operators_did_with_an_order_is_in_its_life_and_in_no_others(at_console: AtConsole) -> None:
    async def work(site: Site, bench: Bench) -> None:
        jeanne = await site.enter("viewer", Role.VIEWER)
        (done,) = await tried(bench, Kind.ACCEPTED, 1)
        again, given_up = await tried(bench, Kind.REFUSED, 2)
        moved, taken_back, waiting = await bench.accept(3)
        with acting_as("paul"):
            await replay(bench.engine, Choice(State.DEAD, ids=(again,)), "they mended it")
            await discard(bench.engine, Choice(State.DEAD, ids=(given_up,)), "given elsewhere")
            await divert(bench.engine, Choice(ids=(moved,)), "other", "urgent")
            await acts.run(site.app.state.console, {"order": str(taken_back)}, "they called", Quiet())
            await operations.pause(bench.engine, bench.settings, "erp", "their upgrade")
        done_by = {
            again: "paul: replay they mended it",
            given_up: "paul: discard given elsewhere",
            moved: "paul: divert urgent",
            taken_back: "paul: order cancel they called",
        }
        lives = {order: await told(jeanne, order) for order in (*done_by, waiting, done)}
        for order, says in done_by.items():
            assert [each for each in lives if says in lives[each]] == [order], says
            assert f"{says} about this order" in lives[order]
        pause = "paul: pause their upgrade about its backend"
        assert {order for order, life in lives.items() if pause in life} == {again, waiting}
        for order, says in ((again, "put through again"), (given_up, "discarded"), (taken_back, "cancelled")):
            assert f"Order {says}" in lives[order], (says, lives[order])
        assert "Backend other" in lives[moved]

    at_console(work)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "list.csv").write_text(f"cip13,label,withdrawn,max_quantity\n{MEDICINE},ATENOLOL 100 mg,0,\n")
    return settings.replace(catalogue=tmp_path / "list.csv", seal_key=SecretStr("5e" * 32))


def test_what_speaks_for_an_order_and_against_its_erp_is_told(at_console: AtConsole) -> None:
    async def work(site: Site, bench: Bench) -> None:
        jeanne = await site.enter(role=Role.VIEWER)
        (twice,) = await tried(bench, Kind.DUPLICATE, 1)
        (liar,) = await bench.accept(1)
        lie = Outcome(Kind.SUSPICIOUS, "M. Martin", 200, evidence=Evidence.WRONG_DIGEST, answer=b"{}")
        await deliver(bench.resources(Answering({liar: lie})), await bench.dispatch())
        assert "sealed in block" not in await told(jeanne, twice)
        await sealed(bench.by("ops"), bench.settings, None)
        await bench.sql(f"INSERT INTO pharmaml_acknowledged (order_id) VALUES ('{twice}')")
        await bench.sql(
            "INSERT INTO reconciliations (backend, since, until, started_by, cursor_at, cursor_id) "
            f"VALUES ('erp', now(), now(), 'paul', now(), '{twice}')"
        )
        await bench.sql(
            "INSERT INTO findings (reconciliation, order_id, kind, detail) "
            f"SELECT id, '{twice}', 'missing', '\"\"' FROM reconciliations"
        )
        await bench.sql(
            "INSERT INTO notices (id, event_id, order_id, client, attempts) SELECT gen_random_uuid(), "
            f"id, order_id, 'shop', 2 FROM events WHERE order_id = '{twice}'"
        )
        page = await told(jeanne, twice)
        for says in (
            "it had it already",
            "Proof sealed in block 1",
            "Proof receipt ERP-",
            "ATENOLOL 100 mg",
            "took the reply",
            "the ERP has it no more",
            "webhook of shop is still to be told",
        ):
            assert says in page, (says, page)
        page = await told(jeanne, liar)
        for says in (
            "a receipt for other bytes than were sent",
            "its backend went into quarantine",
            "is in quarantine since",
            "The ERP is asked before it is sent again",
        ):
            assert says in page, (says, page)
        assert "Martin" not in page, "an ERP's own words"

    at_console(work)


def test_why_an_attempt_failed_is_told_in_french(at_console: AtConsole) -> None:
    async def work(site: Site, bench: Bench) -> None:
        jeanne = await site.enter(role=Role.OPERATOR)
        (order,) = await tried(bench, Kind.TRANSIENT, 1)
        await bench.sql(f"UPDATE deliveries SET error = 'no connection to the ERP' WHERE order_id = '{order}'")
        await bench.sql("ALTER TABLE attempts DISABLE TRIGGER USER")
        await bench.sql("UPDATE attempts SET detail = 'no connection to the ERP'")
        page = (await jeanne.get(f"/order/{order}", headers={"Accept-Language": "fr"})).text
        assert "pas de connexion à l&#39;ERP" in page and "no connection" not in page
        place, do, life = (page.index(each) for each in ("Où elle en est", "Annuler cette commande", "Son parcours"))
        assert place < do < life, "what can be done follows where it is"

    at_console(work)


def test_an_order_that_stayed_in_the_spill_is_not_unknown(at_console: AtConsole) -> None:
    async def work(site: Site, bench: Bench) -> None:
        jeanne, (first,) = await site.enter(role=Role.VIEWER), await bench.accept(1)
        why = Sentence(NotDone.NOT_SIGNED)
        asides = [
            Aside(bytes([n]) * 32, kind, uuid4(), first if kind == "repeated" else None, why, b"")
            for n, kind in enumerate(("repeated", "forged"))
        ]
        async with bench.owner.connect() as connection:
            await set_aside(connection, asides)
        known = [await jeanne.get(f"/order/{each.told}") for each in asides]
        assert "the same as an order that had been accepted before" in text_of(known[0])
        assert f"/order/{first}" in known[0].text and "The order that has its place" not in known[1].text
        assert "was not written by our intake" in text_of(known[1])

    at_console(work)
