"""PharmaML on the wire: what is written is read back, and nothing that comes breaks the reader."""

from datetime import date, datetime
from functools import partial
from typing import Any
from xml.etree.ElementTree import XMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.pharmaml import decoding, safe_xml
from orders.pharmaml.messages import (
    ENVELOPE,
    MESSAGE,
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
from orders.pharmaml.pieces import AT_ONCE
from tests.orders.pharmaml.pieces import decode, encode, read

HEAD = EnvelopeHead(
    Nature.REQ_EMISSION,
    Partner("OF", "00", "990000002", "Pharmacie é"),
    Partner("RE", "12", "04", "R"),
    "M1",
    date=datetime(2026, 1, 5, 12, 30),
)
ORDER = Commande("990000002", ("12", "04"), "CMD-1", (LigneCommande(1, Codification.EAN13, "3400937318044", 2),))
RAW = encode(Envelope(HEAD, ORDER), "UTF-8")

XML_TEXT = st.characters(
    exclude_categories=["Cs", "Cc"], include_characters="\t\n\r\x80", exclude_characters="\ufffe\uffff"
)
TEXT = st.text(XML_TEXT, max_size=40)
WORD = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20).filter(str.isprintable)
SHORT = st.sampled_from(["00", "12", "RE"])
MOMENT = st.datetimes(datetime(1900, 1, 1), datetime(2999, 1, 1)).map(lambda at: at.replace(microsecond=0))
NUMBER = st.integers(1, 999_999_999)
CODIFICATION = st.sampled_from(Codification)
PARTNER = st.builds(Partner, st.sampled_from(["OF", "RE"]), SHORT, WORD, TEXT)
HEADS = st.builds(
    EnvelopeHead,
    st.sampled_from(Nature),
    PARTNER,
    PARTNER,
    WORD,
    st.none() | WORD,
    st.none() | MOMENT,
    TEXT,
    TEXT,
    st.sampled_from(["P", "T"]),
)
OPTIONAL = st.none() | TEXT
LINE = st.builds(
    LigneCommande, NUMBER, CODIFICATION, WORD, NUMBER, OPTIONAL, OPTIONAL, st.booleans(), st.booleans(), st.booleans()
)
REPLY_LINE = st.builds(
    ReplyLine,
    NUMBER,
    NUMBER,
    CODIFICATION,
    WORD,
    st.integers(0, 99_999),
    st.none()
    | st.builds(
        Shortage,
        st.integers(1, 9999),
        TEXT,
        st.none() | st.builds(Awaited, st.none() | NUMBER, st.none() | st.dates()),
        st.none() | st.builds(Replacement, st.sampled_from(TypeRemplacement), CODIFICATION, WORD),
    ),
    OPTIONAL,
)
CONTENTS: st.SearchStrategy[Content] = st.one_of(
    st.sampled_from(Action),
    st.builds(EnvelopeErreur, TEXT),
    st.builds(Erreur, WORD, st.tuples(SHORT, WORD), st.integers(1, 9999), TEXT),
    st.builds(
        Commande,
        WORD,
        st.tuples(SHORT, WORD),
        WORD,
        st.lists(LINE, min_size=1, max_size=4).map(tuple),
        st.none() | st.dates(),
        OPTIONAL,
        OPTIONAL,
        st.none() | MOMENT,
    ),
    st.builds(
        RepCommande,
        WORD,
        st.tuples(SHORT, WORD),
        WORD,
        st.lists(REPLY_LINE, min_size=1, max_size=4).map(tuple),
        st.none() | WORD,
        st.none() | MOMENT,
    ),
)


@given(st.builds(Envelope, HEADS, CONTENTS), st.sampled_from(["UTF-8", "ISO-8859-1"]))
def test_what_is_written_is_read_back(envelope: Envelope, encoding: str) -> None:
    raw = encode(envelope, encoding)
    assert safe_xml.encoding_of(raw, None) == encoding
    assert decode(raw, encoding) == envelope


def tried(raw: bytes, content_type: str | None = None) -> Envelope | NotUnderstood:
    try:
        return decode(raw, safe_xml.encoding_of(raw, content_type))
    except NotUnderstood as error:
        return error


@given(st.binary(max_size=300), OPTIONAL)
def test_any_bytes_are_read_or_refused(raw: bytes, content_type: str | None) -> None:
    assert isinstance(tried(raw, content_type), NotUnderstood)


