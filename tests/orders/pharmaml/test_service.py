"""A pharmacy's question and the answer: what becomes of an order, of its reply, and of what cannot be acted on."""

import asyncio
import gc
import tracemalloc
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.errors import Conflict, Forbidden, JournalDown
from orders.intake.entries import Accepted
from orders.model import MOST_LINES, Order, canonical, parse
from orders.pharmaml import decoding, mapping
from orders.pharmaml.control import check, load_keys
from orders.pharmaml.mapping import MOST_BOXES
from orders.pharmaml.messages import (
    Action,
    Awaited,
    Codification,
    Commande,
    Content,
    Envelope,
    EnvelopeErreur,
    EnvelopeHead,
    Erreur,
    LigneCommande,
    Nature,
    NotUnderstood,
    Partner,
    RepCommande,
    Replacement,
    ReplyLine,
    Shortage,
    Statut,
    TypeRemplacement,
)
from orders.pharmaml.pieces import AT_ONCE, SOON
from orders.pharmaml.replies import Deposited, message_reference, reply_to
from orders.pharmaml.safe_xml import SLICE
from orders.pharmaml.service import Counter, answer
from orders.rules.catalogue import BadList
from orders.states import State
from tests.machines.tools import ROOT
from tests.orders.pharmaml.pieces import decode, encode, to_order

P = "990000002"
ID = UUID("01a1b2c3-d4e5-7f60-8a9b-0c1d2e3f4a5b")
ATENOLOL, INDAPAMIDE = "3400937318044", "3400938615470"
HEAD = EnvelopeHead(
    Nature.REQ_EMISSION, Partner("OF", "00", P, "Pharmacie é"), Partner("RE", "12", "04", "Répartiteur"), "M1"
)
FETCH = replace(HEAD, nature=Nature.REQ_RECEPTION, reference="V1")
LINE = LigneCommande(1, Codification.EAN13, ATENOLOL, 2)


def commande(*lines: LigneCommande, **more: Any) -> Commande:
    return Commande(**{"client": P, "company": ("12", "04"), "reference": "C1", "lines": lines or (LINE,), **more})


@dataclass
class Asked:
    """What the counter did, with what it was handed."""

    accepted: list[tuple[Order, Mapping[str, Any]]] = field(default_factory=list)
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    deposit: list[Deposited] = field(default_factory=list)
    error: Exception | None = None

    def counter(self, **more: Any) -> Counter:
        def allow(pharmacy: str) -> None:
            if pharmacy != P:
                raise Forbidden("no")

        async def accept(order: Order, origin: Mapping[str, Any]) -> Accepted:
            if self.error is not None:
                raise self.error
            self.accepted.append((order, origin))
            return Accepted(ID, repeated=len(self.accepted) > 1)

        async def oldest(pharmacy: str) -> Deposited | None:
            return self.deposit[0] if self.deposit else None

        async def acknowledge(pharmacy: str, reference: str) -> None:
            self.acknowledged.append((pharmacy, reference))
            self.deposit = [each for each in self.deposit if message_reference(each.id) != reference]

        given = {"allow": allow, "accept": accept, "oldest": oldest, "acknowledge": acknowledge}
        return Counter(**{**given, "now": lambda: datetime(2026, 1, 5, 12, 30, 1, 7, UTC), **more})


def ask(asked: Asked, content: Content, head: EnvelopeHead = HEAD, encoding: str = "UTF-8", **more: Any) -> Envelope:
    raw = encode(Envelope(head, content), encoding)
    body, media_type, _ = asyncio.run(answer(raw, asked.counter(**more)))
    assert media_type == f"text/xml; charset={encoding}"
    return decode(body, encoding)


