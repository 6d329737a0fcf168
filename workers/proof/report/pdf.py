"""The report as a PDF: what the page of HTML says, for an authority or an insurer who wants paper.

Fonts are in it and nothing from elsewhere; the timeline is drawn as vectors; a table that is longer than a page
has its headings on each. The same report is the same file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from importlib.resources import as_file, files
from typing import Any, Final

from fpdf import FPDF
from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace

from orders.sentences import Sentence
from workers.proof.report.pdf_timeline import COLOURS, INK, LINE, QUIET, draw
from workers.proof.report.report_model import KINDS, TITLE, Contents
from workers.proof.report.timeline import HIGH, WIDE, timeline
from workers.proof.report.voice import Table, Voice, cell, equation, named, opening, tabled

MARGIN: Final = 15.0  # mm
WIDTH: Final = 210.0 - 2 * MARGIN  # of what is on an A4 page
SMALL: Final = 6.5  # pt; a table has up to twelve columns
LINES: Final = 25  # of a cell; what would be longer is cut
NARROW, BROAD, WORD = 6, 46, 12  # characters that a column is made for, and of a word that stays whole in it
CELL_LENGTH: Final = 4000  # characters of a cell that are looked at
GOOD, BAD = (230, 244, 236), (253, 236, 236)
TINT: Final = (244, 246, 249)
FONT: Final = "DejaVu"


def printed(told: Contents, voice: Voice) -> bytes:
    """The whole file."""
    for name in ("fontTools", "fpdf"):  # they log what they do to a font, a line a table
        logging.getLogger(name).setLevel(logging.ERROR)
    pdf = _Paper(told, voice)
    pdf.add_page()
    _opening(pdf, told, voice)
    _heading(pdf, voice.text("In this time, in orders"))
    _tiles(pdf, told.span, voice)
    _heading(pdf, voice.text("Ledger of the whole journal"))
    _tiles(pdf, told.ledger, voice)
    _say(pdf, equation(told.ledger, voice))
    _timeline(pdf, told, voice)
    for section in told.sections:
        _section(pdf, tabled(section, voice), voice)
    _seals(pdf, told.seals, voice)
    _section(pdf, tabled(told.books, voice), voice)
    return bytes(pdf.output())


class _Paper(FPDF):
    """A4, with a line at the foot of each page that says what this is and which page of how many."""

    def __init__(self, told: Contents, voice: Voice) -> None:
        super().__init__(format="A4")
        for style, name in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
            with as_file(files("workers.proof") / "fonts" / name) as path:
                self.add_font(FONT, style, path)
        self.set_margin(MARGIN)
        self.set_auto_page_break(True, 18)
        self.set_font(FONT, size=9)
        self.set_title(voice.text(TITLE))
        self.set_author(cell(told.by, voice))
        self.set_lang(voice.language)
        self.set_creation_date(told.at.astimezone(UTC))
        self._foot = f"{voice.text(TITLE)}, {cell(told.at, voice)}"
        self._voice = voice

    def footer(self) -> None:
        self.set_y(-12)
        self.set_font(FONT, size=7)
        self.set_text_color(QUIET)
        self.cell(WIDTH / 2, 5, self._foot)
        page = self._voice.text("page %(page)s of %(pages)s", page=str(self.page_no()), pages="{nb}")
        self.cell(WIDTH / 2, 5, page, align="R")


def _opening(pdf: FPDF, told: Contents, voice: Voice) -> None:
    pdf.set_font(FONT, "B", 17)
    pdf.set_text_color(INK)
    pdf.multi_cell(WIDTH, 9, voice.text(TITLE), new_x="LMARGIN", new_y="NEXT", align="L")
    _say(pdf, opening(told, voice), QUIET)
    pdf.ln(2)
    pdf.set_font(FONT, "B", 10)
    pdf.set_text_color(INK)
    pdf.set_fill_color(GOOD if told.sound else BAD)
    pdf.multi_cell(WIDTH, 7, cell(told.verdict, voice), fill=True, padding=2, new_x="LMARGIN", new_y="NEXT", align="L")
    _list(pdf, told.faults, voice)
    for what, found in told.ids.items():
        _say(pdf, named(what, found, voice))
    if told.remarks:
        _heading(pdf, voice.text("Remarks"))
        _list(pdf, told.remarks, voice)


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
    pdf.multi_cell(WIDTH, 5, sentence.replace("\xa0", " "), new_x="LMARGIN", new_y="NEXT", align="L")


def _list(pdf: FPDF, sentences: Iterable[Sentence], voice: Voice) -> None:
    for sentence in sentences:
        _say(pdf, f"\u2022 {cell(sentence, voice)}")


def _tiles(pdf: FPDF, figures: Mapping[str, int], voice: Voice) -> None:
    wide, top = WIDTH / len(figures), pdf.get_y()
    pdf.set_fill_color(TINT)
    for number, (name, count) in enumerate(figures.items()):
        left = MARGIN + number * wide
        pdf.rect(left, top, wide - 2, 14, style="F")
        pdf.set_xy(left + 1, top + 1.5)
        pdf.set_font(FONT, "B", 11)
        pdf.set_text_color(INK)
        pdf.cell(wide - 4, 6, voice.number(count))
        pdf.set_xy(left + 1, top + 7.5)
        pdf.set_font(FONT, size=6.5)
        pdf.set_text_color(QUIET)
        pdf.cell(wide - 4, 5, voice.heading(name))
    pdf.set_xy(MARGIN, top + 16)


def _timeline(pdf: FPDF, told: Contents, voice: Voice) -> None:
    high = HIGH * WIDTH / WIDE
    _heading(pdf, voice.text("Timeline"), high + 24)
    pdf.set_font(FONT, size=7)
    pdf.set_text_color(QUIET)
    for kind, message in KINDS.items():
        name = voice.text(message)
        x, y = pdf.get_x(), pdf.get_y()
        shade = {"pause": 0.45, "quarantine": 0.35}.get(kind, 1.0)
        with pdf.local_context(fill_color=COLOURS[kind], fill_opacity=shade):
            pdf.rect(x, y + 1, 3, 3, style="F")
        pdf.set_x(x + 4)
        pdf.cell(pdf.get_string_width(name) + 5, 5, name)
    pdf.ln(7)
    top = pdf.get_y()
    draw(pdf, timeline(told.incident, voice), MARGIN, top, WIDTH)
    pdf.set_xy(MARGIN, top + high + 2)


def _section(pdf: FPDF, table: Table, voice: Voice) -> None:
    _heading(pdf, table.title)
    if not table.rows:
        _say(pdf, voice.text("None."))
        return
    _table(pdf, [list(table.headings), *([_flat(each) for each in row] for row in table.rows)], table.figures)
    if table.remark:
        _say(pdf, table.remark)


def _seals(pdf: FPDF, seals: Mapping[str, Any], voice: Voice) -> None:
    _heading(pdf, voice.text("Seals"))
    for name, value in seals.items():
        pdf.set_font(FONT, size=8)
        pdf.set_text_color(QUIET)
        pdf.cell(48, 5, voice.heading(name))
        pdf.set_text_color(INK)
        pdf.multi_cell(WIDTH - 48, 5, _flat(cell(value, voice)), new_x="LMARGIN", new_y="NEXT", align="L")


def _table(pdf: FPDF, rows: list[list[str]], right: Sequence[bool]) -> None:
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


def _flat(said: str) -> str:
    """In one paragraph: a cell has no other."""
    return " ".join(said.split())
