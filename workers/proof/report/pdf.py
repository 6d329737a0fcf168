"""The report as a PDF: what the page of HTML says, for an authority or an insurer who wants paper.

Fonts are in it and nothing from elsewhere; the timeline is drawn as vectors; a table that is longer than a page
has its headings on each. The same report is the same file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC
from importlib.resources import as_file, files
from typing import Any, Final

from fpdf import FPDF
from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace

from workers.proof.report.pdf_timeline import COLOURS, INK, LINE, QUIET, draw
from workers.proof.report.report_model import KINDS, TITLE, Contents, Section, is_number, text_of
from workers.proof.report.timeline import HIGH, WIDE, timeline

MARGIN: Final = 15.0  # mm
WIDTH: Final = 210.0 - 2 * MARGIN  # of what is on an A4 page
SMALL: Final = 6.5  # pt; a table has up to twelve columns
LINES: Final = 25  # of a cell; what would be longer is cut
NARROW, BROAD, WORD = 6, 46, 12  # characters that a column is made for, and of a word that stays whole in it
CELL_LENGTH: Final = 4000  # characters of a cell that are looked at
GOOD, BAD = (230, 244, 236), (253, 236, 236)
TINT: Final = (244, 246, 249)
FONT: Final = "DejaVu"


def printed(told: Contents) -> bytes:
    """The whole file."""
    for name in ("fontTools", "fpdf"):  # they log what they do to a font, a line a table
        logging.getLogger(name).setLevel(logging.ERROR)
    pdf = _Paper(told)
    pdf.add_page()
    _opening(pdf, told)
    _heading(pdf, "In this time, in orders")
    _tiles(pdf, told.span)
    _heading(pdf, "Ledger of the whole journal")
    _tiles(pdf, told.ledger)
    _say(pdf, told.equation)
    _timeline(pdf, told)
    for section in told.sections:
        _section(pdf, section)
    _seals(pdf, told.seals)
    _section(pdf, told.books)
    return bytes(pdf.output())


class _Paper(FPDF):
    """A4, with a line at the foot of each page that says what this is and which page of how many."""

    def __init__(self, told: Contents) -> None:
        super().__init__(format="A4")
        for style, name in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
            with as_file(files("workers.proof") / "fonts" / name) as path:
                self.add_font(FONT, style, path)
        self.set_margin(MARGIN)
        self.set_auto_page_break(True, 18)
        self.set_font(FONT, size=9)
        self.set_title(TITLE)
        self.set_author(text_of(told.by))
        self.set_lang("en")
        self.set_creation_date(told.at.astimezone(UTC))
        self._foot = f"{TITLE}, {text_of(told.at)}"

    def footer(self) -> None:
        self.set_y(-12)
        self.set_font(FONT, size=7)
        self.set_text_color(QUIET)
        self.cell(WIDTH / 2, 5, self._foot)
        self.cell(WIDTH / 2, 5, f"page {self.page_no()} of {{nb}}", align="R")


def _opening(pdf: FPDF, told: Contents) -> None:
    pdf.set_font(FONT, "B", 17)
    pdf.set_text_color(INK)
    pdf.multi_cell(WIDTH, 9, TITLE, new_x="LMARGIN", new_y="NEXT", align="L")
    span = f"{text_of(told.incident.since)} to {text_of(told.incident.until)}."
    _say(pdf, f"{span} Made on {text_of(told.at)} by {text_of(told.by)}.", QUIET)
    pdf.ln(2)
    pdf.set_font(FONT, "B", 10)
    pdf.set_text_color(INK)
    pdf.set_fill_color(GOOD if told.sound else BAD)
    pdf.multi_cell(WIDTH, 7, told.verdict, fill=True, padding=2, new_x="LMARGIN", new_y="NEXT", align="L")
    _list(pdf, told.faults)
    for what, found in told.ids.items():
        _say(pdf, f"{what}, the first {len(found)}: {', '.join(map(text_of, found))}")
    if told.remarks:
        _heading(pdf, "Remarks")
        _list(pdf, told.remarks)


def _heading(pdf: FPDF, title: str, room: float = 30.0) -> None:
    """A heading that is not left alone at the foot of a page."""
    if pdf.will_page_break(room):
        pdf.add_page()
    pdf.ln(4)
    pdf.set_font(FONT, "B", 11.5)
    pdf.set_text_color(INK)
    pdf.start_section(title)
    pdf.multi_cell(WIDTH, 7, title, new_x="LMARGIN", new_y="NEXT", align="L")


def _say(pdf: FPDF, sentence: str, colour: str = INK) -> None:
    pdf.set_font(FONT, size=9)
    pdf.set_text_color(colour)
    pdf.multi_cell(WIDTH, 5, text_of(sentence.replace("\xa0", " ")), new_x="LMARGIN", new_y="NEXT", align="L")


def _list(pdf: FPDF, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        _say(pdf, f"\u2022 {sentence}")


def _tiles(pdf: FPDF, figures: Mapping[str, int]) -> None:
    wide, top = WIDTH / len(figures), pdf.get_y()
    pdf.set_fill_color(TINT)
    for number, (name, count) in enumerate(figures.items()):
        left = MARGIN + number * wide
        pdf.rect(left, top, wide - 2, 14, style="F")
        pdf.set_xy(left + 1, top + 1.5)
        pdf.set_font(FONT, "B", 11)
        pdf.set_text_color(INK)
        pdf.cell(wide - 4, 6, f"{count:,}")
        pdf.set_xy(left + 1, top + 7.5)
        pdf.set_font(FONT, size=6.5)
        pdf.set_text_color(QUIET)
        pdf.cell(wide - 4, 5, name)
    pdf.set_xy(MARGIN, top + 16)


def _timeline(pdf: FPDF, told: Contents) -> None:
    high = HIGH * WIDTH / WIDE
    _heading(pdf, "Timeline", high + 24)
    pdf.set_font(FONT, size=7)
    pdf.set_text_color(QUIET)
    for kind, name in KINDS.items():
        x, y = pdf.get_x(), pdf.get_y()
        shade = {"pause": 0.45, "quarantine": 0.35}.get(kind, 1.0)
        with pdf.local_context(fill_color=COLOURS[kind], fill_opacity=shade):
            pdf.rect(x, y + 1, 3, 3, style="F")
        pdf.set_x(x + 4)
        pdf.cell(pdf.get_string_width(name) + 5, 5, name)
    pdf.ln(7)
    top = pdf.get_y()
    draw(pdf, timeline(told.incident), MARGIN, top, WIDTH)
    pdf.set_xy(MARGIN, top + high + 2)


def _section(pdf: FPDF, section: Section) -> None:
    _heading(pdf, section.title)
    if not section.rows:
        _say(pdf, "None.")
        return
    names = [heading.replace("_", " ") for heading in section.headings]
    cells = [[_flat(row.get(heading)) for heading in section.headings] for row in section.rows]
    right = [is_number(section.rows[0].get(heading)) for heading in section.headings]
    _table(pdf, [names, *cells], right)
    if section.remark:
        _say(pdf, section.remark)


def _seals(pdf: FPDF, seals: Mapping[str, Any]) -> None:
    _heading(pdf, "Seals")
    for name, value in seals.items():
        pdf.set_font(FONT, size=8)
        pdf.set_text_color(QUIET)
        pdf.cell(48, 5, name)
        pdf.set_text_color(INK)
        pdf.multi_cell(WIDTH - 48, 5, _flat(value), new_x="LMARGIN", new_y="NEXT", align="L")


def _table(pdf: FPDF, rows: list[list[str]], right: list[bool]) -> None:
    """Rows of text under the first, which is repeated on every page that they take."""
    pdf.set_font(FONT, size=SMALL)
    pdf.set_text_color(INK)
    pdf.set_draw_color(LINE)
    pdf.set_fill_color(255, 255, 255)
    weights = [_weight([row[column] for row in rows]) for column in range(len(rows[0]))]
    widths = [WIDTH * weight / sum(weights) for weight in weights]
    shown = [[_fitting(pdf, said, width) for said, width in zip(row, widths, strict=True)] for row in rows]
    with pdf.table(
        shown,
        width=WIDTH,
        col_widths=tuple(widths),
        line_height=3.4,
        padding=(0.8, 1.4),
        align="L",
        v_align="TOP",
        text_align=tuple("RIGHT" if number else "LEFT" for number in right),
        headings_style=FontFace(color=QUIET, fill_color=TINT, emphasis="BOLD"),
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
    ):
        pass


def _weight(column: list[str]) -> float:
    """How much of the page's width a column gets: as its text is long, and so that short words are not broken."""
    longest = max(len(said) for said in column)
    word = max((len(word) for said in column for word in said.split()), default=0)
    return max(float(NARROW), 1.4 * min(word, WORD), float(min(BROAD, longest) ** 0.85))


def _fitting(pdf: FPDF, said: str, wide: float) -> str:
    """Cut, where a cell of that width (mm) would have more than LINES lines."""
    most = max(1.0, wide - 2.0) * LINES * 0.8  # words do not fill their lines
    said = said[:CELL_LENGTH]
    while pdf.get_string_width(said) > most:
        said = said[: int(len(said) * 0.8)] + "…"
    return said


def _flat(value: object) -> str:
    """In one paragraph: a cell has no other."""
    return " ".join(text_of(value).split())