@pytest.mark.parametrize("encoding", ["UTF-8", "ISO-8859-1"])
def test_an_order_is_answered_received_the_reply_comes_later(encoding: str) -> None:
    asked = Asked()
    for _ in range(2):  # the second time the first answer was lost
        reply = ask(asked, commande(), encoding=encoding)
        assert reply.content is Action.FIN_SERVICE
    assert (reply.head.nature, reply.head.answers) == (Nature.REP_EMISSION, "M1")
    assert (reply.head.sender, reply.head.recipient) == (HEAD.recipient, HEAD.sender)
    assert reply.head.date == datetime(2026, 1, 5, 12, 30, 1)
    first, second = asked.accepted
    assert first == second
    order, origin = first
    assert (order.pharmacy, order.reference, order.note) == (P, "C1", None)
    assert [(line.product, line.quantity) for line in order.lines] == [(ATENOLOL, 2)]
    assert origin == {"channel": "pharmaml", "message": "M1", "lines": [[1, "EAN13", ATENOLOL, 2, 1]]}


def refusal(reply: Envelope) -> tuple[int, str]:
    assert isinstance(reply.content, Erreur)
    assert 1 <= len(reply.content.detail) <= 128
    return reply.content.status, reply.content.detail


@pytest.mark.parametrize(
    ("content", "head", "status", "words"),
    [
        (commande(client="990000003"), HEAD, Statut.SENDER, "diffèrent"),
        (commande(client="x"), replace(HEAD, sender=replace(HEAD.sender, id="x")), Statut.NOT_ALLOWED, "autorisée"),
        (commande(), replace(HEAD, usage="T"), Statut.TEST, "rien n'a été commandé"),
        (commande(), FETCH, Statut.SERVICE, "Service"),
        (commande(), replace(HEAD, nature=Nature.REP_EMISSION), Statut.ENVELOPE, "Nature_Action"),
        (Action.VIDAGE, HEAD, Statut.SERVICE, "Service"),
        (Action.FIN_SERVICE, FETCH, Statut.SERVICE, "Service"),
        (Action.ACQUITTEMENT, FETCH, Statut.REFERENCE, "EN_REPONSE_A"),
        (commande(*[LINE] * (MOST_LINES + 1)), HEAD, Statut.MESSAGE, "2001 lignes"),
        (commande(LINE, replace(LINE, number=2, quantity=MOST_BOXES)), HEAD, Statut.MESSAGE, "Lignes 1, 2 : plus de"),
        (
            commande(LINE, replace(LINE, number=7, codification=Codification.CLAIR, code="0")),
            HEAD,
            Statut.MESSAGE,
            "Lignes 7 : code produit",
        ),
        (
            commande(*[replace(LINE, number=n, codification=Codification.SPECIALE) for n in range(1, 13)]),
            HEAD,
            Statut.MESSAGE,
            "Lignes 1, 2, 3, 4, 5, 6, 7, 8 et 4 autres",
        ),
        (
            commande(replace(LINE, code="3400937318045"), replace(LINE, number=2, code="3731804")),
            HEAD,
            Statut.MESSAGE,
            "Lignes 1, 2 : code produit",
        ),
        (commande(replace(LINE, code="3000000263068")), HEAD, Statut.MESSAGE, "3400 ou 3401"),
    ],
)
def test_what_is_not_taken_is_answered_in_words(
    content: Content, head: EnvelopeHead, status: Statut, words: str
) -> None:
    asked = Asked()
    found, detail = refusal(ask(asked, content, head))
    assert (found, words in detail) == (status, True), detail
    assert not asked.accepted


def test_a_reference_used_for_another_order_is_refused_and_says_that_it_was_not_taken() -> None:
    status, detail = refusal(ask(Asked(error=Conflict(str(ID))), commande()))
    assert (status, "n'est pas prise en compte" in detail) == (Statut.REUSED, True)


def test_an_order_that_is_not_known_to_be_safe_is_no_answer_at_all() -> None:
    with pytest.raises(JournalDown):
        ask(Asked(error=JournalDown("away")), commande())


