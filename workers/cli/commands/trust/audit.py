"""The command `audit`: what it proves, for people or scripts, and the report that can be handed on."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from config.durations import bounded, duration
from orders.sentences import Sentence
from workers.cli import show
from workers.cli.failure import BAD, CommandFailed
from workers.cli.session import Json, on_journal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from config.settings import Settings
    from workers.proof.audit import Proof


def instant(text: str) -> datetime:
    """The time that `text` names, such as 2024-10-19, 2024-10-19T14:30 or 2024-10-19T14:30+02:00."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("a time is 2024-10-19, 2024-10-19T14:30 or 2024-10-19T14:30+02:00") from None
    return bounded(found)


def place(text: str) -> str:
    """The name of a time zone. ValueError."""
    try:
        return ZoneInfo(text).key
    except (LookupError, ValueError, OSError):
        raise ValueError("a time zone is UTC, or Europe/Paris") from None


def pause(text: str) -> timedelta:
    """The time between two audits: 90s, 15m, 6h; a second at least. ValueError."""
    found = duration(text)
    if found < timedelta(seconds=1):
        raise ValueError("at least a second")
    return found


When = Annotated[datetime | None, typer.Option(parser=instant, metavar="TIME", help="Of the report, in its zone.")]


@dataclass(frozen=True, slots=True)
class Handed:
    """What is to be written for others, and how: of which span, in which language, in the times of which zone."""

    path: Path
    since: datetime | None
    until: datetime | None
    language: str
    zone: str

    async def write(self, engine: AsyncEngine, proof: Proof) -> None:
        """Write it."""
        from workers.console.i18n import languages
        from workers.console.report.voice import in_file
        from workers.proof.report.report import write_report

        voice = in_file(languages(self.zone)[self.language], self.zone)
        await write_report(engine, proof, self.path, voice, self._of(self.since), self._of(self.until))

    def _of(self, at: datetime | None) -> datetime | None:
        return at if at is None or at.tzinfo else at.replace(tzinfo=ZoneInfo(self.zone))


def audit(
    ctx: typer.Context,
    by: Annotated[Literal["hour", "day"] | None, typer.Option(help="Slices of the arithmetic.")] = None,
    anchors: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Compare with it, not with RELAIS_ANCHOR.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Write it, too: HTML, or PDF as FILE.pdf."),
    ] = None,
    since: When = None,
    until: When = None,
    language: Annotated[Literal["en", "fr"], typer.Option(help="Of the report.")] = "en",
    zone: Annotated[str, typer.Option(parser=place, metavar="ZONE", help="Of the report: Europe/Paris.")] = "UTC",
    every: Annotated[
        timedelta | None, typer.Option(parser=pause, metavar="TIME", help="Again and again, until stopped: 1h.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove that no order is missing and none was altered.

    From the journal, its seals and their anchors; leaves the verdict in the journal, for the metrics. Exit 1 when
    anything is wrong.
    """
    handed = None if report is None else Handed(report, since, until, language, zone)
    if every is None:
        if not _audit(ctx, by, anchors, handed, as_json=as_json):
            raise typer.Exit(BAD)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        while True:
            try:
                _audit(ctx, by, anchors, handed, as_json=as_json)
            except CommandFailed as error:
                show.say(f"relais: {error}")  # a journal that is away is audited when it is back
            time.sleep(every.total_seconds())


def _audit(
    ctx: typer.Context,
    by: Literal["hour", "day"] | None,
    anchors: Path | None,
    report: Handed | None,
    *,
    as_json: bool,
) -> bool:
    """One audit; whether all is well."""
    from workers.cli.progress import bar

    async def examine(engine: AsyncEngine, settings: Settings) -> Proof:
        from workers.proof.audit import prove, write_down

        with bar("audit", None) as shown:
            proof = await prove(engine, settings, unit=by, anchors=anchors, watch=shown.at)
        if report is not None:
            await report.write(engine, proof)
        if not await write_down(engine, proof):
            show.say("The verdict could not be written down: the journal takes no rows here.", "yellow")
        return proof

    proof = on_journal(ctx, examine)
    show.document(document(proof)) if as_json else show_proof(proof)
    if report is not None:
        show.say(f"The report is in {report.path}.")
    return proof.sound


def document(proof: Proof) -> dict[str, Any]:
    """The proof for scripts."""
    ledger = asdict(proof.ledger)
    return {
        "sound": proof.sound,
        "balanced": proof.ledger.balanced,
        **ledger,
        "faults": proof.faults,
        "remarks": proof.chain.remarks,
        "ids": {what.key: ids for what, ids in proof.books.ids.items()},
        "by": proof.books.unit,
        "slices": [
            {
                **asdict(each),
                "wrong": {what.key: count for what, count in each.wrong.items()},
                "balanced": each.balanced,
            }
            for each in proof.books.slices
        ],
        "seals": seals(proof),
        "receipts": {"signed": proof.signatures.signed, "wrong": proof.signatures.wrong},
        "at": proof.at,
    }


def seals(proof: Proof) -> dict[str, Any]:
    """What is sealed and anchored."""
    chain = proof.chain
    return {
        "blocks": chain.blocks,
        "rows": chain.rows,
        "unsealed": chain.unsealed,
        "anchored": chain.anchored,
        "last": chain.last.sealed_at if chain.last else None,
    }


def show_proof(proof: Proof) -> None:
    """The proof for people."""
    figures: Mapping[str, object] = asdict(proof.ledger)
    show.facts("Ledger, in orders", {name: value for name, value in figures.items() if name != "faults"})
    show.facts("Seals", {**seals(proof), "signed receipts": proof.signatures.signed})
    wrong = [
        {**asdict(each), "wrong": ", ".join(Sentence(what, count=count) for what, count in each.wrong.items())}
        for each in proof.books.slices
        if not each.balanced
    ]
    if wrong:
        headings = ("since", "accepted", "backlog", "delivered", "dead", "cancelled", "discarded", "wrong")
        show.table(f"By {proof.books.unit}, what does not add up", wrong, headings)
    for fault in proof.faults:
        show.line(f"✗ {fault}", "red")
    for what, ids in proof.ids.items():
        show.line(f"  {what}: {', '.join(map(str, ids))}", "red")
    for remark in proof.chain.remarks:
        show.line(f"! {remark}", "yellow")
    show.line(*verdict(proof))


def verdict(proof: Proof) -> tuple[str, str]:
    """The last word, and its colour."""
    if not proof.ledger.balanced:
        return "DOES NOT BALANCE", "bold red"
    if not proof.sound:
        return "balances, but IS NOT WHAT WAS SEALED", "bold red"
    return ("balances, as sealed" if proof.chain.blocks else "balances"), "green"
