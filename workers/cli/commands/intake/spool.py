"""`relais spool`: the orders that wait on this machine for the intake: look at them, send them, write them out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli.commands.intake.submit import REFUSED, Key, SpoolPath, Url
from workers.cli.failure import BAD, UNABLE, CommandFailed
from workers.cli.session import Json, settings_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence
    from typing import BinaryIO

    from orders.client.answers import Outcome
    from orders.client.spool import RefusedOrder, Spool, SpoolStatus, WaitingOrder

spool = typer.Typer(no_args_is_help=True, help="Orders that wait on this machine's disk for the intake.")

LISTED = 10_000  # refused orders, about, that a report lists; all are counted
MOST_SHOWN = 50  # of them in a table
TAKEN = ("accepted", "repeated")


@spool.command("status")
def status(
    ctx: typer.Context,
    path: SpoolPath = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="As Prometheus' text format, for node_exporter's textfile collector.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how many orders wait, since when, and which ones were refused and why."""
    from workers.cli import intake_client, show

    if metrics:
        sys.stdout.write(intake_client.run(_metrics(intake_client.spool_at(settings_of(ctx), path))))
        return
    report = intake_client.run(_status(intake_client.spool_at(settings_of(ctx), path)))
    if as_json:
        show.document(report)
        return
    show.facts("Spool", {name: value for name, value in report.items() if name != "refusals"})
    if report["refusals"]:
        headings = ("number", "pharmacy", "reference", "kind", "reason", "refused_at")
        show.table("Refused, kept here", report["refusals"][:MOST_SHOWN], headings)
    if report["refused"] > MOST_SHOWN:
        show.line(f"and {report['refused'] - MOST_SHOWN:,} more")


@spool.command("flush")
def flush(
    ctx: typer.Context,
    url: Url = None,
    key: Key = None,
    path: SpoolPath = None,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to go on trying while nothing moves.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Hand over what waits, now.

    Exit 0 when nothing waits any more, 1 when orders were refused or do not get to the intake (they stay, see
    `status`), or when not one could be handed over, 2 when some were and others still wait.
    """
    from config.addresses import intake_url
    from workers.cli import intake_client, show

    settings = settings_of(ctx)
    place, secret = url or intake_url(settings), intake_client.api_key(key)
    kept_in = intake_client.spool_at(settings, path)
    intake_client.must_exist(kept_in)
    counts, left, trouble = intake_client.run(_flush(place, secret, kept_in, patience))
    report = {name: counts[name] for name in (*TAKEN, *REFUSED)}
    told = ", ".join(f"{count:,} {name}" for name, count in {**report, "still waiting": left.waiting}.items())
    show.answer({**report, "waiting": left.waiting, "refused": left.refused, "trouble": trouble}, as_json, told)
    if left.waiting and not counts:
        raise CommandFailed(f"not one order was handed over, {left.waiting:,} still wait: {trouble}", BAD)
    if left.waiting:
        raise CommandFailed(f"{show.count(left.waiting, 'order still waits', 'orders still wait')}: {trouble}", UNABLE)
    if any(report[kind] for kind in REFUSED):
        raise typer.Exit(BAD)


@spool.command("export")
def export(
    ctx: typer.Context,
    to: Annotated[Path | None, typer.Option(help="A new file (0600); stdout when left out.")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Those that were refused.")] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="With --refused and --to: take them out once they are in the file.")
    ] = False,
    path: SpoolPath = None,
) -> None:
    """Write the orders that wait as NDJSON, in order, which `relais submit` reads again. They stay in the spool."""
    from workers.cli import intake_client, show

    if remove and not (refused and to):
        raise CommandFailed(
            "--remove goes with --refused and --to: an order that waits leaves the spool when it is taken"
        )
    count = intake_client.run(_export(intake_client.spool_at(settings_of(ctx), path), to, refused, remove))
    show.say(f"{show.count(count, 'order')} written")


async def _status(path: Path) -> dict[str, Any]:
    from workers.cli import intake_client

    async with intake_client.looking_into(path) as found:
        held = await found.standing()
        refusals: list[dict[str, Any]] = []
        while len(refusals) < LISTED and (page := await found.refused(refusals[-1]["number"] if refusals else 0)):
            refusals += map(_refusal, page)
    return {
        "spool": str(path),
        "waiting": held.waiting,
        "oldest": held.oldest,
        "refused": held.refused,
        "bytes": held.size,
        "refusals": refusals,
    }


async def _metrics(path: Path) -> str:
    from orders.client.spool import render
    from workers.cli import intake_client

    async with intake_client.looking_into(path) as found:
        return render(await found.standing())


def _refusal(order: RefusedOrder) -> dict[str, Any]:
    import json

    try:
        body = dict(json.loads(order.body))
    except (ValueError, TypeError):  # what is damaged is shown too
        body = {}
    return {
        "number": order.number,
        "pharmacy": body.get("pharmacy"),
        "reference": body.get("reference"),
        "kind": order.kind,
        "reason": order.reason,
        "spooled_at": order.spooled_at,
        "refused_at": order.refused_at,
    }


async def _flush(url: str, key: str, path: Path, patience: float) -> tuple[Counter[str], SpoolStatus, str | None]:
    from collections import Counter

    from orders.client.answers import kind_of
    from workers.cli import intake_client
    from workers.cli.progress import bar

    counts: Counter[str] = Counter()

    def heard(number: int, outcome: Outcome) -> None:
        counts[kind_of(outcome)] += 1

    async with intake_client.client(url, key, path, heard) as client:
        first = (await client.spool.standing()).waiting
        with bar("flush", first) as shown:
            left = await client.flush(
                patience, lambda now: shown.at(max(0, first - now.waiting), first, str(client.trouble or ""))
            )
        return counts, left, str(client.trouble) if left.waiting else None


async def _export(path: Path, to: Path | None, refused: bool, remove: bool) -> int:
    import os

    from workers.cli import intake_client

    async with intake_client.looking_into(path) as found:
        if to is None:
            return len(await _write(found, refused, sys.stdout.buffer))
        with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            written = await _write(found, refused, file)
            os.fsync(file.fileno())
        if remove:
            await found.settle(written)
    return len(written)


async def _write(found: Spool, refused: bool, file: BinaryIO) -> list[int]:
    """Write the orders, page by page; their numbers."""
    written: list[int] = []
    page: Sequence[WaitingOrder | RefusedOrder]
    while page := await (found.refused if refused else found.waiting)(written[-1] if written else 0):
        file.write(b"".join(each.body + b"\n" for each in page))
        written += [each.number for each in page]
    file.flush()
    return written