def test_what_is_no_message_at_all_is_told_so_in_an_envelope() -> None:
    body, media_type, _ = asyncio.run(answer(b"<x/>", Asked().counter(), content_type="text/xml; charset=latin1"))
    reply = decode(body, "ISO-8859-1")
    assert media_type == "text/xml; charset=ISO-8859-1"
    assert isinstance(reply.content, EnvelopeErreur)
    assert "CSRP_ENVELOPPE" in reply.content.description
    assert (reply.head.nature, reply.head.answers) == (Nature.REP_EMISSION, None)
    body, media_type, _ = asyncio.run(answer(b"<?xml version='1.0' encoding='x-none'?><x/>", Asked().counter()))
    assert media_type == "text/xml; charset=UTF-8"


def test_a_large_message_is_answered_as_a_small_one() -> None:
    lines = [replace(LINE, number=n + 1, code=ATENOLOL) for n in range(MOST_LINES)]
    asked = Asked()
    assert ask(asked, commande(*lines)).content is Action.FIN_SERVICE
    assert asked.accepted[0][0].lines[0].quantity == 2 * MOST_LINES


def test_lines_of_one_product_become_one_and_are_told_apart_in_the_reply() -> None:
    order, origin = to_order(
        HEAD,
        commande(
            LigneCommande(10, Codification.CIP39, "3731804", 2),
            LigneCommande(20, Codification.EAN13, INDAPAMIDE, 5),
            LigneCommande(30, Codification.EAN13, ATENOLOL, 3),
        ),
    )
    assert [(line.product, line.quantity) for line in order.lines] == [(ATENOLOL, 5), (INDAPAMIDE, 5)]
    accepted = [
        {"line": 1, "product": ATENOLOL, "accepted": 4, "reason": "0005 Manque rayon"},
        {"line": 2, "product": INDAPAMIDE, "accepted": 5, "reason": None},
    ]
    reply = reply_to(Deposited(ID, "C1", State.DELIVERED, origin, accepted, "ERP-77"), P, ("12", "04"))
    assert reply == RepCommande(
        P,
        ("12", "04"),
        "C1",
        (
            ReplyLine(1, 10, Codification.CIP39, "3731804", 2),
            ReplyLine(2, 20, Codification.EAN13, INDAPAMIDE, 5),
            ReplyLine(3, 30, Codification.EAN13, ATENOLOL, 2, Shortage(5, "Manque rayon")),
        ),
        "ERP-77",
    )


@pytest.mark.parametrize(
    ("reason", "shortage"),
    [
        ("0004", Shortage(4, "Motif non précisé")),
        ("2 boxes left", Shortage(1000, "2 boxes left")),
        ("0008 unknown", Shortage(1000, "0008 unknown")),
        (None, Shortage(1000, "Motif non précisé")),
        ("\ufffe", Shortage(1000, "Motif non précisé")),
        ("x" * 60, Shortage(1000, "x" * 49 + "\u2026")),
    ],
)
def test_why_a_line_is_short(reason: str | None, shortage: Shortage) -> None:
    _, origin = to_order(HEAD, commande())
    accepted = [{"line": 1, "product": ATENOLOL, "accepted": 0, "reason": reason}]
    reply = reply_to(Deposited(ID, "C1", State.DELIVERED, origin, accepted, "no token: a b"), P, ("12", "04"))
    assert (reply.lines[0].delivered, reply.lines[0].shortage, reply.own) == (0, shortage, None)


def test_what_is_delivered_in_its_place_and_what_comes_later_is_told() -> None:
    """Of five boxes two of another product now and two on the 22nd: the pharmacy's first line is served first."""
    lines = [replace(LINE, number=n, code=ATENOLOL, quantity=boxes) for n, boxes in ((10, 1), (20, 2), (30, 2))]
    _, origin = to_order(HEAD, commande(*lines))
    told = {"line": 1, "product": ATENOLOL, "accepted": 2, "reason": "0005 Manque rayon", "substitute": INDAPAMIDE}
    later = {"back_ordered": 2, "expected": "2026-01-22"}
    reply = reply_to(Deposited(ID, "C1", State.DELIVERED, origin, [{**told, **later}], "E1"), P, ("12", "04"))
    other, day = Replacement(TypeRemplacement.EL, Codification.EAN13, INDAPAMIDE), date(2026, 1, 22)
    assert [(line.delivered, line.comment, line.shortage) for line in reply.lines] == [
        (0, f"1 x {INDAPAMIDE} à la place", Shortage(5, "Manque rayon", Awaited(None, day), other)),
        (0, f"1 x {INDAPAMIDE} à la place", Shortage(5, "Manque rayon", Awaited(1, day), other)),
        (0, None, Shortage(5, "Manque rayon", Awaited(1, day))),
    ]


