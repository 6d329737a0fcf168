"""What a client may: as typed at `relais client`, as recorded, and as a table shows it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from config.durations import duration
from workers.cli.failure import CommandFailed

if TYPE_CHECKING:
    from orders.access.clients import Scope

NONE: Final = "none"  # what a rate is called that is no limit
Overlap = Annotated[
    timedelta, typer.Option(parser=duration, metavar="TIME", help="How long the old keys stay in force.")
]


def scopes_of(given: list[str] | None) -> list[Scope] | None:
    """The scopes named, None where there are none. Failure when one is none of ours."""
    from orders.access.clients import Scope

    known = [each.value for each in Scope]
    if wrong := [each for each in given or () if each not in known]:
        raise CommandFailed(f"{wrong[0]} is no scope: {', '.join(known)}")
    return [Scope(each) for each in dict.fromkeys(given)] if given else None


def pharmacies_of(codes: list[str] | None, path: Path | None) -> list[str] | None:
    """The pharmacies named, from both; None where there is neither. Raises BadList."""
    from orders.rules.catalogue import load_register

    if not codes and path is None:
        return None
    return sorted({*(codes or ()), *(load_register(path) if path else ())})


def changes_of(pharmacies: list[str] | None, any_pharmacy: bool, rate: str | None, burst: str | None) -> dict[str, Any]:
    """The columns to change; None is back to any, or to the default. Failure when they make no sense."""
    from orders.access.clients import NO_LIMIT

    words: dict[str, dict[str, float | None]] = {"rate": {"default": None, NONE: NO_LIMIT}, "burst": {"default": None}}
    values: dict[str, Any] = {}
    if any_pharmacy and pharmacies is not None:
        raise CommandFailed("--any-pharmacy and a pharmacy do not go together")
    if any_pharmacy or pharmacies is not None:
        values["pharmacies"] = pharmacies
    for field, said, number in (("rate", rate, float), ("burst", burst, int)):
        if said is not None:
            try:
                values[field] = words[field][said] if said in words[field] else number(said)
            except ValueError:
                raise CommandFailed(f"--{field} is a number, or one of: {', '.join(words[field])}") from None
    return values


def row_of(key: dict[str, Any]) -> dict[str, Any]:
    """A key as the table shows it: its client's pharmacies are counted, not listed."""
    from orders.access.clients import NO_LIMIT

    pharmacies = "any" if key["pharmacies"] is None else len(key["pharmacies"])
    words = {None: "default", NO_LIMIT: NONE}
    rate = words[key["rate"]] if key["rate"] in words else f"{key['rate']:g}/s"
    burst = "" if key["burst"] is None else f", {key['burst']} at once"
    return {**key, "scopes": " ".join(key["scopes"]), "pharmacies": pharmacies, "rate": rate + burst}


def told_of(values: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of a change: pharmacies by their number, for there may be thousands."""
    codes = values.get("pharmacies")
    return values | ({"pharmacies": len(codes)} if codes is not None else {})
