"""What a report says, before it is a page of HTML, a PDF or a page of the console: the same in all of them.

Values are as the journal has them; `text_of` writes one for people who read the report, in English and in UTC.
Nothing of an order is in it but ids and counts, and an ERP's words are masked (`workers.erp.own_words`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from config.durations import count
from config.telemetry.visible import visible
from orders.sentences import Sentence
from workers.erp.own_words import masked, masked_detail
from workers.operations import operator
from workers.proof.audit import Proof
from workers.proof.report.incident import MOST_ACTS, Incident

TITLE: Final = "Relais: report of an audit"
DETAIL_LENGTH: Final = 300  # characters of what an act was about
KINDS: Final = {
    "accepted": "accepted",
    "delivered": "delivered",
    "backlog": "backlog",
    "failed": "attempts that failed",
    "pause": "paused",
    "quarantine": "in quarantine",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A table: its rows by heading."""

    title: str
    headings: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """A whole report: of the journal the proof, of the span the rest. Counts are orders."""

    incident: Incident
    at: datetime
    by: str
    sound: bool
    verdict: str
    faults: list[Sentence]
    ids: Mapping[Sentence, Sequence[object]]  # of what is wrong, the first of each kind
    remarks: list[Sentence]
    span: Mapping[str, int]
    ledger: Mapping[str, int]
    equation: str
    sections: list[Section]
    seals: Mapping[str, Any]
    books: Section


def contents(proof: Proof, incident: Incident) -> Contents:
    """Put it together."""
    ledger, equation = _ledger(proof)
    return Contents(
        incident,
        proof.at,
        operator(),
        proof.sound,
        _verdict(proof),
        proof.faults,
        proof.books.ids,
        proof.chain.remarks,
        _span(incident),
        ledger,
        equation,
        _sections(incident),
        _seals(proof),
        _books(proof, incident),
    )


def text_of(value: object) -> str:
    """A value for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}\xa0UTC"
    if isinstance(value, Mapping):
        value = json.dumps(value, ensure_ascii=False, default=str)
        value = value if len(value) <= DETAIL_LENGTH else f"{value[:DETAIL_LENGTH]}…"
    return visible(str(value))


def is_number(value: object) -> bool:
    """Whether it stands on the right of its column."""
    return isinstance(value, int) and not isinstance(value, bool)


def _verdict(proof: Proof) -> str:
    if not proof.sound:
        return f"Faults were found: {len(proof.faults):,}."
    blocks = proof.chain.blocks
    sealed = f", as it was sealed ({count(blocks, 'block')})" if blocks else ""
    return f"The journal balances{sealed}. No fault was found."


def _span(incident: Incident) -> dict[str, int]:
    return {
        "accepted": incident.total("accepted"),
        "delivered": incident.total("delivered"),
        "attempts that failed": incident.total("failed"),
        "largest backlog": max(incident.waiting, default=0),
        "backlog at the end": incident.left,
    }


def _ledger(proof: Proof) -> tuple[dict[str, int], str]:
    ledger = proof.ledger
    parts = {name: getattr(ledger, name) for name in ("backlog", "delivered", "dead", "cancelled", "discarded")}
    equals = "=" if ledger.accepted == sum(parts.values()) else "≠"
    sums = " + ".join(f"{count:,}\xa0{name}" for name, count in parts.items())
    return {"accepted": ledger.accepted, **parts}, f"{ledger.accepted:,}\xa0accepted {equals} {sums}"


def _sections(incident: Incident) -> list[Section]:
    acts = [
        {"no.": number, **act, "detail": masked_detail(act["detail"])} for number, act in enumerate(incident.acts, 1)
    ]
    backends = [{**row, "held_why": masked(row["held_why"])} for row in incident.backends]
    outages = [{**row, "why": masked(row["why"])} for row in incident.outages]
    cut = f"The first {MOST_ACTS:,} are shown." if len(acts) == MOST_ACTS else ""
    return [
        Section("Outages of backends", ("backend", "began", "ended", "failures", "why"), outages),
        Section("Acts of operators", ("no.", "at", "operator", "act", "reason", "detail"), acts, cut),
        Section(
            "Evidence against backends",
            ("backend", "kind", "proof", "pieces", "orders", "first", "last"),
            incident.evidence,
        ),
        Section(
            "What the backends have, as they were asked",
            (
                "at",
                "operator",
                "backend",
                "since",
                "until",
                "state",
                "present",
                "missing",
                "resent",
                "altered",
                "unknown",
                "foreign",
            ),
            incident.reconciled,
        ),
        Section("Attempts by outcome", ("outcome", "attempts", "orders", "first", "last"), incident.outcomes),
        Section("Dead letters as they stand", ("backend", "reason", "orders", "first", "last"), incident.dead),
        Section(
            "Backends, as they stand",
            ("name", "circuit", "changed_at", "paused", "quarantined", "quarantined_at", "quarantined_by", "held_why"),
            backends,
        ),
    ]


def _seals(proof: Proof) -> dict[str, Any]:
    chain, last = proof.chain, proof.chain.last
    facts = {
        "blocks": chain.blocks,
        "rows in them": chain.rows,
        "rows not sealed yet": chain.unsealed,
        "last block in the anchor": chain.anchored,
        "receipts with a signature": proof.signatures.signed,
        "of which wrong": proof.signatures.wrong,
        "last block": last and last.block,
        "sealed": last and last.sealed_at,
        "with key": last and last.key_id,
        "its mac": last and last.mac.hex(),
        "verification": "no fault" if not (chain.faults or proof.signatures.faults) else "faults, see above",
    }
    return {name: value for name, value in facts.items() if value is not None}


def _books(proof: Proof, incident: Incident) -> Section:
    """The slices of the span, and whatever does not add up."""
    first = incident.since - timedelta(days=1)
    chosen = [each for each in proof.books.slices if first < each.since < incident.until or not each.balanced]
    headings = ("since", "accepted", "backlog", "delivered", "dead", "cancelled", "discarded")
    rows = [{**{name: getattr(each, name) for name in headings}, "adds up": each.balanced} for each in chosen]
    return Section(f"Ledger by {proof.books.unit} of acceptance", (*headings, "adds up"), rows)
