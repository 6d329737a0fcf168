"""`relais submit`: a file of orders, one JSON document a line (NDJSON), handed to the intake over HTTP."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli.failure import BAD, UNABLE, Failure
from workers.cli.session import Json, settings_of

if TYPE_CHECKING:
    from workers.cli.sending import Tally

SHOWN = 50  # lines not taken that the table shows; --json has more


def submit(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="One JSON order a line; - is stdin.")],
    url: Annotated[str | None, typer.Option(help="The intake; RELAIS_API_URL, else the one that runs here.")] = None,
    key: Annotated[str | None, typer.Option(help="API key. RELAIS_API_KEY keeps it out of the process list.")] = None,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to go on trying while the intake is out of reach.")
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Hand over every order of a file. A malformed line costs no other; submitting again takes nothing twice.

    Exit 1 when a line was not taken, 2 when it had to stop.
    """
    import uvloop

    from workers.cli import intake, show

    place = (url or intake.api_url(settings_of(ctx))).rstrip("/")
    secret = key or intake.api_key()
    if secret is None:
        raise Failure("an API key is needed: RELAIS_API_KEY or --key; `relais client add NAME` makes one")
    began = time.monotonic()
    tally = uvloop.run(_send(file, place, secret, patience))
    report = _report(tally, time.monotonic() - began)
    if as_json:
        show.document(report)
    else:
        _show(report)
    if tally.stopped:
        raise Failure(f"stopped: {tally.stopped}. Submit the file again: nothing is taken twice", UNABLE)
    if report["not_taken"]:
        raise typer.Exit(BAD)


async def _send(file: str, url: str, key: str, patience: float) -> Tally:
    import os
    import stat

    from workers.cli.progress import bar
    from workers.cli.sending import send

    descriptor = 0 if file == "-" else os.open(file, os.O_RDONLY)
    found = os.fstat(descriptor)
    size = found.st_size if stat.S_ISREG(found.st_mode) else None
    with bar("submit", None) as shown:

        def tell(tally: Tally) -> None:
            """Lines so far, of as many as the file's size promises."""
            total = round(tally.lines * max(size, tally.size) / tally.size) if size and tally.size else None
            shown.at(tally.lines, total)

        tally = await send(descriptor, url, key, patience=patience, tell=tell)
        shown.at(tally.lines, tally.lines)
    return tally


def _report(tally: Tally, seconds: float) -> dict[str, Any]:
    kinds = ("accepted", "repeated", "conflict", "malformed", "failed")
    not_taken = sum(tally.counts[kind] for kind in kinds[2:])
    return {
        "orders": tally.lines,
        **{kind: tally.counts[kind] for kind in kinds},
        "not_taken": tally.not_taken,
        "not_listed": not_taken - len(tally.not_taken),
        "stopped": tally.stopped,
        "seconds": round(seconds, 3),
    }


def _show(report: dict[str, Any]) -> None:
    from workers.cli import show

    listed = report["not_taken"][:SHOWN]
    if listed:
        show.table("Not taken", listed, ("line", "kind", "reason"))
    more = len(report["not_taken"]) - len(listed) + report["not_listed"]
    if more:
        show.line(f"and {more:,} more")
    rate = report["orders"] / report["seconds"] if report["seconds"] else 0
    kinds = [f"{report[kind]:,} {kind}" for kind in ("accepted", "repeated", "conflict", "malformed")]
    kinds += [f"{report['failed']:,} failed"] if report["failed"] else []
    show.line(f"{report['orders']:,} orders: {', '.join(kinds)} ({rate:,.0f}/s)")
