"""The timeline on paper: the very SVG of `timeline`, which fpdf2 draws as vectors by this style sheet.

fpdf2 has no fonts, variables or selectors of a browser's, only rules for one class each. The colours are those of the
report's style sheet on white.
"""

from __future__ import annotations

import io
from typing import Final

from fpdf import FPDF

INK: Final = "#1c2330"
QUIET: Final = "#5b6577"
LINE: Final = "#d9dee7"
COLOURS: Final = {
    "accepted": "#1f6feb",
    "delivered": "#1a7f4b",
    "backlog": "#8a5cd6",
    "failed": "#d1242f",
    "quarantine": "#d1242f",
    "pause": "#d29922",
}
RULES: Final = {
    **{name: f"fill: {colour}" for name, colour in COLOURS.items()},
    **{name: f"fill: none; stroke: {COLOURS[name]}; stroke-width: 2" for name in ("accepted", "delivered")},
    "area": f"fill-opacity: 0.28; stroke: {COLOURS['backlog']}; stroke-width: 1.5",
    "hold": "fill-opacity: 0.16",
    "grid": f"stroke: {LINE}; stroke-width: 1",
    "axis": f"stroke: {QUIET}; stroke-width: 1",
    "mark": f"stroke: {QUIET}; stroke-width: 1; stroke-dasharray: 3 3",
    "label": f"font-family: DejaVu; font-size: 17px; fill: {INK}",  # in units of the drawing 1.3 px are one
    "tick": f"font-family: DejaVu; font-size: 16px; fill: {QUIET}",
    "number": f"font-family: DejaVu; font-size: 16px; font-weight: bold; fill: {INK}",
}


def draw(pdf: FPDF, svg: str, left: float, top: float, wide: float) -> None:
    """Draw it with its upper left corner there, `wide` mm across."""
    sheet = "".join(f".{name} {{{rule}}}" for name, rule in RULES.items())
    head, _, shapes = svg.partition(">")
    pdf.image(io.BytesIO(f"{head}><style>{sheet}</style>{shapes}".encode()), left, top, wide)