@given(st.integers(0, len(RAW)), st.integers(0, 80), st.binary(max_size=20), st.sampled_from(["UTF-8", "ISO-8859-1"]))
def test_a_message_that_was_tampered_with_is_read_or_refused(at: int, gone: int, put: bytes, encoding: str) -> None:
    raw = encode(Envelope(HEAD, ORDER), encoding)
    found = tried(raw[:at] + put + raw[at + gone :])
    assert isinstance(found, Envelope | NotUnderstood)
    if isinstance(found, NotUnderstood):
        assert 1 <= len(found.detail) <= 128


ELEMENTS = st.sampled_from(
    [
        "ENTETE",
        "EMETTEUR",
        "RECEPTEUR",
        "REF_MESSAGE",
        "DATE",
        "CORPS",
        "ACTION",
        "ERREUR",
        "MESSAGE_OFFICINE",
        "COMMANDE",
        "NORMALE",
        "SPECIALE",
        "LIGNE_N",
        "DESTINATAIRE",
        "INDISPONIBILITE_N",
        "INFOS_DISPO",
        "PRODUIT_REMPLACANT",
        "REP_COMMANDE",
    ]
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["Id", "Id_Client", "Num_Ligne", "Quantite", "Code_Produit", "Date_livraison", "Partielle"]),
    st.sampled_from(["", "1", "0", "x", " 7 ", "-1", "2026-13-01", "9" * 40, "\u0661", "true"]),
    max_size=3,
)


def element(name: str, namespace: str, attributes: dict[str, str], inside: list[str]) -> str:
    written = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<{name} xmlns="{namespace}"{written}>{"".join(inside)}</{name}>'


