"""The report: one page of HTML that proves and explains on its own, to be handed to an authority or an insurer.

No script, no font and no picture from elsewhere. Whatever came from outside is escaped; nothing of an order is shown
but ids and counts. It says who made it, when, and by which seal it can be checked again. The same as PDF where the
file's name ends so: `workers.proof.report.pdf`.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.files import write_private
from workers.proof.audit import Proof
from workers.proof.report.incident import read_incident
from workers.proof.report.report_model import KINDS, TITLE, Contents, contents
from workers.proof.report.timeline import timeline
from workers.proof.report.voice import Voice, cell, equation, named, opening, tabled


async def write_report(
    engine: AsyncEngine,
    proof: Proof,
    path: Path,
    voice: Voice,
    since: datetime | None = None,
    until: datetime | None = None,
) -> None:
    """Write it to `path`, whole or not at all; the proof is of the whole journal, the rest of the span."""
    told = contents(proof, await read_incident(engine, since, until, proof.at))
    if path.suffix.lower() == ".pdf":
        from workers.proof.report.pdf import printed

        write_private(path, printed(told, voice))
    else:
        write_private(path, render(told, voice).encode())


def render(told: Contents, voice: Voice) -> str:
    """The page."""
    page = _page().render(
        told=told,
        voice=voice,
        _=voice.text,
        named=named,
        title=voice.text(TITLE),
        kinds=KINDS,
        style=Markup((files("workers.proof") / "report.css").read_text(encoding="utf-8")),
        timeline=Markup(timeline(told.incident, voice)),
    )
    return page.replace("\xa0", "&nbsp;")


@cache
def _page() -> Template:
    shown = Environment(
        loader=PackageLoader("workers.proof", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    shown.filters |= {"cell": cell, "equation": equation, "opening": opening, "tabled": tabled}
    return shown.get_template("report.html")
