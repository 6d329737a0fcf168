"""How a report looks: a table for people or one JSON document for scripts on stdout, all else on stderr.

rich is imported when something is drawn: help, completion and JSON do without it.

Whatever came from outside (references, an ERP's error texts) is shown as plain text, without markup, and visible
(`config.telemetry.visible`), in JSON too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from config.telemetry.visible import visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

PIPED = 160  # columns


def document(report: object) -> None:
    """Write a report as one JSON document: times in UTC with a Z, durations in seconds."""
    sys.stdout.write(visible_json(json.dumps(report, default=_plain, ensure_ascii=False, indent=2)) + "\n")
    sys.stdout.flush()


def say(message: str, style: str = "") -> None:
    """A line for the person at the terminal, on stderr."""
    _console(stderr=True, soft_wrap=True).print(_text(message, style))


def answer(report: object, as_json: bool, message: str | None, style: str = "") -> None:
    """What came of a command, as one document or as a line, if there is one to say."""
    if as_json:
        document(report)
    elif message is not None:
        line(message, style)


def secret(what: str, value: str, report: object, as_json: bool) -> None:
    """What is shown this once, on stdout and nowhere else; as one document or by itself."""
    if as_json:
        return document(report)
    say(f"{what}, shown this once:")
    sys.stdout.write(f"{value}\n")
    return None


def table(title: str, rows: Iterable[Mapping[str, object]], headings: Sequence[str]) -> None:
    """A table on stdout; `headings` are the rows' keys, in order."""
    drawn = _grid()
    for heading in headings:
        drawn.add_column(heading.replace("_", " "), overflow="fold")
    for row in rows:
        drawn.add_row(*(cell(row.get(heading)) for heading in headings))
    _titled(title, drawn)


def listing(
    found: Sequence[dict[str, Any]],
    as_json: bool,
    title: str,
    headings: Sequence[str],
    row: Callable[[dict[str, Any]], Mapping[str, object]] = dict,
) -> None:
    """What was found, as one document or as a table of what `row` makes of each."""
    document(found) if as_json else table(title, map(row, found), headings)


def facts(title: str, pairs: Mapping[str, object]) -> None:
    """Names and values, one a line; values that are None are left out."""
    drawn = _grid(show_header=False)
    drawn.add_column()
    drawn.add_column(overflow="fold")
    for name, value in pairs.items():
        if value is not None:
            drawn.add_row(name.replace("_", " "), cell(value))
    _titled(title, drawn)


def life(found: Mapping[str, Any]) -> None:
    """An order's whole life; its note may be about a patient, and is left to --json."""
    ordered, receipt = found["order"], found["receipt"]
    names = ("pharmacy", "reference", "state", "reason", "error", "rival", "attempts", "backend", "received_at")
    pairs = {name: found[name] for name in (*names, "client", "due_at", "settled_at", "digest")}
    note = f"{len(ordered['note'])} characters, in --json" if ordered.get("note") else None
    pairs |= {name: ordered.get(name) for name in ("priority", "cut_off", "valid_until")} | {"note": note}
    facts(f"Order {found['id']}", pairs)
    taken = {each["line"]: each for each in receipt["lines"]} if receipt else {}
    lines = [
        {"line": number, **each, "accepted": said.get("accepted"), "why": said.get("reason")}
        for number, each in enumerate(ordered["lines"], 1)
        for said in (taken.get(number, {}),)
    ]
    table("Lines", lines, ("line", "product", "quantity", "accepted", "why"))
    table("Attempts", found["history"], ("started_at", "ended_at", "outcome", "status", "detail", "worker"))
    if receipt:
        told = ("reference", "received_at", "digest", "key_id", "signature")
        facts("Receipt", {name: receipt[name] for name in told})


def replay(row: Mapping[str, Any]) -> None:
    """A replay and its stages."""
    from workers.replay.gates import named

    names = ("state", "why", "orders", "left", "hold", "started_at", "started_by", "ended_at")
    facts(
        f"Replay {row['id']} of {row['backend']}", {"stage": named(row["stage"]), **{each: row[each] for each in names}}
    )
    if row["history"]:
        stages = [
            {"stage": named(each["stage"]), **each["found"], "because": each["failed"]} for each in row["history"]
        ]
        table("Stages", stages, ("stage", "answered", "failed", "refused", "slow", "because"))


def _titled(title: str, drawn: Table) -> None:
    console = _out()
    console.print(_text(title, "bold"))
    console.print(drawn)


def line(message: str, style: str = "") -> None:
    """One line of a report, on stdout."""
    _out(soft_wrap=True).print(_text(message, style))


def _out(soft_wrap: bool = False) -> Console:
    """Stdout; a pipe has no width of its own and gets one that tables fit into."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return _console(soft_wrap=soft_wrap, width=PIPED if piped else None)


def _console(**options: Any) -> Console:
    from rich.console import Console

    return Console(**options)


def _grid(**options: Any) -> Table:
    from rich.table import Table

    return Table(**options)


def _text(said: str, style: str = "", justify: Literal["left", "right"] = "left") -> Text:
    from rich.text import Text

    return Text(visible(said), style=style, justify=justify)


def cell(value: object) -> Text:
    """A value as a table shows it."""
    if isinstance(value, bool):
        return _text("yes" if value else "no")
    if isinstance(value, int):
        return _text(f"{value:,}", justify="right")
    return _text("" if value is None else moment(value) if isinstance(value, datetime) else str(value))


def count(number: int, one: str, many: str | None = None) -> str:
    """So many of something: `1 order`, `2,500 orders`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(value: datetime) -> str:
    """A time in UTC, to the second: `2026-01-05 11:30:00Z`."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no place in a report")