@pytest.mark.parametrize(
    ("said", "shortage"),
    [
        ({"accepted": 1, "back_ordered": 1}, Shortage(1000, "En reliquat", Awaited(1, None))),
        (
            {"accepted": 0, "expected": "2026-01-22"},
            Shortage(1000, "Motif non précisé", Awaited(None, date(2026, 1, 22))),
        ),
        (
            {"accepted": 2, "substitute": "3861547"},
            Shortage(1000, "Produit remplacé", None, Replacement(TypeRemplacement.EL, Codification.CIP39, "3861547")),
        ),
        (
            {"accepted": 2, "substitute": "A-12"},
            Shortage(1000, "Produit remplacé", None, Replacement(TypeRemplacement.EL, Codification.SPECIALE, "A-12")),
        ),
        ({"accepted": 2, "substitute": "9" * 21}, Shortage(1000, "Produit remplacé")),
        ({"accepted": 2, "expected": "2026-01-22"}, None),
    ],
)
def test_a_line_that_is_not_as_ordered_says_how(said: dict[str, Any], shortage: Shortage | None) -> None:
    _, origin = to_order(HEAD, commande(replace(LINE, code=ATENOLOL, quantity=2)))
    accepted = [{"line": 1, "product": ATENOLOL, **said}]
    reply = reply_to(Deposited(ID, "C1", State.DELIVERED, origin, accepted, "E1"), P, ("12", "04"))
    assert reply.lines[0].shortage == shortage
    assert decode(encode(Envelope(HEAD, reply), "UTF-8"), "UTF-8").content == reply


def test_comments_and_the_wanted_day_go_into_the_note_within_its_bounds() -> None:
    def note(*lines: LigneCommande, **more: Any) -> str | None:
        return to_order(HEAD, commande(*lines, **more))[0].note

    told = commande(
        replace(LINE, comment="pour \x80 5\tet\x81"),
        comment="l\x92\u0153il",
        delivery_comment=" ",
        delivery=date(2026, 1, 6),
    )
    assert (
        to_order(HEAD, told)[0].note == "Date_livraison 2026-01-06\nl\u2019\u0153il\nLigne 1 : pour \u20ac 5 et\ufffd"
    )
    long = note(comment="a" * 255, delivery_comment="b" * 255)
    assert long is not None
    assert (len(long), long[-7:]) == (500, "b [...]")


WORD = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20).filter(str.isprintable)
COMMENT = st.none() | st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\x7f\x80\x81\x92"), max_size=300
)
QUANTITY = st.integers(1, 5) | st.integers(1, 999_999_999)
CODE = st.sampled_from([ATENOLOL, INDAPAMIDE, "3731804"]) | WORD
LINES = st.lists(
    st.builds(replace, st.just(LINE), code=CODE, quantity=QUANTITY, comment=COMMENT), min_size=1, max_size=4
)


COMMANDES = st.builds(
    Commande, st.just(P), st.just(("12", "04")), WORD, LINES.map(tuple), st.none() | st.dates(), COMMENT, COMMENT
)


@given(COMMANDES)
def test_whatever_can_be_written_is_an_order_or_refused(told: Commande) -> None:
    try:
        order, origin = to_order(HEAD, told)
    except NotUnderstood as error:
        assert error.status is Statut.MESSAGE
    else:
        assert parse(canonical(order)) == order
        assert sum(line.quantity for line in order.lines) == sum(line[3] for line in origin["lines"])