TREES: st.SearchStrategy[str] = st.recursive(
    st.sampled_from(["", "VIDAGE", "x"]),
    lambda inner: st.builds(
        element, ELEMENTS, st.sampled_from([ENVELOPE, MESSAGE]), ATTRIBUTES, st.lists(inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.lists(TREES, max_size=3))
def test_the_protocol_s_words_in_any_disorder_are_refused(inside: list[str]) -> None:
    root = f'<CSRP_ENVELOPPE xmlns="{ENVELOPE}" Nature_Action="REQ_EMISSION" Version_Protocole="1.0.0.0">'
    assert isinstance(tried((root + "".join(inside) + "</CSRP_ENVELOPPE>").encode()), Envelope | NotUnderstood)


BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "&%c;&%c;&%c;&%c;&%c;&%c;">' % (c, *[c - 1] * 6) for c in range(98, 120))
    + b"]>"
)
CHANGE = partial(RAW.replace)


@pytest.mark.parametrize(
    ("raw", "status", "words"),
    [
        (BOMB + b"<x>&w;</x>", Statut.ENVELOPE, "DOCTYPE"),
        (b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><x/>', Statut.ENVELOPE, "DOCTYPE"),
        (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>', Statut.ENVELOPE, "DOCTYPE"),
        (b"<x>&a;</x>", Statut.ENVELOPE, "XML mal formé"),
        (b"<a>" * 33, Statut.ENVELOPE, "32 niveaux"),
        (b"<a " + b" ".join(b'b%d=""' % n for n in range(40)) + b"/>", Statut.ENVELOPE, "attributs"),
        (b"<a " + b" ".join(b'b%d=""' % n for n in range(80_000)) + b"/>", Statut.ENVELOPE, "Trop de noms"),
        (b"<a>" + b"".join(b"<b%d/>" % n for n in range(300)) + b"</a>", Statut.ENVELOPE, "256 noms"),
        (b"<a>" + b"<b/>" * 20_000 + b"</a>", Statut.ENVELOPE, "12000 éléments"),
        (b"<a>" + b" " * safe_xml.MOST_BYTES + b"</a>", Statut.ENVELOPE, "octets"),
        (b'<a x:b="1"/>', Statut.ENVELOPE, "XML mal formé (ligne 1)"),
        (b"", Statut.ENVELOPE, "XML mal formé"),
        (CHANGE(b"UTF-8", b"UTF-16"), Statut.ENVELOPE, "UTF-16"),
        (RAW.decode().encode("utf-16"), Statut.ENVELOPE, "UTF-8"),
        (CHANGE("é".encode(), b"\xe9"), Statut.ENVELOPE, "n'est pas en UTF-8"),
        (CHANGE(b"CSRP_ENVELOPPE", b"SRP_ENVELOPPE"), Statut.VERSION, "CSRP_ENVELOPPE 1.0.0.0 attendue"),
        (CHANGE(b'Version_Protocole="1.', b'Version_Protocole="4.'), Statut.VERSION, "1.0.0.0"),
        (CHANGE(ENVELOPE.encode(), b"urn:other"), Statut.ENVELOPE, "espace de noms"),
        (CHANGE(MESSAGE.encode(), b"urn:other"), Statut.MESSAGE, "espace de noms"),
        (CHANGE(b"<REF_MESSAGE>M1</REF_MESSAGE>", b""), Statut.ENVELOPE, "REF_MESSAGE manque"),
        (CHANGE(b"</REF_MESSAGE>", b"</REF_MESSAGE><REF_MESSAGE>M2</REF_MESSAGE>"), Statut.ENVELOPE, "deux fois"),
        (CHANGE(b"REQ_EMISSION", b"REQ_INFORMATION"), Statut.ENVELOPE, "Nature_Action"),
        (CHANGE(b"NORMALE", b"SPECIALE"), Statut.SERVICE, "SPECIALE"),
        (CHANGE(b"<NORMALE>", b"<AUTRE/><NORMALE>"), Statut.MESSAGE, "rien d'autre"),
        (CHANGE(b"COMMANDE", b"REQ_INFO_PRODUIT"), Statut.SERVICE, "seules les commandes"),
        (CHANGE(b'Quantite="0002"', b'Quantite="0"'), Statut.MESSAGE, "Ligne 1 : Quantite"),
        (CHANGE(b'Quantite="0002"', b'Quantite="2.5"'), Statut.MESSAGE, "Ligne 1 : Quantite"),
        (CHANGE(b'Quantite="0002"', b""), Statut.MESSAGE, "Ligne 1 : Quantite"),
        (CHANGE(b"EAN13", b"EAN14"), Statut.MESSAGE, "Ligne 1 : Type_Codification"),
        (CHANGE(b'Partielle="true"', b'Partielle="oui"'), Statut.MESSAGE, "Ligne 1 : Partielle"),
        (CHANGE(b'="CMD-1"', b'="CMD-1" Date_livraison="2026-02-30"'), Statut.MESSAGE, "Date_livraison"),
        (CHANGE(b'="CMD-1"', b'="' + b"1" * 21 + b'"'), Statut.MESSAGE, "Ref_Cde_Client"),
    ],
)
def test_what_cannot_be_acted_on_is_refused_in_words(raw: bytes, status: Statut, words: str) -> None:
    found = tried(raw)
    assert isinstance(found, NotUnderstood)
    assert (found.status, words in found.detail) == (status, True), found.detail


def test_a_refused_message_s_head_is_known_once_it_was_read() -> None:
    found = tried(CHANGE(b"NORMALE", b"PACKAGE"))
    assert isinstance(found, NotUnderstood)
    assert found.head == HEAD


@pytest.mark.parametrize(
    ("raw", "content_type", "encoding"),
    [
        (b"<a/>", None, "UTF-8"),
        (b"<a/>", "text/xml", "UTF-8"),
        (b"<a/>", 'text/xml; charset="iso-8859-1"', "ISO-8859-1"),
        (b'<?xml version="1.0" encoding="latin1"?><a/>', "text/xml; charset=utf-8", "ISO-8859-1"),
        (b"<?xml version='1.0' encoding='utf8' standalone='yes'?><a/>", "text/xml; charset=latin1", "UTF-8"),
        (b'\xef\xbb\xbf<?xml version="1.0" encoding="ISO-8859-1"?><a/>', None, "UTF-8"),
        (b'<?xml version="1.0" encoding="US-ASCII"?><a/>', None, "UTF-8"),
    ],
)
def test_the_encoding_is_what_the_document_says(raw: bytes, content_type: str | None, encoding: str) -> None:
    assert safe_xml.encoding_of(raw, content_type) == encoding
    assert read(raw, encoding).tag == "a"


def order_with(**attributes: Any) -> Commande:
    raw = CHANGE(b'Quantite="0002"', " ".join(f'{key}="{value}"' for key, value in attributes.items()).encode())
    raw = raw.replace(b' Partielle="true" Reliquat="false" Equivalent="false"', b"")
    content = decode(raw, "UTF-8").content
    assert isinstance(content, Commande)
    return content


def test_what_a_line_leaves_out_is_what_the_schema_says() -> None:
    (line,) = order_with(Quantite="0002").lines
    assert (line.quantity, line.partial, line.backorder, line.equivalent) == (2, True, False, False)
    (line,) = order_with(Quantite=" +7 ", Partielle="0", Reliquat="1", Equivalent="true").lines
    assert (line.quantity, line.partial, line.backorder, line.equivalent) == (7, False, True, True)


def test_a_message_in_another_prefix_with_a_comment_and_blanks_is_the_same_message() -> None:
    raw = CHANGE(b"<CSRP_ENVELOPPE xmlns", b"<e:CSRP_ENVELOPPE xmlns:e").replace(b"</CSRP", b"</e:CSRP")
    for name in (b"ENTETE", b"CORPS"):  # the first and the last are the envelope's
        raw = raw.replace(b"<" + name, b"<e:" + name, 1)
        raw = (b"</e:" + name).join(raw.rsplit(b"</" + name, 1)) if name == b"CORPS" else raw
    raw = raw.replace(b"</ENTETE>", b"</e:ENTETE>", 1)
    for name in (b"EMETTEUR", b"RECEPTEUR", b"REF_MESSAGE", b"DATE"):
        raw = raw.replace(b"<" + name, b"<e:" + name, 1).replace(b"</" + name, b"</e:" + name, 1)
    raw = raw.replace(b">M1<", b">\n  M1 <!-- ours --><").replace(b"<LIGNE_N", b"<?x y?>\n<LIGNE_N")
    assert decode(raw, "UTF-8") == Envelope(HEAD, ORDER)


def test_dates_decide_nothing_and_one_that_makes_no_sense_is_none() -> None:
    for written in (b"2026-01-05T12:30:00Z", b"2026-02-30T12:30:00", b"hier"):
        assert decode(CHANGE(b"2026-01-05T12:30:00", written), "UTF-8").head.date is None


def test_a_long_order_is_read_whole() -> None:
    lines = tuple(LigneCommande(number, Codification.CIP39, "3731804", 1) for number in range(1, 4_001))
    envelope = Envelope(HEAD, Commande("990000002", ("12", "04"), "C", lines, date(2026, 1, 6)))
    assert decode(encode(envelope, "ISO-8859-1"), "ISO-8859-1") == envelope


def test_what_follows_a_reason_to_refuse_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []

    class Counting(XMLParser):
        def feed(self, data: str, /) -> None:  # type: ignore[override]
            fed.append(len(data))
            super().feed(data)

    monkeypatch.setattr(safe_xml, "XMLParser", Counting)
    with pytest.raises(NotUnderstood, match="256 noms"):
        read(b"<a>" + b"".join(b"<n%06d%b/>" % (n, b"x" * 70) for n in range(9_000)) + b"</a>", "UTF-8")
    assert sum(fed) == 6 * safe_xml.SLICE  # in the sixth is the 257th name
    fed.clear()
    lines = "<l q='é'>€</l>" * 10_000
    assert len(read(f"<a>{lines}</a>".encode(), "UTF-8")) == 10_000
    assert sum(fed) == len(lines) + 7
    assert max(fed) == safe_xml.SLICE


def test_a_message_is_read_in_pieces_between_which_others_have_their_turn() -> None:
    lines = tuple(LigneCommande(number, Codification.CIP39, "3731804", 1) for number in range(1, 2_001))
    raw = encode(Envelope(HEAD, Commande("990000002", ("12", "04"), "C", lines)), "UTF-8")
    pieces = sum(1 for _ in decoding.decode(raw, "UTF-8"))
    assert pieces == -(-len(raw) // safe_xml.SLICE) + 2_000 // AT_ONCE


@pytest.mark.parametrize("before", [0, 1, 4_090, 4_095])
@pytest.mark.parametrize(("length", "refused"), [(16_383, False), (16_384, True), (50_000, True)])
def test_a_tag_is_measured_wherever_it_stands_among_the_pieces(before: int, length: int, refused: bool) -> None:
    raw = b"<a>" + b" " * before + b'<b c="' + b"x" * (length - 7) + b'"/></a>'
    if refused:
        with pytest.raises(NotUnderstood, match="Trop de noms dans un élément"):
            read(raw, "UTF-8")
    else:
        assert len(read(raw, "UTF-8")) == 1
