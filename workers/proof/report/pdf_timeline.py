"""The timeline in a PDF: the very drawing of `plot`, its few kinds of shapes drawn again, as vectors.

What it reads is what `plot` wrote: text, lines by M, H, V and v, polylines, polygons and rectangles, whose colours
are classes. They are those of the report's style sheet on paper.
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree

from fpdf import FPDF

from workers.proof.report.timeline import WIDE

Colour = tuple[int, int, int]

INK: Final = (28, 35, 48)
QUIET: Final = (91, 101, 119)
LINE: Final = (217, 222, 231)
COLOURS: Final[dict[str, Colour]] = {
    "accepted": (31, 111, 235),
    "delivered": (26, 127, 75),
    "backlog": (138, 92, 214),
    "failed": (209, 36, 47),
    "quarantine": (209, 36, 47),
    "pause": (210, 153, 34),
    "mark": QUIET,
    "grid": LINE,
    "axis": QUIET,
    "tick": QUIET,
    "label": INK,
}
SIZES: Final = {"label": 7.0, "tick": 6.5, "mark": 6.5}  # pt
SHADES: Final = {"hold": 0.16, "area": 0.28}


def draw(pdf: FPDF, svg: str, left: float, top: float, wide: float) -> None:
    """Draw it with its upper left corner there, `wide` mm across."""
    scale = wide / WIDE
    for shape in ElementTree.fromstring(svg):
        classes = shape.get("class", "").split()
        colour = next((COLOURS[each] for each in reversed(classes) if each in COLOURS), INK)
        kind = shape.tag.rpartition("}")[2]
        if kind == "text":
            _text(pdf, shape, classes[0], INK if classes[0] == "mark" else colour, (left, top, scale))
            continue
        shade = float(shape.get("opacity", SHADES.get(classes[0], 1.0)))
        with pdf.local_context(fill_opacity=shade, fill_color=colour, draw_color=colour, line_width=0.2):
            if kind == "rect":
                x, y, width, height = (scale * float(shape.get(name, 0)) for name in ("x", "y", "width", "height"))
                pdf.rect(left + x, top + y, width, height, style="F")
            elif kind == "path":
                _path(pdf, shape.get("d", ""), (left, top, scale), dashed="mark" in classes)
            else:
                _points(pdf, shape.get("points", ""), (left, top, scale), filled=kind == "polygon")


def _text(pdf: FPDF, shape: ElementTree.Element, kind: str, colour: Colour, place: tuple[float, float, float]) -> None:
    left, top, scale = place
    said = shape.text or ""
    pdf.set_font(style="B" if kind == "mark" else "", size=SIZES[kind])
    pdf.set_text_color(colour)
    wide = pdf.get_string_width(said)
    before = {"end": wide, "middle": wide / 2}.get(shape.get("text-anchor", ""), 0.0)
    pdf.text(left + scale * float(shape.get("x", 0)) - before, top + scale * float(shape.get("y", 0)), said)


def _path(pdf: FPDF, way: str, place: tuple[float, float, float], *, dashed: bool) -> None:
    """One line, across or down."""
    left, top, scale = place
    x, y, across, far = re.fullmatch(r"M([\d.]+) ([\d.]+)([HVv])([\d.]+)", way).groups()  # type: ignore[union-attr]
    end = {"H": (float(far), float(y)), "V": (float(x), float(far)), "v": (float(x), float(y) + float(far))}[across]
    if dashed:
        pdf.set_dash_pattern(dash=0.6, gap=0.6)
    pdf.line(left + scale * float(x), top + scale * float(y), left + scale * end[0], top + scale * end[1])


def _points(pdf: FPDF, points: str, place: tuple[float, float, float], *, filled: bool) -> None:
    left, top, scale = place
    pairs = [tuple(map(float, each.split(","))) for each in points.split()]
    there = [(left + scale * x, top + scale * y) for x, y in pairs]
    if filled:
        pdf.polygon(there, style="F")
        there = there[1:-1]  # the line is that of the figures alone
    pdf.set_line_width(0.4)
    pdf.polyline(there)
