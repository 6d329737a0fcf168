import hashlib
import json
import random
import time
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from orders.errors import Fault, Malformed
from orders.faults import MOST_FAULTS, Extent
from orders.identifiers import Family, family
from orders.model import EXAMPLE, MOST_LINES, Line, Order, canonical, digest, parse
from orders.rules.catalogue import demo_catalogue

CODES = [*list(demo_catalogue())[:200], "3400890000017", "3401097617718"]
PLAIN = {"pharmacy": "OFF-1", "reference": "R1", "lines": [{"product": "3400937318044", "quantity": 2}]}

instants = st.datetimes(datetime(2000, 1, 2), datetime(2999, 12, 30), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=0)
)
notes = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\t\n\r"), max_size=500)
references = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=64)
lines = st.builds(Line, product=st.sampled_from(CODES), quantity=st.integers(1, 99_999))
orders = st.builds(
    Order,
    pharmacy=st.from_regex(r"[A-Za-z0-9._-]{1,32}", fullmatch=True),
    reference=references,
    lines=st.lists(lines, min_size=1, max_size=12, unique_by=lambda line: line.product),
    priority=st.sampled_from(["urgent", "normal"]),
    cut_off=st.none() | instants,
    valid_until=st.none() | instants,
    note=st.none() | notes,
)


def faults(raw: bytes | str | dict[str, Any]) -> list[Fault]:
    if isinstance(raw, dict):
        raw = json.dumps(raw)
    with pytest.raises(Malformed) as caught:
        parse(raw if isinstance(raw, bytes) else raw.encode())
    return caught.value.faults


def plain(order: Order) -> dict[str, Any]:
    return json.loads(canonical(order))


