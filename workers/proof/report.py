"""The report: one page of HTML that proves and explains on its own, to be handed to an authority or an insurer.

No script, no font and no picture from elsewhere. Whatever came from outside is escaped; nothing of an order is shown
but ids and counts. It says who made it, when, and by which seal it can be checked again.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from workers.audit import Proof
from workers.operations import operator
from workers.proof.incident import MOST_ACTS, Incident, read_incident
from workers.proof.plot import timeline

TITLE: Final = "Relais: report of an audit"


async def write_report(
    engine: AsyncEngine, proof: Proof, path: Path, since: datetime | None = None, until: datetime | None = None
) -> None:
    """Write the page to `path`, whole or not at all; the proof is of the whole journal, the rest of the span."""
    _write(path, render(proof, await read_incident(engine, since, until, proof.at)))


def _write(path: Path, page: str) -> None:
    draft, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(draft, "w", encoding="utf-8") as file:
            file.write(page)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def render(proof: Proof, incident: Incident) -> str:
    """The page."""
    style = (files("workers.proof") / "report.css").read_text(encoding="utf-8")
    span = f"{cell(incident.since)} to {cell(incident.until)}"
    body = "".join((
        f"<h1>{TITLE}</h1><p class=lead>{span}. Made on {cell(proof.at)} by {cell(operator())}.</p>",
        _verdict(proof), _figures(proof, incident), _timeline(incident), _acts(incident),
        _section("Evidence against backends", incident.evidence, (
            "backend", "kind", "proof", "pieces", "orders", "first", "last",
        )),
        _section("What the backends have, as they were asked", incident.reconciled, (
            "at", "operator", "backend", "since", "until", "state", "present", "missing", "resent", "altered",
            "unknown", "foreign",
        )),
        _section("Attempts by outcome", incident.outcomes, ("outcome", "attempts", "orders", "first", "last")),
        _section("Dead letters as they stand", incident.dead, ("backend", "reason", "orders", "first", "last")),
        _section("Backends, as they stand", incident.backends, (
            "name", "circuit", "changed_at", "paused", "quarantined", "quarantined_at", "quarantined_by", "held_why",
        )),
        _seals(proof), _books(proof, incident),
    ))  # fmt: skip
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="referrer" content="no-referrer">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{TITLE}</title><style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )


def cell(value: object) -> str:
    """A value as text of the page, escaped."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}&nbsp;UTC"
    if isinstance(value, Mapping):
        value = json.dumps(value, ensure_ascii=False, default=str)
        value = value if len(value) <= 300 else f"{value[:300]}…"
    return escape("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(value)))


def _verdict(proof: Proof) -> str:
    if proof.sound:
        blocks = proof.chain.blocks
        sealed = f", as it was sealed ({'1 block' if blocks == 1 else f'{blocks:,} blocks'})" if blocks else ""
        return f'<p class="verdict good">The journal balances{sealed}. No fault was found.</p>{_remarks(proof)}'
    faults = _list(proof.faults)
    ids = "".join(
        f"<p>{cell(what)}, the first {len(found)}:</p><p class=ids>{_ids(found)}</p>"
        for what, found in proof.books.ids.items()
    )
    told = f"<p>Faults were found: {len(proof.faults):,}.</p>{faults}{ids}"
    return f'<div class="verdict bad">{told}</div>{_remarks(proof)}'


def _remarks(proof: Proof) -> str:
    return f"<h2>Remarks</h2>{_list(proof.chain.remarks)}" if proof.chain.remarks else ""


def _figures(proof: Proof, incident: Incident) -> str:
    ledger = proof.ledger
    parts = {name: getattr(ledger, name) for name in ("backlog", "delivered", "dead", "cancelled", "discarded")}
    span = {
        "accepted": incident.total("accepted"), "delivered": incident.total("delivered"),
        "attempts that failed": incident.total("failed"), "largest backlog": max(incident.waiting, default=0),
        "backlog at the end": incident.waiting[-1] if incident.waiting else 0,
    }  # fmt: skip
    equals = "=" if ledger.accepted == sum(parts.values()) else "≠"
    sums = " + ".join(f"{count:,}&nbsp;{name}" for name, count in parts.items())
    return (
        f"<h2>In this time, in orders</h2>{_tiles(span)}"
        f"<h2>Ledger of the whole journal</h2>{_tiles({'accepted': ledger.accepted, **parts})}"
        f"<p>{ledger.accepted:,}&nbsp;accepted {equals} {sums}</p>"
    )


def _tiles(figures: Mapping[str, int]) -> str:
    tiles = "".join(f"<div><b>{count:,}</b><span>{cell(name)}</span></div>" for name, count in figures.items())
    return f'<div class="tiles">{tiles}</div>'


def _timeline(incident: Incident) -> str:
    names = {"accepted": "accepted", "delivered": "delivered", "backlog": "backlog", "failed": "attempts that failed",
             "pause": "paused", "quarantine": "in quarantine"}  # fmt: skip
    legend = "".join(f'<span><i class="{kind}"></i>{name}</span>' for kind, name in names.items())
    return f'<section><h2>Timeline</h2><p class="legend">{legend}</p>{timeline(incident)}</section>'


def _acts(incident: Incident) -> str:
    rows = [{"no.": number, **act} for number, act in enumerate(incident.acts, 1)]
    cut = f"<p>The first {MOST_ACTS:,} are shown.</p>" if len(rows) == MOST_ACTS else ""
    return _section("Acts of operators", rows, ("no.", "at", "operator", "act", "reason", "detail")) + cut


def _seals(proof: Proof) -> str:
    chain, last = proof.chain, proof.chain.last
    facts = {
        "blocks": chain.blocks, "rows in them": chain.rows, "rows not sealed yet": chain.unsealed,
        "last block in the anchor": chain.anchored, "receipts with a signature": proof.signatures.signed,
        "of which wrong": proof.signatures.wrong, "last block": last and last.block,
        "sealed": last and last.sealed_at, "with key": last and last.key_id, "its mac": last and last.mac.hex(),
        "verification": "no fault" if not (chain.faults or proof.signatures.faults) else "faults, see above",
    }  # fmt: skip
    rows = "".join(
        f"<tr><th>{name}</th><td>{cell(value)}</td></tr>" for name, value in facts.items() if value is not None
    )
    return f"<section><h2>Seals</h2><table>{rows}</table></section>"


def _books(proof: Proof, incident: Incident) -> str:
    """The slices of the span, and whatever does not add up."""
    first = incident.since - timedelta(days=1)
    chosen = [each for each in proof.books.slices if first < each.since < incident.until or not each.balanced]
    headings = ("since", "accepted", "backlog", "delivered", "dead", "cancelled", "discarded")
    rows = [{**{name: getattr(each, name) for name in headings}, "adds up": each.balanced} for each in chosen]
    return _section(f"Ledger by {proof.books.unit} of acceptance", rows, (*headings, "adds up"))


def _section(title: str, rows: Sequence[Mapping[str, Any]], headings: Sequence[str]) -> str:
    if not rows:
        return f"<section><h2>{title}</h2><p>None.</p></section>"
    head = "".join(_td(heading.replace("_", " "), "th", like=rows[0].get(heading)) for heading in headings)
    lines = "".join(f"<tr>{''.join(_td(row.get(heading)) for heading in headings)}</tr>" for row in rows)
    return f"<section><h2>{title}</h2><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></section>"


def _td(value: object, tag: str = "td", like: object = None) -> str:
    """A cell; numbers, and the headings of numbers, are on the right."""
    example = value if like is None else like
    number = isinstance(example, int) and not isinstance(example, bool)
    return f"<{tag}{' class=n' if number else ''}>{cell(value)}</{tag}>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{cell(item)}</li>' for item in items)}</ul>"


def _ids(ids: Iterable[UUID]) -> str:
    return ", ".join(cell(each) for each in ids)
