"""PharmaML on a real journal: an order taken at the counter, delivered, fetched from the deposit and acknowledged."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.errors import JournalDown
from orders.intake.entries import Accepted
from orders.intake.group_commit import Intake
from orders.journal import connect
from orders.model import Order
from orders.pharmaml import reply_deposit
from orders.pharmaml.messages import (
    Action,
    Codification,
    Commande,
    Content,
    Envelope,
    EnvelopeHead,
    Erreur,
    LigneCommande,
    Nature,
    Partner,
    RepCommande,
    ReplyLine,
    Shortage,
    Statut,
)
from orders.pharmaml.service import Counter, answer
from orders.queries import orders as order_queries
from tests.machines.roles import above
from tests.orders.pharmaml.pieces import decode, encode

ATENOLOL = "3400937318044"
Ask = Callable[..., Awaitable[Envelope]]


def head(pharmacy: str, nature: Nature, reference: str, answers: str | None = None) -> EnvelopeHead:
    return EnvelopeHead(
        nature, Partner("OF", "00", pharmacy, "Pharmacie"), Partner("RE", "12", "04", "R"), reference, answers
    )


def order(pharmacy: str, reference: str, quantity: int = 3) -> Commande:
    lines = (
        LigneCommande(5, Codification.CIP39, "3731804", quantity),
        LigneCommande(9, Codification.EAN13, ATENOLOL, 1),
    )
    return Commande(pharmacy, ("12", "04"), reference, lines)


def at_the_counter(url: str, work: Callable[[AsyncEngine, Ask], Awaitable[None]]) -> None:
    async def run() -> None:
        engine, owner = connect(url, timeout=5), connect(above(url), timeout=5)
        intake = Intake(engine, "erp")

        async def accept(order: Order, origin: Mapping[str, Any]) -> Accepted:
            return await intake.accept(order, "front", origin=origin)

        counter = Counter(
            allow=lambda _: None,
            accept=accept,
            oldest=partial(reply_deposit.oldest, engine),
            acknowledge=partial(reply_deposit.acknowledge, engine),
        )

        async def ask(head: EnvelopeHead, content: Content) -> Envelope:
            body, *_ = await answer(encode(Envelope(head, content), "ISO-8859-1"), counter)
            return decode(body, "ISO-8859-1")

        try:
            await work(owner, ask)
        finally:
            await intake.close()
            await engine.dispose()
            await owner.dispose()

    asyncio.run(run())


async def place(ask: Ask, pharmacy: str, reference: str) -> None:
    reply = await ask(head(pharmacy, Nature.REQ_EMISSION, f"M{reference}"), order(pharmacy, reference))
    assert reply.content is Action.FIN_SERVICE


async def fetch(ask: Ask, pharmacy: str) -> Envelope:
    return await ask(head(pharmacy, Nature.REQ_RECEPTION, "V"), Action.VIDAGE)


async def acknowledge(ask: Ask, pharmacy: str, reference: str) -> Envelope:
    return await ask(head(pharmacy, Nature.REQ_RECEPTION, "A", reference), Action.ACQUITTEMENT)


async def bring_to(engine: AsyncEngine, pharmacy: str, reference: str, *states: str) -> UUID:
    found = await order_queries.order_by_reference(engine, pharmacy, reference)
    async with engine.connect() as connection:
        for state in states:
            await connection.execute(
                text("UPDATE deliveries SET state = :state, settled_at = now() WHERE order_id = :id"),
                {"state": state, "id": found["id"]},
            )
    return UUID(str(found["id"]))


async def deliver(engine: AsyncEngine, pharmacy: str, reference: str, accepted: int, reason: str | None) -> None:
    order_id = await bring_to(engine, pharmacy, reference, "dispatched", "delivering")
    lines = [{"line": 1, "product": ATENOLOL, "accepted": accepted, "reason": reason}]
    async with engine.connect() as connection:
        await connection.execute(
            text(
                "INSERT INTO receipts (order_id, lease, backend, reference, lines) "
                "VALUES (:id, :lease, 'erp', :own, CAST(:lines AS jsonb))"
            ),
            {"id": order_id, "lease": uuid4(), "own": f"E-{reference}", "lines": json.dumps(lines)},
        )
    await bring_to(engine, pharmacy, reference, "delivered")


def test_from_the_order_to_the_acknowledged_reply(database_url: str) -> None:
    async def work(engine: AsyncEngine, ask: Ask) -> None:
        await place(ask, "P1", "C1")
        assert (await fetch(ask, "P1")).content is Action.FIN_SERVICE  # received, nothing more for now
        await deliver(engine, "P1", "C1", 2, "0005 Manque rayon")
        reply = await fetch(ask, "P1")
        assert reply.content == RepCommande(
            "P1",
            ("12", "04"),
            "C1",
            (
                ReplyLine(1, 5, Codification.CIP39, "3731804", 2, Shortage(5, "Manque rayon")),
                ReplyLine(2, 9, Codification.EAN13, ATENOLOL, 0, Shortage(5, "Manque rayon")),
            ),
            "E-C1",
        )
        assert (await acknowledge(ask, "P2", reply.head.reference)).content is Action.FIN_SERVICE  # not theirs
        assert (await fetch(ask, "P1")).content == reply.content
        for _ in range(2):
            assert (await acknowledge(ask, "P1", reply.head.reference)).content is Action.FIN_SERVICE
        assert (await fetch(ask, "P1")).content is Action.FIN_SERVICE

    at_the_counter(database_url, work)


def test_a_message_that_comes_again_is_one_order_and_a_reused_reference_is_refused(database_url: str) -> None:
    async def work(engine: AsyncEngine, ask: Ask) -> None:
        for _ in range(3):
            await place(ask, "P1", "C1")
        reply = await ask(head("P1", Nature.REQ_EMISSION, "M2"), order("P1", "C1", quantity=4))
        assert isinstance(reply.content, Erreur)
        assert reply.content.status == Statut.REUSED
        again = await ask(head("P1", Nature.REQ_EMISSION, "MC1"), order("P1", "C2"))  # REF_MESSAGE as C1's
        assert again.content is Action.FIN_SERVICE
        assert (await order_queries.counts(engine))["accepted"] == 2

    at_the_counter(database_url, work)


@pytest.mark.parametrize(
    ("way", "told"),
    [
        (["cancelled"], "Commande annulée par l'officine"),
        (["dispatched", "delivering", "dead", "discarded"], "Commande non traitée, contactez le répartiteur"),
        (["dispatched", "delivering", "dead"], None),
        (["dispatched", "delivering", "submitted"], None),
    ],
)
def test_what_is_not_delivered_is_told_once_it_is_final(database_url: str, way: list[str], told: str | None) -> None:
    async def work(engine: AsyncEngine, ask: Ask) -> None:
        await place(ask, "P1", "C1")
        await bring_to(engine, "P1", "C1", *way)
        content = (await fetch(ask, "P1")).content
        if told is None:
            assert content is Action.FIN_SERVICE
        else:
            assert isinstance(content, RepCommande)
            assert [(line.delivered, line.shortage) for line in content.lines] == [(0, Shortage(1000, told))] * 2

    at_the_counter(database_url, work)


def test_replies_come_in_the_order_in_which_they_became_final_and_only_of_pharmaml(database_url: str) -> None:
    async def work(engine: AsyncEngine, ask: Ask) -> None:
        intake = Intake(engine, "erp")
        lines = [{"product": ATENOLOL, "quantity": 1}]
        other = Order.model_validate({"pharmacy": "P1", "reference": "C0", "lines": lines})
        await intake.accept(other, "front")
        await intake.close()
        await bring_to(engine, "P1", "C0", "cancelled")
        for reference in ("C1", "C2", "C3"):
            await place(ask, "P1", reference)
        await place(ask, "P2", "C1")
        for reference in ("C3", "C1", "C2"):
            await bring_to(engine, "P1", reference, "cancelled")
        found = []
        reply = await fetch(ask, "P1")
        while isinstance(reply.content, RepCommande):
            found.append(reply.content.reference)
            reply = await acknowledge(ask, "P1", reply.head.reference.lower())
        assert found == ["C3", "C1", "C2"]

    at_the_counter(database_url, work)


def test_an_acknowledgement_before_there_is_a_reply_takes_none_away(database_url: str) -> None:
    async def work(engine: AsyncEngine, ask: Ask) -> None:
        await place(ask, "P1", "C1")
        order_id = await bring_to(engine, "P1", "C1")
        await acknowledge(ask, "P1", order_id.hex[-20:].upper())  # too early: there is no reply yet
        await bring_to(engine, "P1", "C1", "cancelled")
        assert isinstance((await fetch(ask, "P1")).content, RepCommande)

    at_the_counter(database_url, work)


def test_without_a_journal_nothing_is_answered(database_url: str) -> None:
    async def work(engine: AsyncEngine, ask: Ask) -> None:
        with pytest.raises(JournalDown):
            await place(ask, "P1", "C1")

    at_the_counter(nowhere(database_url), work)


def nowhere(url: str) -> str:
    return f"postgresql://relais@127.0.0.1:1/{url.rpartition('/')[2]}"