def reference_writing(value: Any) -> bytes:
    """RFC 8785 for what an order can hold (no fractions, ASCII keys), by another writer than pydantic's."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@given(orders)
def test_canonical_bytes_come_back_as_the_same_order(order: Order) -> None:
    body = canonical(order)
    assert parse(body) == order
    assert Order.model_validate_json(body) == order
    assert canonical(parse(body)) == body
    assert digest(body) == hashlib.sha256(body).digest()


@given(orders)
def test_canonical_bytes_are_rfc_8785(order: Order) -> None:
    assert canonical(order) == reference_writing(plain(order))


def test_canonical_form_to_the_byte() -> None:
    order = parse(
        b"""{ "valid_until": "2026-01-02T00:00:00.999+01:00", "reference": "N\\u00b0 7", "pharmacy": "2A0000014",
             "note": "\\u0022\\/\\\\ \\t\\n\\r \\u20ac\\ud83d\\ude00 \\u2028", "cut_off": null,
             "lines": [ {"quantity": 2, "product": "3731804"} ] }"""
    )
    assert (
        canonical(order)
        == (
            '{"lines":[{"product":"3400937318044","quantity":2}],"note":"\\"/\\\\ \\t\\n\\r €😀 \u2028",'
            '"pharmacy":"2A0000014","priority":"normal","reference":"N° 7","valid_until":"2026-01-01T23:00:00Z"}'
        ).encode()
    )


def test_both_models_keep_their_fields_in_alphabetical_order() -> None:
    """What canonical() rests on."""
    for model in (Line, Order):
        assert list(model.model_fields) == sorted(model.model_fields)


def respell(order: Order, rng: random.Random) -> bytes:
    """The same order as another front end might write it."""
    value = plain(order)
    for line in value["lines"]:
        if family(line["product"]) is Family.CIP13 and rng.random() < 0.5:
            line["product"] = line["product"][5:12]
    for name in {"cut_off", "valid_until"} & value.keys():
        zone = timezone(timedelta(minutes=rng.randrange(-840, 840)))
        at = datetime.fromisoformat(value[name]).astimezone(zone)
        value[name] = at.replace(microsecond=rng.choice([0, 1, 999_999])).isoformat().replace("+00:00", "z")
    if value["priority"] == "normal" and rng.random() < 0.5:
        del value["priority"]
    value |= {name: None for name in ("note", "cut_off") if name not in value and rng.random() < 0.5}
    return json.dumps(shuffled(value, rng), ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 2])).encode()


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, list):
        return [shuffled(item, rng) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: shuffled(value[key], rng) for key in rng.sample(sorted(value), len(value))}


@given(orders, st.randoms(use_true_random=False))
def test_the_spelling_does_not_change_the_digest(order: Order, rng: random.Random) -> None:
    assert digest(canonical(parse(respell(order, rng)))) == digest(canonical(order))


@given(orders, st.data())
def test_other_content_has_another_digest(order: Order, data: st.DataObject) -> None:
    other = data.draw(orders)
    assert (digest(canonical(order)) == digest(canonical(other))) == (order == other)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"pharmacy": ""}, "pharmacy", "pattern"),
        ({"pharmacy": "a" * 33}, "pharmacy", "pattern"),
        ({"pharmacy": "OFF 1"}, "pharmacy", "pattern"),
        ({"pharmacy": "OFF-1\n"}, "pharmacy", "pattern"),
        ({"pharmacy": "é"}, "pharmacy", "pattern"),
        ({"pharmacy": 750712184}, "pharmacy", "valid string"),
        ({"pharmacy": None}, "pharmacy", "valid string"),
        ({"reference": ""}, "reference", "at least 1"),
        ({"reference": "r" * 65}, "reference", "at most 64"),
        ({"reference": "R\x00"}, "reference", "printable"),
        ({"reference": "R\n1"}, "reference", "printable"),
        ({"reference": "R\x7f"}, "reference", "printable"),
        ({"reference": "R\u202e1"}, "reference", "printable"),
        ({"reference": " R1"}, "reference", "spaces at either end"),
        ({"reference": " "}, "reference", "spaces at either end"),
        ({"reference": 7}, "reference", "valid string"),
        ({"priority": "high"}, "priority", "'urgent' or 'normal'"),
        ({"priority": "URGENT"}, "priority", "'urgent' or 'normal'"),
        ({"priority": 0}, "priority", "'urgent' or 'normal'"),
        ({"priority": None}, "priority", "'urgent' or 'normal'"),
        ({"note": "n" * 501}, "note", "at most 500"),
        ({"note": "a\x00b"}, "note", "control characters"),
        ({"note": "a\x1b[2Jb"}, "note", "control characters"),
        ({"note": "a\x85b"}, "note", "control characters"),
        ({"note": ["n"]}, "note", "valid string"),
        ({"cut_off": "2026-01-01T12:00:00"}, "cut_off", "must carry its zone"),
        ({"cut_off": "2026-01-01"}, "cut_off", "must be a time such as"),
        ({"cut_off": "2026-01-01T12:00Z"}, "cut_off", "must be a time such as"),
        ({"cut_off": "1767268800"}, "cut_off", "must be a time such as"),
        ({"cut_off": 1767268800}, "cut_off", "must be a time such as"),
        ({"cut_off": True}, "cut_off", "must be a time such as"),
        ({"cut_off": ""}, "cut_off", "must be a time such as"),
        ({"cut_off": "2026-01-01T12:00:00\u221201:00"}, "cut_off", "must be a time such as"),
        ({"cut_off": "2026-02-30T12:00:00Z"}, "cut_off", "must be a time such as"),
        ({"cut_off": "2026-01-01T25:00:00Z"}, "cut_off", "must be a time such as"),
        ({"cut_off": "2026-01-01T12:00:60Z"}, "cut_off", "must be a time such as"),
        ({"cut_off": "2026-01-01T12:00:00+24:00"}, "cut_off", "must be a time such as"),
        ({"cut_off": "2026-01-01 12:00:00Z"}, "cut_off", "must be a time such as"),
        ({"cut_off": "0001-01-01T00:00:00+23:00"}, "cut_off", "years 2000 to 2999"),
        ({"cut_off": "2000-01-01T00:00:00+00:01"}, "cut_off", "years 2000 to 2999"),
        ({"cut_off": "9999-12-31T23:59:59-23:00"}, "cut_off", "years 2000 to 2999"),
        ({"valid_until": "tomorrow"}, "valid_until", "must be a time such as"),
        ({"lines": []}, "lines", "at least one line"),
        ({"lines": PLAIN["lines"] * 2_001}, "lines", "at most 2000"),
        ({"lines": {}}, "lines", "valid array"),
        ({"lines": None}, "lines", "valid array"),
        ({"lines": "3731804"}, "lines", "valid array"),
        ({"colour": "red"}, "colour", "not permitted"),
        ({"Lines": []}, "Lines", "not permitted"),
        ({"k\x00": 1}, r"'k\x00'", "not permitted"),
        ({"k" * 99: 1}, "k" * 64, "not permitted"),
    ],
)
def test_each_fault_of_an_order(change: dict[str, Any], field: str, message: str) -> None:
    (fault,) = faults(PLAIN | change)
    assert (fault.field, fault.line) == (field, None)
    assert message in fault.message


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"product": ""}, "product", "must be 13 digits"),
        ({"product": "3400937318045"}, "product", "check digit is wrong"),
        ({"product": "4006381333931"}, "product", "must begin with 3400"),
        ({"product": 3400937318044}, "product", "valid string"),
        ({"product": None}, "product", "valid string"),
        ({"quantity": 0}, "quantity", "greater than or equal to 1"),
        ({"quantity": -1}, "quantity", "greater than or equal to 1"),
        ({"quantity": 100_000}, "quantity", "less than or equal to 99999"),
        ({"quantity": 10**30}, "quantity", "less than or equal to 99999"),
        ({"quantity": "2"}, "quantity", "valid integer"),
        ({"quantity": 1e22}, "quantity", "less than or equal to 99999"),
        ({"quantity": 2.5}, "quantity", "valid integer"),
        ({"quantity": float("nan")}, "quantity", "valid integer"),
        ({"quantity": True}, "quantity", "valid integer"),
        ({"quantity": None}, "quantity", "valid integer"),
        ({"price": 1}, "price", "not permitted"),
    ],
)
def test_each_fault_of_a_line(change: dict[str, Any], field: str, message: str) -> None:
    good, other = {"product": "3731804", "quantity": 1}, {"product": "3861547", "quantity": 1}
    (fault,) = faults(PLAIN | {"lines": [good, other, good | change]})
    assert (fault.field, fault.line) == (f"lines.3.{field}", 3)
    assert message in fault.message


def test_a_missing_field_is_named() -> None:
    assert [fault.field for fault in faults({})] == ["lines", "pharmacy", "reference"]
    assert [(fault.field, fault.line) for fault in faults(PLAIN | {"lines": [{}, 7]})] == [
        ("lines.1.product", 1),
        ("lines.1.quantity", 1),
        ("lines.2", 2),
    ]


def test_every_fault_is_named_at_once_and_no_value_is_repeated() -> None:
    secret = "Mme Dupont\x00"
    named = faults(
        {
            "pharmacy": secret,
            "reference": secret,
            "note": secret,
            "cut_off": secret,
            "priority": secret,
            "lines": [{"product": secret, "quantity": secret}, {"product": "3731804", "quantity": 0}],
            "extra": secret,
        }
    )
    assert [fault.field for fault in named] == [
        "cut_off",
        "lines.1.product",
        "lines.1.quantity",
        "lines.2.quantity",
        "note",
        "pharmacy",
        "priority",
        "reference",
        "extra",
    ]
    assert "Dupont" not in str(Malformed(named))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b'"order"',
        b"7",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"{}{}",
        b"{'a': 1}",
        b'{"note":"\xff"}',
        b'{"note":"\xed\xa0\x80"}',
        b'{"note":"\\ud800"}',
        b'{"note":"\x01"}',
        b'{"note":"a',
        b'{"lines":' + b"[" * 100_000,
        b'{"quantity":' + b"9" * 10_000 + b"}",
        '{"é":1}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_object_is_refused_as_a_whole(raw: bytes) -> None:
    (fault,) = faults(raw)
    assert (fault.field, fault.line) == ("body", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{%s,"reference":"R2"}', [("reference", None)]),
        ('{%s,"reference" : "R1"}', [("reference", None)]),
        ('{%s,"refer\\u0065nce":"R2"}', [("reference", None)]),
        ('{%s,"note":null,"note":null}', [("note", None)]),
        ('{%s,"note":"\\"","note":"a:\\"b"}', [("note", None)]),
        ('{%s,"note":{"a":[]},"note":"n"}', [("note", None)]),
        ('{%s,"lines":[{"product":"3731804","quantity":1}]}', [("lines", None)]),
    ],
)
def test_a_key_that_stands_twice_is_refused(text: str, expected: list[tuple[str, int | None]]) -> None:
    raw = text % json.dumps(PLAIN)[1:-1]
    assert Order.model_validate_json(raw)  # pydantic takes the last
    named = faults(raw)
    assert [(fault.field, fault.line) for fault in named] == expected
    assert "more than once" in named[0].message


def test_a_quantity_that_stands_twice_is_named_by_its_line() -> None:
    twice = '{"product":"3731804","quantity":1,"quantity":100,"product":"3861547"}'
    raw = json.dumps(PLAIN).replace("[", '[{"product":"3200805","quantity":1},' + twice + ",")
    assert [(fault.field, fault.line) for fault in faults(raw)] == [("lines.2.product", 2), ("lines.2.quantity", 2)]


def test_a_product_that_stands_twice_is_named_by_its_line_as_cip7_and_as_cip13() -> None:
    codes = ("3731804", "3861547", "3400937318044", "3731804")
    assert faults(PLAIN | {"lines": [{"product": code, "quantity": 1} for code in codes]}) == [
        Fault("lines.3.product", 3, "the same product as line 1"),
        Fault("lines.4.product", 4, "the same product as line 1"),
    ]
    many = faults(PLAIN | {"lines": [{"product": "3731804", "quantity": 1}] * 2_000})
    assert (len(many), many[-1].line) == (101, 102)


@given(orders, st.randoms(use_true_random=False), st.data())
def test_a_repeated_key_is_found_wherever_it_stands(order: Order, rng: random.Random, data: st.DataObject) -> None:
    value = json.loads(respell(order, rng))
    at = data.draw(st.sampled_from([value, *value["lines"]]))
    key = data.draw(st.sampled_from(sorted(at)))
    marked = {"@@": at[key]} | at if rng.random() < 0.5 else at | {"@@": at[key]}
    whole = marked if at is value else value | {"lines": [marked if x is at else x for x in value["lines"]]}
    text = json.dumps(whole, ensure_ascii=rng.random() < 0.5, separators=rng.choice([(",", ":"), (" , ", " : ")]))
    named = faults(text.replace('"@@"', json.dumps(key)))
    assert {fault.field.rpartition(".")[2] for fault in named} == {key}


def test_an_order_can_be_made_in_python_too() -> None:
    paris = timezone(timedelta(hours=1))
    order = Order(
        pharmacy="OFF-1",
        reference="R1",
        lines=[Line(product="3731804", quantity=2)],
        cut_off=datetime(2026, 1, 1, 12, tzinfo=paris),
    )
    assert order.cut_off == datetime(2026, 1, 1, 11, tzinfo=UTC)
    assert order == parse(json.dumps(PLAIN | {"cut_off": "2026-01-01T11:00:00Z"}).encode())
    assert hash(order) == hash(parse(canonical(order)))
    with pytest.raises(ValidationError):
        order.reference = "R2"
    with pytest.raises(ValidationError):
        Order(pharmacy="OFF-1", reference="R\ud800", lines=order.lines)
    with pytest.raises(ValidationError):
        Order(pharmacy="OFF-1", reference="R1", lines=order.lines, cut_off=datetime(2026, 1, 1))


def test_the_note_is_not_shown_where_orders_are_printed() -> None:
    order = parse(json.dumps(PLAIN | {"note": "pour Mme Dupont"}).encode())
    assert "Dupont" not in repr(order) + str(order)


def test_the_schema_describes_what_is_taken() -> None:
    schema = Order.model_json_schema()
    taken = Draft202012Validator(schema)
    taken.validate(EXAMPLE)
    taken.validate(plain(parse(json.dumps(EXAMPLE).encode())))
    assert not taken.is_valid(PLAIN | {"lines": []})
    assert not taken.is_valid(PLAIN | {"extra": 1})
    assert not taken.is_valid(PLAIN | {"lines": [{"product": "4006381333931", "quantity": 1}]})
    described = [*schema["properties"].values(), *schema["$defs"]["Line"]["properties"].values()]
    assert all(part.get("description") for part in described)


@pytest.mark.parametrize("written", ["2.0", "2.000", "2e0", "0.2e1", "20e-1"])
def test_a_whole_number_is_one_however_it_is_written(written: str) -> None:
    """As JSON Schema has it, whose `integer` the OpenAPI document says."""
    raw = json.dumps(PLAIN | {"lines": [{"product": code, "quantity": 2} for code in ("3731804", "3861547")]})
    (other, _) = (raw.replace('"quantity": 2', f'"quantity": {written}', 1), raw)
    assert canonical(parse(other.encode())) == canonical(parse(raw.encode()))
    (fault,) = faults(other[:-1] + ', "note": "a", "note": "b"}')
    assert (fault.field, fault.message) == ("note", "stands more than once in one object")


MIB = 1024 * 1024


def filled(start: bytes, piece: bytes, end: bytes) -> bytes:
    return start + b",".join([piece] * ((MIB - len(start) - len(end)) // (len(piece) + 1))) + end


HOSTILE = {
    "empty lines": filled(b'{"lines":[', b"{}", b"]}"),
    "numbers": filled(b'{"lines":[', b"1", b"]}"),
    "arrays": filled(b'{"lines":[', b"[]", b"]}"),
    "repeated keys": filled(b"{", b'"note":"x"', b"}"),
    "unknown keys": b"{" + b",".join(b'"k%d":1' % n for n in range(4_000)) + b"}",
    "unknown keys of a line": b'{"lines":[{' + b",".join(b'"k%d":1' % n for n in range(4_000)) + b"}]}",
    "bad lines": b'{"lines":[' + b",".join([b"{}"] * 2_000) + b"]}",
    "deep": b'{"lines":' + b"[" * (MIB - 10),
    "spaces": json.dumps(PLAIN).encode() + b" " * 900_000 + b"x",
    "a long text": json.dumps(PLAIN | {"note": "x" * 900_000}).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_fills_a_body_is_refused_soon_with_a_hundred_faults_at_most(name: str) -> None:
    tracemalloc.start()
    began = time.process_time()
    named = faults(HOSTILE[name])
    took = time.process_time() - began
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 1 <= len(named) <= MOST_FAULTS + 1
    assert took < 0.5  # seconds, with memory traced; 8 before
    assert most < 20 * MIB


NESTED = b'{"lines":[' + b",".join([b"[" * 32 + b"]" * 32] * 140) + b"]}"
TOO_MUCH = {
    "lists in lists": (NESTED, "is more than an order of 2000 lines can be"),
    "objects": (b'{"lines":[' + b'{"a":' * 100 + b'{"a":{}}' * 2_600, "is more than an order of 2000 lines can be"),
    "quotation marks": (b'"' * 18_401, "is more than an order of 2000 lines can be"),
    "a long text": (b'{"note":"' + b"x" * 16_385 + b'"}', "holds more than 16384 bytes between two quotation marks"),
    "spaces": (b'{"note":' + b" " * 16_385 + b'"x"}', "holds more than 16384 bytes between two quotation marks"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_no_order_has_as_much_of_is_refused_before_anything_is_built(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists within lists took 0.4 s of the event loop, one long text 10 ms."""
    raw, message = TOO_MUCH[name]
    monkeypatch.setattr(Order, "model_validate_json", None)
    assert faults(raw) == [Fault("body", None, message)]


