"""The command `space`: what takes space, and whether anything is nearly full."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workers.cli import show
from workers.cli.failure import BAD
from workers.cli.session import Json, on_journal

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def space(
    ctx: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="On the disks to look at; else the data directory.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 when a disk has less than 10 % left, or Redis uses 60 %.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what takes space: disks, the journal's tables, Redis. It answers while either store is away."""
    from workers.monitoring.space import space as look

    found = on_journal(ctx, lambda engine, settings: look(engine, settings, paths or [settings.files.data_dir]))
    show.document(found) if as_json else show_space(found)
    if check and found["full"]:
        raise typer.Exit(BAD)


def show_space(found: dict[str, Any]) -> None:
    """The report for people."""
    disks = [{**disk, "size": size(disk["size"]), "free": size(disk["free"])} for disk in found["disks"]]
    show.table("Disks", disks, ("path", "size", "free", "full"))
    journal, redis = found["journal"], found["redis"]
    if journal["error"] is None:
        tables = [{**row, "size": size(row["bytes"])} for row in journal["tables"]]
        show.table(f"The journal, {size(journal['bytes'])}", tables, ("name", "rows", "size"))
    else:
        show.line(f"The journal is out of reach: {journal['error']}", "red")
    if redis["error"] is None:
        most = "no limit" if redis["most"] is None else size(redis["most"])
        sizes = {"used": size(redis["used"]), "most": most, "file": size(redis["file"] or 0)}
        show.facts("Redis", {**sizes, "messages": redis["messages"], "orders in the spill": redis["spilled"]})
    else:
        show.line(f"Redis is out of reach: {redis['error']}", "red")
    for sentence in found["full"] or ["Nothing is nearly full."]:
        show.line(sentence, "bold red" if found["full"] else "green")


def size(count: int) -> str:
    """Bytes in words: 1.5 GiB."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {UNITS[unit]}" if unit == 0 else f"{value:.1f} {UNITS[unit]}"
