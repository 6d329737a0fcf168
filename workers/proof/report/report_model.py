"""What a report says, before it is a page of HTML, a PDF or a page of the console: the same in all of them.

Values are as the journal has them; `workers.proof.report.voice` tells them in somebody's language and zone. Nothing
of an order is in it but ids and counts, and an ERP's words are masked (`workers.erp.own_words`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from orders.audit_codes import AuditCode
from orders.sentences import Sentence
from workers.erp.own_words import masked, masked_detail
from workers.operations import operator
from workers.proof.report.incident import MOST_ACTS, Incident

if TYPE_CHECKING:
    from workers.proof.audit import Proof

TITLE: Final = "Relais: report of an audit"
KINDS: Final = {
    "accepted": "accepted",
    "delivered": "delivered",
    "backlog": "backlog",
    "failed": "attempts that failed",
    "pause": "paused",
    "quarantine": "in quarantine",
}
CUT: Final = f"The first {MOST_ACTS:,} are shown."
PARTS: Final = ("backlog", "delivered", "dead", "cancelled", "discarded")  # that make up what was accepted


@dataclass(frozen=True, slots=True)
class Section:
    """A table: its rows by heading; what stands under `codes` is a code of ours, and told as such."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    codes: Sequence[str] = ()
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """A whole report: of the journal the proof, of the span the rest. Counts are orders."""

    incident: Incident
    at: datetime
    by: str
    sound: bool
    verdict: Sentence
    faults: list[Sentence]
    ids: Mapping[Sentence, Sequence[object]]  # of what is wrong, the first of each kind
    remarks: list[Sentence]
    span: Mapping[str, int]
    ledger: Mapping[str, int]
    sections: list[Section]
    seals: Mapping[str, Any]
    books: Section


def contents(proof: Proof, incident: Incident) -> Contents:
    """Put it together."""
    return Contents(
        incident,
        proof.at,
        operator(),
        proof.sound,
        _verdict(proof),
        proof.faults,
        proof.ids,
        proof.chain.remarks,
        _span(incident),
        _ledger(proof),
        _sections(incident),
        _seals(proof),
        _books(proof, incident),
    )


def _verdict(proof: Proof) -> Sentence:
    if not proof.sound:
        return Sentence(AuditCode.FAULTS_FOUND, count=len(proof.faults))
    blocks = proof.chain.blocks
    return Sentence(AuditCode.BALANCES_SEALED, count=blocks) if blocks else Sentence(AuditCode.BALANCES)


def _span(incident: Incident) -> dict[str, int]:
    return {
        "accepted": incident.total("accepted"),
        "delivered": incident.total("delivered"),
        "attempts that failed": incident.total("failed"),
        "largest backlog": max(incident.waiting, default=0),
        "backlog at the end": incident.left,
    }


def _ledger(proof: Proof) -> dict[str, int]:
    return {name: getattr(proof.ledger, name) for name in ("accepted", *PARTS)}


def _sections(incident: Incident) -> list[Section]:
    acts = [
        {"no.": number, **act, "detail": masked_detail(act["detail"])} for number, act in enumerate(incident.acts, 1)
    ]
    backends = [{**row, "why": masked(row["why"])} for row in incident.backends]
    outages = [{**row, "why": masked(row["why"])} for row in incident.outages]
    cut = CUT if len(acts) == MOST_ACTS else ""
    found = ("present", "missing", "resent", "altered", "unknown", "foreign")
    standing = ("backend", "circuit", "circuit so since", "paused", "in quarantine", "since", "by", "why")
    ends = ("first", "last")
    return [
        Section("Outages of backends", ("backend", "began", "ended", "failures", "why"), outages),
        Section("Acts of operators", ("no.", "at", "operator", "act", "reason", "detail"), acts, ("act",), cut),
        Section(
            "Evidence against backends",
            ("backend", "kind", "proof", "pieces", "orders", *ends),
            incident.evidence,
            ("kind",),
        ),
        Section(
            "What the backends have, as they were asked",
            ("at", "operator", "backend", "since", "until", "state", *found),
            incident.reconciled,
            ("state",),
        ),
        Section("Attempts by outcome", ("outcome", "attempts", "orders", *ends), incident.outcomes, ("outcome",)),
        Section("Dead letters as they stand", ("backend", "reason", "orders", *ends), incident.dead, ("reason",)),
        Section("Backends, as they stand", standing, backends, ("circuit",)),
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
        "verification": Sentence(
            AuditCode.FAULTS_ABOVE if chain.faults or proof.signatures.faults else AuditCode.NO_FAULT
        ),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _books(proof: Proof, incident: Incident) -> Section:
    """The slices of the span, and whatever does not add up."""
    first = incident.since - timedelta(days=1)
    chosen = [each for each in proof.books.slices if first < each.since < incident.until or not each.balanced]
    headings = ("since", "accepted", *PARTS)
    rows = [{**{name: getattr(each, name) for name in headings}, "adds up": each.balanced} for each in chosen]
    return Section(f"Ledger by {proof.books.unit} of acceptance", (*headings, "adds up"), rows)
