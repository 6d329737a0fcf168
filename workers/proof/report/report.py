"""The report: one page of HTML that proves and explains on its own, to be handed to an authority or an insurer.

No script, no font and no picture from elsewhere. Whatever came from outside is escaped; nothing of an order is shown
but ids and counts. It says who made it, when, and by which seal it can be checked again. The same as PDF where the
file's name ends so: `workers.proof.report.pdf`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.files import write_private
from workers.proof.audit import Proof
from workers.proof.report.incident import read_incident
from workers.proof.report.report_model import KINDS, TITLE, Contents, Section, contents, is_number, text_of
from workers.proof.report.timeline import timeline


async def write_report(
    engine: AsyncEngine, proof: Proof, path: Path, since: datetime | None = None, until: datetime | None = None
) -> None:
    """Write it to `path`, whole or not at all; the proof is of the whole journal, the rest of the span."""
    told = contents(proof, await read_incident(engine, since, until, proof.at))
    if path.suffix.lower() == ".pdf":
        from workers.proof.report.pdf import printed

        write_private(path, printed(told))
    else:
        write_private(path, render(told).encode())


def render(told: Contents) -> str:
    """The page."""
    style = (files("workers.proof") / "report.css").read_text(encoding="utf-8")
    span = f"{cell(told.incident.since)} to {cell(told.incident.until)}"
    body = "".join(
        (
            f"<h1>{TITLE}</h1><p class=lead>{span}. Made on {cell(told.at)} by {cell(told.by)}.</p>",
            _verdict(told),
            _figures(told),
            _timeline(told),
            *map(_section, told.sections),
            _seals(told),
            _section(told.books),
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="referrer" content="no-referrer">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{TITLE}</title><style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )


def cell(value: object) -> str:
    """A value as text of the page, escaped."""
    return escape(text_of(value)).replace("\xa0", "&nbsp;")


def _verdict(told: Contents) -> str:
    remarks = f"<h2>Remarks</h2>{_list(told.remarks)}" if told.remarks else ""
    if told.sound:
        return f'<p class="verdict good">{cell(told.verdict)}</p>{remarks}'
    ids = "".join(
        f"<p>{cell(what)}, the first {len(found)}:</p><p class=ids>{', '.join(map(cell, found))}</p>"
        for what, found in told.ids.items()
    )
    return f'<div class="verdict bad"><p>{cell(told.verdict)}</p>{_list(told.faults)}{ids}</div>{remarks}'


def _figures(told: Contents) -> str:
    return (
        f"<h2>In this time, in orders</h2>{_tiles(told.span)}"
        f"<h2>Ledger of the whole journal</h2>{_tiles(told.ledger)}"
        f"<p>{told.equation.replace(chr(0xA0), '&nbsp;')}</p>"
    )


def _tiles(figures: Mapping[str, int]) -> str:
    tiles = "".join(f"<div><b>{count:,}</b><span>{cell(name)}</span></div>" for name, count in figures.items())
    return f'<div class="tiles">{tiles}</div>'


def _timeline(told: Contents) -> str:
    legend = "".join(f'<span><i class="{kind}"></i>{name}</span>' for kind, name in KINDS.items())
    return f'<section><h2>Timeline</h2><p class="legend">{legend}</p>{timeline(told.incident)}</section>'


def _seals(told: Contents) -> str:
    rows = "".join(f"<tr><th>{name}</th><td>{cell(value)}</td></tr>" for name, value in told.seals.items())
    return f"<section><h2>Seals</h2><table>{rows}</table></section>"


def _section(section: Section) -> str:
    title = section.title
    if not section.rows:
        return f"<section><h2>{title}</h2><p>None.</p></section>"
    head = "".join(
        _td(heading.replace("_", " "), "th", like=section.rows[0].get(heading)) for heading in section.headings
    )
    lines = "".join(
        f"<tr>{''.join(_td(row.get(heading)) for heading in section.headings)}</tr>" for row in section.rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    return f"<section><h2>{title}</h2>{table}</section>{f'<p>{section.remark}</p>' if section.remark else ''}"


def _td(value: object, tag: str = "td", like: object = None) -> str:
    """A cell; numbers, and the headings of numbers, are on the right."""
    number = is_number(value if like is None else like)
    return f"<{tag}{' class=n' if number else ''}>{cell(value)}</{tag}>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{cell(item)}</li>' for item in items)}</ul>"