def test_what_an_order_can_hold_is_no_reason_to_refuse_it() -> None:
    texts = {"note": '"' * 100 + "[{,}]" * 80, "reference": '"[{,}]' * 10}
    lines = [{"product": code, "quantity": 1} for code in dict.fromkeys(demo_catalogue())][:MOST_LINES]
    raw = json.dumps(PLAIN | texts | {"lines": lines}, indent=8).encode()
    assert len(parse(raw).lines) == len(lines) > 1_000
    escaped = "".join(f"\\u{unit:04x}" for unit in (0xD83D, 0xDE00)) * 500
    assert parse(json.dumps(PLAIN).encode()[:-1] + f', "note": "{escaped}"}}'.encode()).note == "\U0001f600" * 500


def test_pieces_of_a_body_are_counted_together() -> None:
    extent = Extent(2)
    extent.add(b"," * 600)
    extent.add(b"," * 4)
    with pytest.raises(Malformed, match="2 lines"):
        extent.add(b",")


def test_a_fault_behind_a_thousand_good_lines_has_its_number() -> None:
    lines = [{"product": "3731804", "quantity": 1}] * 1_500 + [{"product": "3731804"}]
    (fault,) = faults(PLAIN | {"lines": lines})
    assert (fault.field, fault.line, fault.message) == ("lines.1501.quantity", 1501, "Field required")
