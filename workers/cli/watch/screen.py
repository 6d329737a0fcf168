"""How `relais status --watch` looks: one screen of 80 columns, or a line for a pipe. Only drawing, no looking.

What came from outside is shown as plain text. What is known from before is dimmed and says how old it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from config.durations import age, span
from config.telemetry.visible import visible
from workers.cli.show import count, sentence
from workers.cli.watch.history import FLOWS, History
from workers.replay.gates import named

BARS: Final = "▁▂▃▄▅▆▇█"
CURVE: Final = 50  # points
OUT: Final = ("dispatched", "delivering")  # with the workers or the ERP
COLOURS: Final = {"closed": "green", "half_open": "yellow", "open": "red"}
GRADES: Final = {"bad": "bold red", "warn": "yellow", "quiet": "", "good": "green"}
MODES: Final = {"journal": "to the journal", "spill": "to the spill", "refusing": "refuses", None: "takes no order"}


def screen_of(history: History, every: float) -> RenderableType:
    """The whole screen."""
    head = Text(f"Relais  {datetime.now(UTC):%H:%M:%S}Z", style="bold")
    head.append(f"   a look every {every:g} s, Ctrl-C ends", style="dim")
    if history.found is None:
        return Group(head, Text("looking …"))
    return Group(head, *_parts(history), Text(), _stores(history))


def glance_of(history: History) -> RenderableType:
    """The same of one look, for whoever tells the stores apart."""
    return Group(*_parts(history))


def _parts(history: History) -> list[RenderableType]:
    """What is worst, what moves, the backends, and what holds them."""
    parts: list[RenderableType] = [_headline(history), *_warnings(history)]
    if history.journal is not None:
        parts += [Text(), _flow(history), Text(), _backends(history.journal), *_sentences(history.journal)]
    return parts


def in_a_line(history: History) -> str:
    """The same in a line, for a pipe."""
    parts = [_plain(each) for each in (_headline(history), *_warnings(history))]
    if history.journal is not None:
        rates = history.rates()
        parts.append(", ".join(f"{rates[name]:.1f}/s {name}" for name in FLOWS))
        rows = [f"{row['backend']} {row['priority']} {row['orders']}" for row in by_priority(history.journal)]
        parts.append(f"backlog {history.journal['backlog']}" + (f" ({', '.join(rows)})" if rows else ""))
        parts += [f"{each['name']} {each['circuit']}" for each in history.journal["backends"]]
        parts += [_plain(sentence) for sentence in _sentences(history.journal)]
    parts.append(", ".join(f"{name} {value}" for name, value in stores(history)))
    return visible(f"{datetime.now(UTC):%H:%M:%S}Z  " + "; ".join(parts)).replace("\n", " ")


def sparkline(values: Sequence[float]) -> str:
    """The values as bars, the highest of them as the tallest; nothing where all are nothing."""
    top = max(values, default=0.0)
    return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in values) if top > 0 else ""


def by_priority(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The backlog by backend and priority: `orders`, those of them that are `out`, when the `oldest` was accepted."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for row in found["waiting"]:
        part = merged.setdefault(
            (row["backend"], row["priority"]),
            {"backend": row["backend"], "priority": row["priority"], "orders": 0, "out": 0, "oldest": row["oldest"]},
        )
        part["orders"] += row["orders"]
        part["out"] += row["orders"] if row["state"] in OUT else 0
        part["oldest"] = min(part["oldest"], row["oldest"])
    return list(merged.values())


def stores(history: History) -> Iterator[tuple[str, str]]:
    """What each part of the installation says, by its name."""
    assert history.found is not None
    found, queue = history.found, history.found["queue"]
    yield "journal", "answers" if found["journal"] is None else "out of reach"
    yield "Redis", count(queue["depth"], "message") if queue["reachable"] else f"out of reach{_last_seen(history)}"
    yield "spill", count(queue["spilled"], "order") if queue["reachable"] else "not known"
    yield "intake", "not known" if found["api"]["silent"] else MODES[found["api"]["mode"]]
    yield "worker", "leads" if found["leader"] else "not known" if found["journal"] is not None else "none runs"
    now = datetime.now(UTC)
    if (known := history.journal) is not None:
        sealed = known["seals"]["sealed_at"]
        yield "last seal", f"{age(sealed, now)} ago" if sealed else "none"
        if audit := known.get("audit"):
            yield "last audit", f"{age(audit['at'], now)} ago, {'all is well' if audit['sound'] else 'FAULTS'}"


def _last_seen(history: History) -> str:
    if (gone := history.queue_age) is None or history.queue is None:
        return ""
    return f", {count(history.queue['depth'], 'message')} {span(gone)} ago"


def _headline(history: History) -> Text:
    """The worst thing that is true."""
    assert history.found is not None
    worst = history.found["headline"][0]
    return Text(visible(worst["text"]), style=GRADES[worst["grade"]])


def _warnings(history: History) -> list[Text]:
    """What is away, and how old what is shown of it is."""
    found, told = history.found, []
    if found is not None and found["journal"] is not None:
        gone = history.journal_age
        known = "nothing is known of it yet" if gone is None else f"its figures are {span(gone)} old"
        told.append(Text(visible(f"The journal is out of reach, {known}: {found['journal']}"), style="bold red"))
    if found is not None and not found["queue"]["reachable"]:
        told.append(Text(visible(f"Redis is out of reach: {found['queue']['error']}"), style="bold red"))
    return told


def _flow(history: History) -> Table:
    drawn, rates, curves = Table.grid(padding=(0, 1)), history.rates(), history.curves(CURVE)
    for name, style in zip(FLOWS, ("cyan", "green", "red"), strict=True):
        drawn.add_row(
            name, Text(f"{rates[name]:,.1f}/s", justify="right"), Text(sparkline(curves.get(name, [])), style)
        )
    return drawn


def _backends(found: Mapping[str, Any]) -> Table:
    drawn = Table(box=None, padding=(0, 1), pad_edge=False)
    for heading in ("backend", "circuit", "out/window", "priority", "waiting", "oldest"):
        drawn.add_column(heading, justify="right" if heading in ("out/window", "waiting", "oldest") else "left")
    now = datetime.now(UTC)
    known = {each["name"]: each for each in found["backends"]}
    for name in dict.fromkeys([*known, *(part["backend"] for part in by_priority(found))]):
        own = [part for part in by_priority(found) if part["backend"] == name]
        first = [Text(visible(name), style="bold"), *_state(known.get(name), sum(part["out"] for part in own))]
        rows = [(part["priority"], f"{part['orders']:,}", age(part["oldest"], now)) for part in own] or [("", "0", "")]
        for number, row in enumerate(rows):
            drawn.add_row(*(first if number == 0 else ["", "", ""]), *row)
    return drawn


def _state(backend: Mapping[str, Any] | None, out: int) -> tuple[Text, str]:
    """What lets a backend's orders through, and how full its window is; without a worker yet there is neither."""
    if backend is None:
        return Text("no worker yet", style="yellow"), f"{out:,}/-"
    held = "quarantined" if backend["quarantined"] else "paused" if backend["paused"] else ""
    circuit = str(backend["circuit"])
    return Text(
        held or circuit, style="bold red" if held else COLOURS.get(circuit, "")
    ), f"{out:,}/{backend['window']:,}"


def _sentences(found: Mapping[str, Any]) -> list[Text]:
    """What holds the backends, how replays stand, and when the backlog will be empty."""
    told = [Text(visible(f"! {sentence(each['held'])}"), style="yellow") for each in found["backends"] if each["held"]]
    for row in found["replays"]:
        left = f"{row['left']:,} of {count(row['orders'], 'order')} left"
        stage = f"the replay of {row['backend']} is {row['state']} at {named(row['stage'])}, {left}"
        told.append(Text(visible(f"↻ {stage}" + (f": {sentence(row['why'])}" if row["why"] else "")), style="cyan"))
    return told + [Text(visible(each["sentence"])) for each in found.get("forecast", [])]


def _stores(history: History) -> Text:
    shown = Text(style="dim" if history.journal_age is not None else "")
    for number, (name, value) in enumerate(stores(history)):
        shown.append(" · " if number else "", style="dim")
        bad = value.startswith(("out of reach", "none runs", "refuses", "takes no order")) or value.endswith("FAULTS")
        shown.append(f"{name} ").append(visible(value), style="red" if bad else "")
    return shown


def _plain(text: Text) -> str:
    return text.plain.lstrip("!↻ ")
