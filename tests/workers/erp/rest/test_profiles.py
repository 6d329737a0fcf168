"""The profiles that come with Relais, and how each fault of one is named."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest

from tests.cli import CommandLine
from tests.machines.erp import settings_for
from workers.erp.connectors import BadConnector, check
from workers.erp.failures import Unfit
from workers.erp.port import ErpReceiptLine, Kind
from workers.erp.rest.described import BadProfile
from workers.erp.rest.loading import load, shipped
from workers.erp.rest.records import Records
from workers.erp.rest.trial import NUMBER, shown_receipt, tried_out

SMALL = """
about = "a small one"
proven = "by nobody"
[send]
path = "/orders"
body = '''{"ref": {{ order.id }}, "lines": {{ lines | tojson }}}'''
record = "@"
[record]
order = "ref"
reference = "number"
lines = "lines"
product = "product"
accepted = "quantity"
[record.example]
ref = "019a3c5e-7b1d-7c3e-9f00-8d2b4a6c1e35"
number = 5
lines = [{ product = "3400937318044", quantity = 1 }]
[find]
path = "/orders?ref={{ ids[0] }}"
records = "@"
[probe]
path = "/health"
"""


@pytest.mark.parametrize("name", shipped())
def test_one_that_comes_with_relais_makes_every_request_and_reads_what_it_shows(name: str) -> None:
    described = load(name)
    sent = {each.key: each for each in tried_out(described)}
    order = NUMBER.hex.upper() if name == "dynamics-bc" else str(NUMBER)
    assert order.encode() in (sent["send"].body or b"")
    assert b"3400937318044" in (sent["send"].body or b"")
    told = Records(described.profile.record).outcome(described.profile.record.example)
    assert told.kind is Kind.ACCEPTED
    assert told.receipt is not None
    assert [(line.product, line.accepted) for line in told.receipt.lines] == [("3400937318044", 2), ("3861547", 1)]
    assert ("not run against it" in described.profile.proven) is (name != "tryton-rest")


FIRST = (
    '{ product = "3861547", quantity = 5.0, sent = "A-1", article = "A-9", later = 2, '
    'due = "2026-01-08T17:00:00+01:00", why = "out of stock" }'
)
PLACES = """substitute = "(sent != article) && article"
back_ordered = "later"
includes_back_ordered = true
expected = "due"
reason = "why"
[record.example]"""
TALKATIVE = SMALL.replace("[record.example]", PLACES).replace("lines = [{", f"lines = [{FIRST}, {{")


def test_what_a_line_may_say_is_read_where_it_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.toml").write_text(TALKATIVE)
    said = shown_receipt(load("shop.toml", tmp_path)).lines
    assert said[0] == ErpReceiptLine(1, "3861547", 3, "out of stock", "A-9", 2, date(2026, 1, 8))
    assert said[1] == ErpReceiptLine(2, "3400937318044", 1)
    done = CommandLine(capsys, {})("erp", "profile", "check", str(tmp_path / "shop.toml"))
    assert done.code == 0
    assert done.out.endswith(
        "# record.example, as a receipt\nreference 5\n"
        "line 1, product 3861547, accepted 3, "
        "reason out of stock, substitute A-9, back ordered 2, expected 2026-01-08\n"
        "line 2, product 3400937318044, accepted 1\n"
    )


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('"(sent != article) && article"', '"articel"', "record.substitute: finds nothing in `record.example`"),
        ('article = "A-9"', "article = [9]", "record.example: record.substitute, line 1: no product's code"),
        ('back_ordered = "later"\n', "", "record: `includes_back_ordered` needs `back_ordered`"),
        ('"later"', '"later["', "record.back_ordered: is no JMESPath: "),
        ("later = 2", "later = 2.5", "record.example: record.back_ordered, line 1: no quantity"),
        ("later = 2", "later = -2", "record.example: record.back_ordered, line 1: no quantity"),
        ("2026-01-08T17:00:00+01:00", "soon", "record.example: record.expected, line 1: no day that can be read"),
        ('"2026-01-08T17:00:00+01:00"', "20260108", "record.example: record.expected, line 1: no day that can be read"),
        ('why = "out of stock"', "why = {}", "record.example: record.reason, line 1: no text"),
        ('reason = "why"', 'raison = "why"', "record.raison: Extra inputs are not permitted"),
    ],
)
def test_each_fault_in_what_a_line_may_say_is_named(tmp_path: Path, was: str, becomes: str, says: str) -> None:
    assert was in TALKATIVE
    file = tmp_path / "shop.toml"
    file.write_text(TALKATIVE.replace(was, becomes))
    with pytest.raises(BadProfile) as told:
        load(str(file))
    assert str(told.value).startswith(f"{file}, {says}")


def test_a_small_one_is_enough(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    keys = [each.key for each in tried_out(load("small.toml", tmp_path))]
    assert keys == ["find", "send", "probe"]


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('about = "a small one"', "", ", about: Field required"),
        ("[probe]", "pigeon = 1\n[probe]", ", find.pigeon: Extra inputs are not permitted"),
        ('lines = "lines"', 'lines = "lines["', ", record.lines: is no JMESPath: "),
        ("{{ order.id }}", "{{ order.id }", ", send.body: line 1 of the template: "),
        ("{{ order.id }}", "\n{{ order.number }}", ", send.body: line 2 of the template: "),
        (
            "{{ ids[0] }}",
            "{{ code }}",
            ", find.path: line 1 of the template: there is no code; there are ids",
        ),
        ('"/health"', '"health"', ", probe.path: must begin with a slash"),
        ('product = "product"', 'product = "article"', ", record.example: record.lines, line 1: no product"),
        ("019a3c5e", "x", ", record.order: has no order's id in `record.example`"),
        ("[find]", "[find", ": "),
    ],
)
def test_each_fault_is_named_by_file_and_key(tmp_path: Path, was: str, becomes: str, says: str) -> None:
    assert was in SMALL
    file = tmp_path / "small.toml"
    file.write_text(SMALL.replace(was, becomes))
    with pytest.raises(BadProfile) as told:
        load(str(file))
    assert str(told.value).startswith(f"{file}{says}")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "profile: Field required"),
        ('profile = "pigeon"', "profiles that come with Relais are dynamics-bc, erpnext, odoo-19, tryton-rest"),
        ('profile = "erpnext"', "settings.company is missing: name of the company"),
        ('profile = "erpnext"\nsettings = {company = 1}', "settings.company must be like 'Wholesale SAS'"),
        ('profile = "erpnext"\nsettings = {company = "x"}', "auth.api-key.key_file: Field required"),
        ('profile = "erpnext"\nsettings = {company = "x", x = 1}', "settings.x is not asked for by "),
        ('profile = "small.toml"\nauth = {scheme = "basic"}', "auth.basic.user: Field required"),
    ],
)
def test_a_fault_in_a_connector_s_settings_is_named(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    file = tmp_path / "erp.toml"
    file.write_text(content)
    with pytest.raises(BadConnector, match=re.escape(says)) as told:
        check(settings_for("https://erp.example", erp_kind="rest", erp_connector=file))
    assert str(told.value).startswith(f"erp, {file}")


def test_a_record_that_is_none_is_not_believed() -> None:
    records = Records(load("erpnext").profile.record)
    for record in ({}, {"items": [{}]}, {"items": [], "name": ""}, {"items": [], "docstatus": 1, "name": {}}):
        with pytest.raises(Unfit):
            records.receipt(record)


def test_check_shows_the_very_requests_and_no_secret(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    relais = CommandLine(capsys, {})
    done = relais("erp", "profile", "check", "erpnext")
    assert done.code == 0
    assert "POST https://erp.example/api/resource/Sales%20Order\nAuthorization: token ***\n" in done.out
    file = tmp_path / "order.json"
    file.write_text('{"pharmacy": "P1", "reference": "R-77", "lines": [{"product": "3400937318044", "quantity": 3}]}')
    done = relais("erp", "profile", "check", "tryton-rest", "--order", str(file))
    assert "# send\nPOST https://erp.example/model/sale.sale?" in done.out
    assert '"description": "R-77"' in done.out
    assert "Authorization: Bearer ***" in done.out
    bad = tmp_path / "small.toml"
    bad.write_text(SMALL.replace("{{ order.id }}", "{{ order.id"))
    done = relais("erp", "profile", "check", str(bad))
    assert (done.code, done.err.startswith(f"relais: {bad}, send.body: line 1 of the template: ")) == (1, True)


def test_the_profiles_are_listed_with_what_they_were_proven_against_and_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    relais = CommandLine(capsys, {})
    listed = relais("erp", "profile", "list").out
    assert all(name in listed for name in shipped())
    printed = relais("erp", "profile", "show", "odoo-19")
    assert (printed.code, tomllib.loads(printed.out)["proven"]) == (0, load("odoo-19").profile.proven)
    assert relais("erp", "profile", "show", "pigeon").code == 1
