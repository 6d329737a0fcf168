"""What the pages of the recovery show of a backend and of a replay: the journal's rows, put into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from config.settings import Settings
from config.settings.routes_file import load_backends
from workers.console.i18n import N_, Words
from workers.console.recovery import stages
from workers.console.recovery.cached import Look
from workers.console.recovery.common import how, narrowing
from workers.replay.gates import Gates

RUN_STATES: Final = {
    "running": ("warn", N_("under way, or cut short")),
    "done": ("good", N_("done")),
    "resent": ("good", N_("done, and sent again")),
}


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay as it is drawn; `tries` are of its history, `terms` of its present stage, none once it is over."""

    row: Mapping[str, Any]
    stages: list[stages.StageState]
    tries: list[Mapping[str, Any]]
    terms: list[str]
    waits: bool
    chose: str


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend: its name, how it stands, its backlog, and its replay under way, or its newest one's number."""

    name: str
    standing: str
    flows: bool
    backlog: int
    replay: Replay | None
    newest: int | None


def shown(look: Look, settings: Settings, words: Words) -> list[Backend]:
    """Every backend that the journal or the settings know, those that the settings know first."""
    rows = {row["name"]: row for row in look.backends}
    replays = {row["backend"]: row for row in look.replays}
    names = dict.fromkeys((*load_backends(settings), *rows, *look.backlog))
    return [_backend(name, rows.get(name), replays.get(name), look, settings, words) for name in names]


def _backend(
    name: str,
    row: Mapping[str, Any] | None,
    replayed: Mapping[str, Any] | None,
    look: Look,
    settings: Settings,
    words: Words,
) -> Backend:
    flows = row is not None and row["circuit"] == "closed" and not (row["paused"] or row["quarantined"])
    told = how(dict(row) if row else None, words)
    if flows and not look.leading:
        flows, told = False, words.gettext("No worker is running")
    open_ = replayed if replayed is not None and replayed["ended_at"] is None else None
    drawn = None
    if open_ is not None:
        drawn = replay(open_, settings, row, words)
    return Backend(
        name, told, flows, look.backlog.get(name, 0), drawn, replayed["id"] if replayed and not open_ else None
    )


def replay(
    row: Mapping[str, Any],
    settings: Settings,
    backend: Mapping[str, Any] | None,
    words: Words,
) -> Replay:
    """A row of `orders.queries.replays`."""
    stage, known = row["stage"], load_backends(settings)
    baseline = backend or {"latency": None, "refusing": None}
    gates = Gates.of(known.get(row["backend"], settings), baseline["latency"], baseline["refusing"])
    return Replay(
        row,
        stages.stages_of(row),
        [{**each, "at": datetime.fromisoformat(each["at"])} for each in row["history"]],
        [] if row["ended_at"] else stages.terms(stage, gates, words),
        row["state"] == "holding" and row["passed"] == stage,
        _chosen(_plain(row["choice"]), words),
    )


def _chosen(plain: Mapping[str, str], words: Words) -> str:
    """Of a replay's orders, beneath a heading that says so already."""
    told = narrowing(plain, words)
    return ", ".join(f"{name}: {value}" for name, value in told) if plain else told[0][1]


def _plain(choice: Mapping[str, Any]) -> dict[str, str]:
    """What narrowed it, as the journal keeps it, for `narrowing`."""
    narrows = ("pharmacy", "priority", "older", "younger")
    plain = {name: str(value) for name, value in choice.items() if name in narrows}
    if choice.get("ids"):
        plain["ids"] = ",".join(str(each) for each in choice["ids"])
    return plain
