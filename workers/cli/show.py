"""How a report looks: a table for people or one JSON document for scripts on stdout, all else on stderr.

rich is imported when something is drawn: help, completion and JSON do without it.

Whatever came from outside (references, an ERP's error texts) is shown as plain text, without markup, and visible
(`config.telemetry.visible`), in JSON too.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

from config.telemetry.visible import visible, visible_json
from orders.sentences import Sentence
from orders.sentences import count as count
from orders.states import STOPPED, UNFIT
from workers.cli import tables
from workers.cli.tables import Cell

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

PIPED = 160  # columns
NUMBERS = frozenset({"id", "block", "line", "newest", "replay", "status"})  # headings of what is no count


def document(report: object) -> None:
    """Write a report as one JSON document: times in UTC with a Z, durations in seconds."""
    sys.stdout.write(visible_json(json.dumps(report, default=_plain, ensure_ascii=False, indent=2)) + "\n")
    sys.stdout.flush()


def say(message: str, style: str = "") -> None:
    """A line for the person at the terminal, on stderr."""
    _print(_text(message, style), stderr=True)


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
    names = [heading.replace("_", " ") for heading in headings]
    cells = [[cell(row.get(heading), heading) for heading in headings] for row in rows]
    _titled(title, lambda width: tables.table(names, cells, width), heads=bool(cells))


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
    known = {name.replace("_", " "): cell(value, name) for name, value in pairs.items() if value is not None}
    _titled(title, lambda width: tables.narrow([*known], [[*known.values()]], width) if known else [])


def life(found: Mapping[str, Any]) -> None:
    """An order's whole life; its note may be about a patient, and is left to --json."""
    ordered, receipt = found["order"], found["receipt"]
    names = ("pharmacy", "reference", "state", "reason", "error", "rival", "attempts", "backend", "received_at")
    pairs = {name: found[name] for name in (*names, "client", "due_at", "settled_at", "digest")}
    pairs["error"] = erp_words(found["error"] or "", whole=found["reason"] in UNFIT) or None
    note = f"{count(len(ordered['note']), 'character')}, in --json" if ordered.get("note") else None
    pairs |= {name: ordered.get(name) for name in ("priority", "cut_off", "valid_until")} | {"note": note}
    facts(f"Order {found['id']}", pairs)
    taken = {each["line"]: each for each in receipt["lines"]} if receipt else {}
    lines = [
        {"line": number, **said, **each, "why": _of_line(said.get("reason"))}
        for number, each in enumerate(ordered["lines"], 1)
        for said in (taken.get(number, {}),)
    ]
    more = [name for name in ("substitute", "back_ordered", "expected") if any(each.get(name) for each in lines)]
    table("Lines", lines, ("line", "product", "quantity", "accepted", "why", *more))
    tried = [{**each, "detail": erp_words(each["detail"] or "")} for each in found["history"]]
    table("Attempts", tried, ("started_at", "ended_at", "outcome", "status", "detail", "worker"))
    if receipt:
        told = ("reference", "received_at", "digest", "key_id", "signature")
        facts("Receipt", {name: receipt[name] for name in told})


def _of_line(reason: str | None) -> str:
    """Why the ERP takes less of a line: a word of the trade, or masked."""
    from workers.erp.own_words import is_trade

    return reason if reason and is_trade(reason) else erp_words(reason or "")


def replay(row: Mapping[str, Any]) -> None:
    """A replay and its stages."""
    from workers.replay.gates import going_on, named

    names = ("state", "why", "orders", "left", "hold", "started_at", "started_by", "ended_at")
    told = {"stage": named(row["stage"]), **{each: row[each] for each in names}}
    if row["state"] in STOPPED:
        stage, orders = going_on(row)
        told["goes on with"] = f"{named(stage)}: {count(orders, 'order')}"
    facts(f"Replay {row['id']} of {row['backend']}", told)
    if row["history"]:
        stages = [
            {"stage": named(each["stage"]), **each["found"], "because": each["failed"]} for each in row["history"]
        ]
        table("Stages", stages, ("stage", "answered", "failed", "refused", "slow", "because"))


def _titled(title: str, lines: Callable[[int], list[str]], heads: bool = False) -> None:
    """The title and the lines that fit into so many columns."""
    _print(_text(title, "bold"))
    out = _out(soft_wrap=True)
    for number, each in enumerate(lines(out.width)):
        out.print(_text(each, "dim" if heads and number == 0 else ""))


def line(message: str, style: str = "") -> None:
    """One line of a report, on stdout."""
    _print(_text(message, style))


def drawn(screen: RenderableType) -> None:
    """A part of a report that was drawn elsewhere, on stdout."""
    _print(screen)


def _print(part: RenderableType, stderr: bool = False) -> None:
    """At a terminal between words, and never in one; a pipe gets every line whole."""
    if _piped(sys.stderr if stderr else sys.stdout):
        _out(stderr=stderr, soft_wrap=True).print(part)
    else:
        console = _out(stderr=stderr)
        console.print(_broken(part, console.width), overflow="ignore", crop=False)


def _broken(part: RenderableType, width: int) -> RenderableType:
    """Sentences with their ends of lines; rich would cut a word that is longer than a line, or break none."""
    from rich.console import Group
    from rich.text import Text

    if isinstance(part, Group):
        return Group(*(_broken(each, width) for each in part.renderables))
    if not isinstance(part, Text) or part.spans:
        return part
    lines = (
        textwrap.wrap(each, width, break_long_words=False, break_on_hyphens=False) for each in part.plain.split("\n")
    )
    return Text("\n".join("\n".join(each) for each in lines), part.style)


def _out(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Stdout or stderr; a pipe has no width of its own and gets one that tables fit into."""
    width = PIPED if _piped(sys.stderr if stderr else sys.stdout) else None
    return _console(stderr=stderr, soft_wrap=soft_wrap, width=width)


def _piped(stream: TextIO) -> bool:
    return not stream.isatty() and "COLUMNS" not in os.environ


def _console(**options: Any) -> Console:
    from rich.console import Console

    return Console(**options)


def _text(said: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(visible(said), style=style)


def cell(value: object, heading: str = "") -> Cell:
    """A value as a table shows it under this heading: numbers with separators, ids without."""
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(str(value) if heading in NUMBERS else f"{value:,}", right=True)
    if isinstance(value, datetime):
        return Cell(moment(value))
    return Cell("" if value is None else visible(sentence(value) if isinstance(value, Sentence) else str(value)))


def sentence(told: Sentence) -> str:
    """A sentence as everybody may see it: of an ERP's words in it only what is ours."""
    from workers.erp.own_words import masked

    return str(masked(told))


def erp_words(told: str, *, whole: bool = False) -> str:
    """What an ERP said, as everybody may see it: only what is ours, for it may name a patient; --json has it whole.

    `whole` where it is all ours.
    """
    if whole or not told:
        return told
    from workers.erp.own_words import own_words

    own = own_words(told)
    return own if own == told else f"{own} (masked)".lstrip()


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