def test_the_deposit_is_emptied_reply_by_reply() -> None:
    _, origin = to_order(HEAD, commande())
    other = UUID(int=ID.int + 1)
    asked = Asked(
        deposit=[
            Deposited(ID, "C1", State.DELIVERED, origin, [{"line": 1, "accepted": 2, "reason": None}], "E1"),
            Deposited(other, "C2", State.CANCELLED, origin),
        ]
    )
    first = again = ask(asked, Action.VIDAGE, FETCH)
    again = ask(asked, Action.VIDAGE, FETCH)
    assert first == again
    assert (first.head.nature, first.head.answers) == (Nature.REP_RECEPTION, "V1")
    assert first.head.reference == message_reference(ID)
    assert isinstance(first.content, RepCommande)
    assert (first.content.reference, first.content.lines[0].delivered) == ("C1", 2)
    thanks = replace(FETCH, reference="A1", answers=first.head.reference)
    second = ask(asked, Action.ACQUITTEMENT, thanks)
    assert isinstance(second.content, RepCommande)
    assert (second.content.reference, second.content.lines[0].delivered) == ("C2", 0)
    assert second.content.lines[0].shortage == Shortage(1000, "Commande annulée par l'officine")
    assert isinstance(ask(asked, Action.ACQUITTEMENT, thanks).content, RepCommande)  # again: nothing else goes
    last = ask(asked, Action.ACQUITTEMENT, replace(thanks, answers=second.head.reference))
    assert (last.content, last.head.nature) == (Action.FIN_SERVICE, Nature.REP_RECEPTION)
    assert ask(asked, Action.VIDAGE, FETCH).content is Action.FIN_SERVICE
    assert ask(asked, Action.ACQUITTEMENT, replace(HEAD, answers="X")).content is Action.FIN_SERVICE


def header(body: bytes, pharmacy: str, key: str) -> str:
    return b64encode(md5(body + (pharmacy + "0" * 16)[:16].encode() + key.encode()).digest()).decode()


def test_the_control_header_is_asked_of_those_who_have_a_key() -> None:
    raw = encode(Envelope(HEAD, commande()), "UTF-8")

    def tried(given: str | None) -> Envelope:
        counter = asked.counter(keys={P: "ShFD"})
        return decode(asyncio.run(answer(raw, counter, control=given))[0], "UTF-8")

    asked = Asked()
    for sent, words in [
        (None, "absent"),
        ("", "invalide"),
        (header(raw, P, "shfd"), "invalide"),
        ("é\ud800", "invalide"),
    ]:
        status, detail = refusal(tried(sent))
        assert (status, words in detail) == (Statut.CONTROL, True)
    assert not asked.accepted
    assert tried(f" {header(raw, P, 'ShFD')} ").content is Action.FIN_SERVICE


def test_the_control_covers_the_body_the_padded_id_and_the_key() -> None:
    check(b"", "0999908", None, {})
    for body, pharmacy, padded in [(b"<X/>", "0999908", "0999908000000000"), (b"", "A" * 19, "A" * 16)]:
        right = b64encode(md5(body + padded.encode() + b"4083").digest()).decode()
        check(body, pharmacy, right, {pharmacy: "4083"})
        with pytest.raises(NotUnderstood):
            check(body + b" ", pharmacy, right, {pharmacy: "4083"})


def test_keys_are_loaded_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "keys.csv"
    path.write_text(f"pharmacy;key\n{P};ShFD\nB2;a#9é\n", encoding="utf-8")
    with pytest.raises(BadList, match="line 3, key"):
        load_keys(path)
    path.write_text(f"pharmacy,key\n{P},ShFD\nB2,4083\n")
    assert load_keys(path) == {P: "ShFD", "B2": "4083"}
    path.write_text(f"pharmacy,key\n{P},ShFD\n{P},4083\n")
    with pytest.raises(BadList, match="listed twice") as refused:
        load_keys(path)
    assert "4083" not in str(refused.value)


