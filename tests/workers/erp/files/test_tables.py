"""Answers in CSV and in fixed width: what a line is delivered as, what comes later and when, by columns that say so."""

from datetime import date

import pytest

from tests.workers.erp.files.conftest import Exchange, an_edi_order
from tests.workers.erp.files.test_orders import CSV, FIXED
from workers.erp.files.names import number_of
from workers.erp.port import ErpReceiptLine, Kind, Submission

TALKATIVE = (
    CSV
    + """product = "ART"
back_ordered = "RELIQUAT"
expected = "DATE"
substitute = "REMPL"
date = "%d/%m/%Y"
"""
)
FIXED_TALKATIVE = (
    FIXED
    + """back_ordered = [61, 65]
expected = [66, 73]
substitute = [74, 86]
date = "%Y%m%d"
"""
)
HEAD = "CDE;ETAT;LIG;ART;QTE;MOTIF;BL;RELIQUAT;DATE;REMPL"
MEDICINES = ("3400937318044", "3400938615470")


def csv_of(order: Submission, *rows: str) -> bytes:
    number = number_of(order.id)
    return "\r\n".join([HEAD, *(f"{number};{row}" for row in rows), ""]).encode("cp1252")


def fixed_of(order: Submission, *rows: tuple[str, str, str, str, str, str]) -> bytes:
    """Line, boxes, reason, boxes to come, day, substitute."""
    widths = (4, 5, 15, 5, 8, 13)
    lines = ("".join(each.ljust(width) for each, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{order.id}{line}\n" for line in lines).encode("cp850")


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("OK;1;A-1;1;;;2;03/12/2026;", ErpReceiptLine(1, MEDICINES[0], 1, None, None, 2, date(2026, 12, 3))),
        ("OK;1;A-1;;rupture;;3;;", ErpReceiptLine(1, MEDICINES[0], 1, "rupture", None, 3)),
        ("OK;1;A-1;4,0;;;;;A-9", ErpReceiptLine(1, MEDICINES[0], 4, None, "A-9")),
        ("OK;1;A-1;4;;;;;A-1", ErpReceiptLine(1, MEDICINES[0], 4)),
        ("OK;1;A-9;2;arrêté;;;;", ErpReceiptLine(1, MEDICINES[0], 2, "arrêté", "A-9")),
        ("OK;1;;0;;;4;03/12/2026;A-9", ErpReceiptLine(1, MEDICINES[0], 0, None, "A-9", 4, date(2026, 12, 3))),
        ("REF;1;A-1;;arrêté;;;;", ErpReceiptLine(1, MEDICINES[0], 0, "arrêté")),
    ],
)
def test_a_row_of_a_csv_says_it(exchange: Exchange, row: str, line: ErpReceiptLine) -> None:
    exchange.says(TALKATIVE)
    order = an_edi_order(4, 6)
    exchange.submit(order)
    exchange.answer(csv_of(order, row, "OK;2;A-2;6;;BL-7;;;"))
    told = exchange.poll(order)[0]
    assert told.receipt is not None, exchange.aside()
    assert told.receipt.lines == (line, ErpReceiptLine(2, MEDICINES[1], 6))
    assert told.receipt.reference == "BL-7"


def test_a_row_of_fixed_width_says_it(exchange: Exchange) -> None:
    exchange.says(FIXED_TALKATIVE)
    order = an_edi_order(4, 6)
    exchange.submit(order)
    instead = ("2", "1", "rupture", "5", "20261203", "3400930000007")
    exchange.answer(fixed_of(order, ("1", "4", "", "", "", ""), instead))
    told = exchange.poll(order)[0]
    assert told.receipt is not None, exchange.aside()
    later = ErpReceiptLine(2, MEDICINES[1], 1, "rupture", "3400930000007", 5, date(2026, 12, 3))
    assert told.receipt.lines == (ErpReceiptLine(1, MEDICINES[0], 4), later)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("OK;1;A-1;1;;;deux;;", "row 2: 'deux' is no number of boxes"),
        ("OK;1;A-1;1;;;2;2026-12-03;", "row 2: '2026-12-03' is no date as %d/%m/%Y"),
        ("OK;1;A-1;1;;;-2;;", "row 2: '-2' is no number of boxes"),
    ],
)
def test_a_row_that_cannot_be_read_sets_its_file_aside(exchange: Exchange, row: str, why: str) -> None:
    exchange.says(TALKATIVE)
    order = an_edi_order(4, 6)
    exchange.submit(order)
    exchange.answer(csv_of(order, row, "OK;2;A-2;6;;;;;"))
    assert exchange.poll(order)[0].kind is Kind.PENDING
    assert why in exchange.aside()
