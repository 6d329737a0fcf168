"""`relais submit`: a file of orders, one JSON document a line (NDJSON) or CSV, each safe in Relais or in the spool."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli import show
from workers.cli.failure import BAD, INTERRUPTED, UNABLE, CommandFailed
from workers.cli.session import Json, settings_of

if TYPE_CHECKING:
    from workers.cli.files.formats import OrdersFile
    from workers.cli.files.send import Client, SubmitCounts

MOST_SHOWN = 50  # lines not taken that the table shows; --json has more
CUT_SHORT = "interrupted"
KINDS = ("accepted", "repeated", "spooled")
REFUSED = ("conflict", "malformed", "forbidden", "unsendable")

Url = Annotated[str | None, typer.Option(help="The intake; RELAIS_API_URL, else the one that runs here.")]
Key = Annotated[str | None, typer.Option(help="API key. RELAIS_API_KEY keeps it out of the process list.")]
SpoolPath = Annotated[
    Path | None, typer.Option("--spool", help="RELAIS_SPOOL, else spool.db in the data directory; on a local disk.")
]


def submit(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="One JSON order a line, or CSV; also packed by gzip. - is stdin.")
    ],
    url: Url = None,
    key: Key = None,
    spool: SpoolPath = None,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to go on trying, at the end, to get orders out of the spool.")
    ] = 10.0,
    as_json: Json = False,
) -> None:
    """Hand over every order of a file. A malformed line costs no other; submitting again takes nothing twice.

    CSV has a header with pharmacy, reference, product and quantity; the rows of one order stand together.

    While the intake is away, orders are put into a spool on this machine's disk, where they are as safe as the
    disk: that is `spooled`, and no failure. `relais spool flush` hands them over later, and so does the next submit.

    Exit 0 when every order is safe, in Relais or in the spool (--json tells how many in which), 1 when one was
    refused, 2 when it had to stop.
    """
    from config.addresses import intake_url
    from workers.cli import intake_client
    from workers.cli.files.formats import OrdersFile
    from workers.cli.files.lines import Unusable
    from workers.cli.files.send import SubmitCounts

    settings = settings_of(ctx)
    place, secret = url or intake_url(settings), intake_client.api_key(key)
    kept_in = intake_client.spool_at(settings, spool)
    began, result, read = time.monotonic(), SubmitCounts(), OrdersFile(_opened(file))
    try:
        sending = _send(read, lambda heard: intake_client.client(place, secret, kept_in, heard), result, patience)
        intake_client.run(sending)
    except Unusable as error:
        raise CommandFailed(f"{'what came in' if file == '-' else file} is {error}") from None
    except KeyboardInterrupt:
        result.stopped = CUT_SHORT
    report = _report(result, time.monotonic() - began)
    show.document(report) if as_json else _show(report)
    if read.taken_as:
        show.say(f"Read as {' of '.join(reversed(read.taken_as))}.")
    if report["spooled"]:
        show.say(_waiting(report["spooled"], kept_in, result.trouble))
    if result.stopped == CUT_SHORT:
        raise CommandFailed(_cut_short(report), INTERRUPTED)
    if result.stopped:
        raise CommandFailed(f"stopped: {result.stopped}. Submit the file again: nothing is taken twice", UNABLE)
    if any(report[kind] for kind in REFUSED):
        raise typer.Exit(BAD)


def _opened(file: str) -> int:
    import os

    return 0 if file == "-" else os.open(file, os.O_RDONLY)


async def _send(read: OrdersFile, client_for: Client, result: SubmitCounts, patience: float) -> None:
    import os
    import stat

    from workers.cli.files.send import send
    from workers.cli.progress import bar

    found = os.fstat(read.descriptor)
    size = found.st_size if stat.S_ISREG(found.st_mode) else None
    with bar("submit", None) as shown:

        def tell(news: str) -> None:
            """Orders so far, of as many as the file's size promises."""
            shown.at(result.lines, _foreseen(result, read, size), news)

        await send(read, client_for, result, patience=patience, tell=tell)
        shown.at(result.lines, result.lines)


def _foreseen(result: SubmitCounts, read: OrdersFile, size: int | None) -> int | None:
    """How many orders there will be, by what those so far took of the file; None while nobody knows."""
    if not (size and result.size and read.read):
        return None
    placed = result.size * read.read / read.text  # bytes of the file, which may be packed
    return round(result.lines * max(1.0, size / placed))


def _cut_short(report: dict[str, Any]) -> str:
    in_relais = report["accepted"] + report["repeated"]
    safe = f"{show.count(in_relais, 'order is', 'orders are')} in Relais, {report['spooled']:,} in the spool"
    return f"{CUT_SHORT}: {safe}, perhaps a few more. Submit the file again: nothing is taken twice"


def _report(result: SubmitCounts, seconds: float) -> dict[str, Any]:
    return {
        "orders": result.lines,
        **{kind: result.counts[kind] for kind in (*KINDS, *REFUSED)},
        "not_taken": result.not_taken,
        "not_listed": sum(result.counts[kind] for kind in REFUSED) - len(result.not_taken),
        "stopped": result.stopped,
        "seconds": round(seconds, 3),
    }


def _show(report: dict[str, Any]) -> None:
    listed = report["not_taken"][:MOST_SHOWN]
    if listed:
        show.table("Not taken", listed, ("line", "kind", "reason"))
    more = len(report["not_taken"]) - len(listed) + report["not_listed"]
    if more:
        show.line(f"and {more:,} more")
    rate = report["orders"] / report["seconds"] if report["seconds"] else 0
    always, some = ("accepted", "repeated", "conflict", "malformed"), ("forbidden", "unsendable", "spooled")
    kinds = [f"{report[kind]:,} {kind}" for kind in (*always, *some) if kind in always or report[kind]]
    show.line(f"{show.count(report['orders'], 'order')}: {', '.join(kinds)} ({rate:,.0f}/s)")


def _waiting(count: int, spool: Path, trouble: str | None) -> str:
    why = f" ({trouble})" if trouble else ""
    orders, them = show.count(count, "order is", "orders are"), "it" if count == 1 else "them"
    return f"{orders} safe in the spool {spool} and not in Relais yet{why}: `relais spool flush` sends {them}"
