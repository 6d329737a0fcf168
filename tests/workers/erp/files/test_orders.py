"""Files of orders: what somebody else's EDIFACT software reads in them, and what a template makes of an order."""

import csv
import io
import json
import tomllib
from dataclasses import replace

import pytest
from mockedi import charsets, edifact, schema, validate
from mockedi.transactions import read_order

from orders.model import parse
from tests.machines.tools import ROOT
from tests.workers.erp.files.conftest import EDIFACT, Exchange, an_edi_order
from workers.erp.connectors import BadConnector
from workers.erp.files.names import control_of, number_of
from workers.erp.port import Kind, Submission

NASTY = "it's 1+1=2? 'UNA: bruléé"
CSV = """
format = "csv"
steady = 0
[order]
encoding = "cp1252"
header = true
[[order.records]]
fields = [{ is = "order", name = "CDE" }, { is = "customer" }, { is = "line" }, { is = "article" }, { is = "quantity" },
          { is = "note" }]
[answer]
encoding = "cp1252"
decimal = ","
order = "CDE"
status = "ETAT"
accepted = ["OK"]
refused = ["REF"]
received = ["RCU"]
line = "LIG"
quantity = "QTE"
reason = "MOTIF"
reference = "BL"
"""
FIXED = """
format = "fixed"
steady = 0
name = "C{control}.TXT"
[order]
encoding = "cp850"
line_end = "\\n"
[[order.records]]
per = "order"
fields = [
    { is = "text", text = "E", width = 1 },
    { is = "id", width = 36 },
    { is = "pharmacy", width = 12, align = "right", fill = "0" },
    { is = "lines", width = 4, align = "right", fill = "0" },
    { is = "note", width = 10 },
]
[[order.records]]
fields = [
    { is = "text", text = "L", width = 1 },
    { is = "product", width = 13 },
    { is = "quantity", width = 5, align = "right", fill = "0" },
]
[answer]
format = "fixed"
header = false
order = [1, 36]
line = [37, 40]
quantity = [41, 45]
reason = [46, 60]
"""


def noted(order: Submission, **changes: object) -> Submission:
    """The same order with other fields."""
    body = json.dumps({**json.loads(order.body), **changes}, separators=(",", ":")).encode()
    return replace(order, body=body, order=parse(body))


def sent(exchange: Exchange, order: Submission) -> bytes:
    assert exchange.submit(order)[0].kind is Kind.PENDING
    (name,) = exchange.names("orders")
    return (exchange.base / "orders" / name).read_bytes()


@pytest.mark.parametrize("syntax", ["UNOA", "UNOB", "UNOC", "UNOY"])
def test_another_ones_translator_finds_no_fault_with_an_order(exchange: Exchange, syntax: str) -> None:
    exchange.says(EDIFACT + f'syntax = "{syntax}"\narticles = "mapped"\ncustomers = "mapped"\n')
    order = noted(
        an_edi_order(3, 99_999, articles=("A?'+:B", "X-2"), customer="C+1"),
        note=NASTY + " é" * 200,
        priority="urgent",
        cut_off="2026-12-01T11:30:00Z",
        reference="R'1",
    )
    data = sent(exchange, order)
    read = edifact.parse(charsets.decode(data, charsets.declared("EDIFACT", data)))
    report = validate.validate(read, strict=True, role=schema.SELLER)
    assert report.clean, [each.summary() for each in report.messages] + report.envelope_errors
    assert (read.control, read.sender, read.receiver) == (control_of(order.id), "RELAIS", "ERP")
    ((_, message),) = read.messages()
    told = read_order(message, "EDIFACT")
    assert told.po_number == number_of(order.id)
    assert [(int(line.number), int(line.quantity)) for line in told.lines] == [(1, 3), (2, 99_999)]
    items = [each.comp(3, 1) for each in message.segments if each.tag == "LIN"]
    assert items == ["A?'+:B", "X-2"]
    note = [each.comp(4, 1) for each in message.segments if each.tag == "FTX"]
    assert note[0] == "URGENT"
    expected = {"UNOA": "IT'S 1+1=2? 'UNA: BRULEE", "UNOB": "it's 1+1=2? 'UNA: brulee"}.get(syntax, NASTY)
    assert any(expected in part for each in message.segments if each.tag == "FTX" for part in each.elements[3])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"customer": "C" * 18}, "the customer, CCCCCCCCCCCCCCCCCC, does not fit: 17 characters of UNOA at most"),
        ({"articles": ("é", "X")}, "the article of line 1, é, does not fit: 35 characters of UNOA at most"),
    ],
)
def test_a_code_that_does_not_fit_is_not_altered(exchange: Exchange, changes: dict[str, str], why: str) -> None:
    exchange.says(EDIFACT + 'syntax = "UNOA"\narticles = "mapped"\ncustomers = "mapped"\n')
    told = exchange.submit(an_edi_order(1, 1, **changes))[0]  # type: ignore[arg-type]
    assert (told.kind, told.detail) == (Kind.REFUSED, why)
    assert exchange.names("orders") == exchange.names("relais") == []


