"""What a run says: ratios from medians, a table for the screen, one JSON file for both benchmarks."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.rig import BenchmarkFailed, Rig
from config.embedded.service import StartFailed

OUT = Path(__file__).parent / "out" / "quick.json"
PARTS = (
    "aiohttp",
    "asyncpg",
    "celery",
    "fastapi",
    "kombu",
    "pydantic",
    "redis",
    "sqlalchemy",
    "uvicorn",
    "uvloop",
)
TARGETS = {
    "intake_ratio": (3.0, "at least"),
    "drain_ratio": (6.0, "at least"),
    "backlog_flatness": (1.2, "at most"),
    "batch_intake_ratio": (15.0, "at least"),
    "batch_memory_ratio": (1.1, "at most"),
    "intake_p99_redis_silent_ratio": (2.0, "at most"),
    "sse_listeners_mib": (100.0, "at most"),
    "sse_intake_p99_ratio": (1.2, "at most"),
    "reconcile_flatness": (1.2, "at most"),
    "reconcile_memory_ratio": (1.1, "at most"),
    "console_page_ratio": (2.0, "at most"),
    "console_intake_p99_ratio": (1.1, "at most"),
}
SPREAD = ("min", "median", "max")

console = Console()


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Minimum, median, maximum and the values themselves."""
    rounded = [round(value, 3) for value in values]
    return {"min": min(rounded), "median": statistics.median(rounded), "max": max(rounded), "rounds": rounded}


def machine(rig: Rig) -> dict[str, Any]:
    """What it runs on: cores, load, how long the disk takes to sync, Python, servers and libraries."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "fsync_ms": round(rig.fsync_ms(), 3),
        "load_before": [round(each, 2) for each in os.getloadavg()],
        "platform": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            **rig.versions(),
            **{each: version(each) for each in PARTS},
        },
    }


def row(table: Table, name: str, figures: Mapping[str, Any], unit: str) -> None:
    """One line of the table: minimum, median, maximum."""
    places = 0 if figures["median"] >= 100 else 2
    table.add_row(f"{name}, {unit}", *(f"{figures[key]:,.{places}f}" for key in SPREAD))


def table(title: str, *columns: str) -> Table:
    """An empty table of figures."""
    empty = Table(title=title)
    empty.add_column("")
    for name in columns:
        empty.add_column(name, justify="right")
    return empty


def verdicts(figures: Mapping[str, float]) -> bool:
    """Print each figure with its target; True when all are met."""
    met = True
    for name, value in figures.items():
        target, sense = TARGETS[name]
        good = value >= target if sense == "at least" else value <= target
        met &= good
        colour = "green" if good else "red"
        console.print(f"[{colour}]{name} {value:.2f}[/] ({sense} {target:g}: {'met' if good else 'missed'})")
    return met


def merge(figures: Mapping[str, Any], path: Path = OUT) -> None:
    """Write the figures into the file, over those of the same name and beside the others."""
    path.parent.mkdir(exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({**known, **figures}, indent=2) + "\n")
    draft.replace(path)
    console.print(f"figures in benchmarks/out/{path.name}")


@contextmanager
def plainly() -> Iterator[None]:
    """Without a traceback: exit 1 and why there are no figures, 130 when somebody stopped the run."""
    try:
        yield
    except (BenchmarkFailed, StartFailed) as error:
        console.print(f"no figures: {error}", style="red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("stopped: no figures")
        sys.exit(130)