def test_the_exchange_in_the_docs_is_what_is_read_and_answered() -> None:
    """Each message is fed in as printed; the answers are those printed, but for what is made at the moment."""
    paper = (ROOT / "docs" / "pharmaml.md").read_text(encoding="utf-8")
    question, received, fetch, reply, thanks = (
        found.partition("```")[0].encode() for found in paper.split("```xml\n")[1:]
    )
    asked = Asked()

    def tried(raw: bytes) -> Envelope:
        return decode(asyncio.run(answer(raw, asked.counter()))[0], "UTF-8")

    def printed(raw: bytes, made: Envelope, *, same_reference: bool) -> Envelope:
        shown = decode(raw, "UTF-8")
        reference = shown.head.reference if same_reference else made.head.reference
        return replace(shown, head=replace(shown.head, date=made.head.date, reference=reference))

    found = tried(question)
    assert found == printed(received, found, same_reference=False)
    ((order, origin),) = asked.accepted
    accepted = [
        {"line": 1, "product": ATENOLOL, "accepted": 2, "reason": None},
        {"line": 2, "product": INDAPAMIDE, "accepted": 0, "reason": "0005 Manque rayon"},
    ]
    asked.deposit = [Deposited(ID, order.reference, State.DELIVERED, origin, accepted, "C-0042")]
    found = tried(fetch)
    assert found == printed(reply, found, same_reference=True)
    assert tried(thanks).content is Action.FIN_SERVICE


NAMES = 3_000


def test_a_long_message_is_read_and_written_a_piece_a_turn_and_an_erreur_says_that_it_refuses() -> None:
    turns = []

    @asynccontextmanager
    async def turn() -> AsyncIterator[None]:
        turns.append(1)
        yield

    many = commande(*(replace(LINE, number=n) for n in range(1, 1_001)))
    raw = encode(Envelope(HEAD, many), "UTF-8")
    counter = Asked().counter(turn=turn)

    reading, ordering = sum(1 for _ in decoding.decode(raw, "UTF-8")), sum(1 for _ in mapping.to_order(HEAD, many))
    assert (reading, ordering) == (-(-len(raw) // SLICE) + 1_000 // AT_ONCE, 1_000 // AT_ONCE + 1)
    assert asyncio.run(answer(raw, counter)).refused is False
    assert len(turns) == reading + ordering + 2 - 2 * SOON
    turns.clear()
    assert asyncio.run(answer(b"<x/>", counter)).refused is True
    assert turns == []
    lines = [[n, "EAN13", "3400937318044", 1, 1] for n in range(1, 1_001)]
    asked = Asked(deposit=[Deposited(ID, "C1", State.CANCELLED, {"lines": lines})])
    fetch = encode(Envelope(replace(HEAD, nature=Nature.REQ_RECEPTION), Action.VIDAGE), "UTF-8")
    assert len(asyncio.run(answer(fetch, asked.counter(turn=turn))).body) > 100_000
    assert len(turns) == 1_000 // AT_ONCE + 1 - SOON


UNKNOWN = {
    "a name an element": lambda seen: b"<a>" + b"".join(b"<n%dx%d/>" % (seen, each) for each in range(NAMES)) + b"</a>",
    "attributes": lambda seen: b"<a" + b"".join(b' n%dx%d="u"' % (seen, each) for each in range(NAMES)) + b"/>",
    "prefixes": lambda seen: b"<a" + b"".join(b' xmlns:n%dx%d="u"' % (seen, each) for each in range(NAMES)) + b"/>",
    "malformed": lambda seen: b"<n%d>" % seen,
    "no envelope": lambda seen: b"<n%d/>" % seen,
    "an order": lambda seen: encode(Envelope(replace(HEAD, reference=f"M{seen}"), commande(LINE)), "UTF-8"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_nothing_of_a_message_stays_after_its_answer_not_even_until_the_garbage_collector_comes(kind: str) -> None:
    """An intake collects seldom: names that were never seen before took 300 MiB of it in between."""

    async def main() -> None:
        for seen in range(100):
            if seen == 20:
                tracemalloc.start()
            await answer(UNKNOWN[kind](seen), Asked().counter())

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert kept < 40_000  # bytes, after 80 messages