def test_an_order_as_csv_and_what_is_answered_to_it(exchange: Exchange) -> None:
    exchange.says(CSV)
    order = noted(an_edi_order(3, 4, articles=("A;1", 'B"2')), note="=évident; ☃")
    text = sent(exchange, order).decode("cp1252")
    rows = [*csv.reader(io.StringIO(text, newline=""), delimiter=";")]
    number = number_of(order.id)
    assert rows == [
        ["CDE", "customer", "line", "article", "quantity", "note"],
        [number, "C-1", "1", "A;1", "3", "=évident; ?"],
        [number, "C-1", "2", 'B"2', "4", "=évident; ?"],
    ]
    head = "CDE;ETAT;LIG;QTE;MOTIF;BL\r\n"
    exchange.answer(f"{head}{number};RCU;;;;\r\n", "1.csv")
    assert "acknowledged" in exchange.poll(order)[0].detail
    half = exchange.answer(f"{head}{number};OK;1;3,0;;77", "2.csv")
    assert exchange.poll(order)[0].kind is Kind.PENDING
    assert not half.exists()
    exchange.answer(f"{head}{number.lower()};OK;1;3,0;;77\r\n{number};REF;2;;épuisé;77\r\n", "3.csv")
    receipt = exchange.poll(order)[0].receipt
    assert receipt is not None, exchange.aside()
    assert receipt.reference == "77"
    assert [(each.accepted, each.reason) for each in receipt.lines] == [(3, None), (0, "épuisé")]


def test_an_order_in_fixed_width_and_what_is_answered_to_it(exchange: Exchange) -> None:
    exchange.says(FIXED)
    order = noted(an_edi_order(3, 12), note="Ünübersehbar lang")
    text = sent(exchange, order).decode("cp850")
    assert exchange.names("orders") == [f"C{control_of(order.id)}.TXT"]
    assert text.split("\n") == [
        f"E{order.id}0009900000020002Ünübersehb",
        "L340093731804400003",
        "L340093861547000012",
        "",
    ]
    exchange.answer(f"{order.id}0001    3\r\n{order.id}0002    0manque\r\n", "A.TXT")
    receipt = exchange.poll(order)[0].receipt
    assert receipt is not None, exchange.aside()
    assert [(each.accepted, each.reason) for each in receipt.lines] == [(3, None), (0, "manque")]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{n};PEUT-ETRE;;;;", "row 2 has the status 'PEUT-ETRE', which means nothing by the template"),
        ("{n};OK;1;x;;", "row 2: 'x' is no number of boxes"),
        ("{n};OK;1", "row 2 has 3 fields, and field 6 is to be read"),
        ("../../etc/passwd;OK;;;;", "which is no number that we give"),
        ('{n};"OK;;;;', "the file is no CSV"),
    ],
)
def test_a_table_that_cannot_be_read_is_set_aside(exchange: Exchange, row: str, why: str) -> None:
    exchange.says(CSV)
    order = an_edi_order(1)
    exchange.submit(order)
    exchange.answer("CDE;ETAT;LIG;QTE;MOTIF;BL\r\n" + row.format(n=number_of(order.id)) + "\r\n", "a.csv")
    assert exchange.poll(order)[0].kind is Kind.PENDING
    assert why in exchange.aside()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('format = "edifact"', "format edifact needs a table edifact"),
        (EDIFACT.replace('"RELAIS"', '"R+S"'), "edifact.sender: String should match pattern"),
        ('orders = "../etc"\n' + EDIFACT, "orders: must be a directory below"),
        ('name = "../{order}"\n' + EDIFACT, "name: must hold"),
        ('name = "order.edi"\n' + EDIFACT, "name: must hold"),
        ('work = "orders"\n' + EDIFACT, "must be three directories"),
        (FIXED.replace(", width = 13", ""), "order: product has no width"),
        (CSV.replace('{ is = "order", name = "CDE" }, ', ""), "no field is control or id or order"),
        (CSV.replace('"cp1252"', '"cp9999"'), "order.encoding: is no encoding that Python"),
        (FIXED.replace("[1, 36]", '"CDE"'), "order must be first and last character"),
        (EDIFACT + '[sftp]\nuser = "r"\nhost_keys = []\n', "sftp.host_keys"),
    ],
    ids=lambda each: each if len(each) < 60 else "",
)
def test_a_fault_in_the_template_is_named(exchange: Exchange, said: str, why: str) -> None:
    exchange.says(said)
    with pytest.raises(BadConnector) as told:
        exchange.erp()
    assert why in str(told.value)


def test_the_examples_of_the_page_are_settings(exchange: Exchange) -> None:
    page = (ROOT / "docs" / "files.md").read_text()
    blocks = [each.split("```")[0] for each in page.split("```toml\n")[1:]]
    assert len(blocks) == 2
    for block in blocks:
        tomllib.loads(block)
        exchange.says(block.replace("SHA256:…", "SHA256:" + "A" * 43))
        assert exchange.erp().capabilities.mapped
