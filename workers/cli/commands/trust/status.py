"""The command `status`: how Relais stands, once or again and again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.durations import duration
from workers.cli import show
from workers.cli.failure import BAD, CommandFailed
from workers.cli.session import Json, on_journal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from config.settings import Settings
    from workers.forecast.foretold import Forecast

AT_MOST_ONE = "at most one duplicate, detected"  # of an order, where the ERP itself refuses no second one
INTAKE = {
    "journal": "is ready: orders go to the journal",
    "spill": "is ready: PostgreSQL is away, orders go to the spill on Redis' disk",
    "refusing": "refuses orders: neither store can keep one",
}


def status(
    ctx: typer.Context,
    check: Annotated[
        bool,
        typer.Option("--check", help="Exit 1 unless Redis is there, workers take orders and seals are good."),
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[
        timedelta, typer.Option(parser=duration, metavar="TIME", help="With --watch: time between two looks.")
    ] = "2s",  # type: ignore[assignment]  # typer parses it like an option that is typed
    as_json: Json = False,
) -> None:
    """Show how Relais stands.

    Backends, orders by state, when the backlog will be empty, what went through lately, Redis, worker, and where the
    intake keeps what comes now. With --watch live in the terminal; into a pipe, a line for each look.
    """
    if watch:
        if as_json or check:
            raise CommandFailed("--watch goes without --json and without --check")
        from workers.cli.watch.status import watch_status

        return watch_status(ctx, every.total_seconds(), stand)
    found = on_journal(ctx, stand)
    show.document(found) if as_json else show_status(found)
    doubted = (found.get("seals") or {}).get("doubt")
    deaf = any(each["deaf_since"] is not None for each in found.get("workers", ()))
    fit = found["leader"] and found["queue"]["reachable"] and not (doubted or deaf)
    if found["api"]["ready"] is False or (check and not fit):
        raise typer.Exit(BAD)
    return None


async def stand(engine: AsyncEngine, settings: Settings) -> dict[str, Any]:
    """How everything stands, as one document, with the forecast of each backend that has a backlog."""
    from config.addresses import intake_url
    from workers.monitoring.status import status

    found = await status(engine, settings, intake_url(settings))
    if found["journal"] is None:
        found["flow"] = asdict(found["flow"])
        found["forecast"] = [_told(one) for one in found["forecast"]]
    return {**found, "queue": asdict(found["queue"])}


def _told(forecast: Forecast) -> dict[str, Any]:
    from workers.cli.commands.recovery.forecast import report

    return report(forecast)


def show_status(found: Mapping[str, Any]) -> None:
    """The status for people, what is worst first, in the layout of --watch."""
    from workers.cli.watch.history import History
    from workers.cli.watch.screen import glance_of

    history = History()
    history.saw(found, time.monotonic())
    show.drawn(glance_of(history))
    if found["journal"] is None:
        show.facts("Backends", {row["name"]: _standing(row) for row in found["backends"]})
        show.facts("Orders", {**found["orders"], "backlog": found["backlog"], "oldest waiting": found["oldest"]})
    show.facts("Flow", _flow(found))


def _standing(row: Mapping[str, Any]) -> str:
    """What the table of backends has no room for."""
    told = [f"{row['circuit']} since {show.moment(row['since'])}" if row["since"] else str(row["circuit"])]
    if row["succeeded_at"]:
        told.append(f"answered last {show.moment(row['succeeded_at'])}")
    if row["rate"] is not None:
        told.append(f"at most {row['rate']:g} orders a second")
    if row["evidence"]:
        told.append(f"{show.count(row['evidence'], 'piece')} of evidence: relais evidence {row['name']}")
    if row["overdue"]:
        sent = show.moment(row["overdue_since"])
        told.append(f"owes its decision on {show.count(row['overdue'], 'order')}, the oldest sent {sent}")
    if row["unmapped"]:
        codes = f"{show.count(row['unmapped_codes'], 'code')} not mapped"
        told.append(
            f"{show.count(row['unmapped'], 'dead letter')}, {codes}: relais mapping coverage --backend {row['name']}"
        )
    if row["set_aside"]:
        seen = show.moment(row["set_aside_at"])
        told.append(f"{show.count(row['set_aside'], 'unread answer')} set aside, as seen {seen}")
    if row["unique_reference"] is False:
        told.append(AT_MOST_ONE)
    return "; ".join(told)


def _flow(found: Mapping[str, Any]) -> dict[str, str]:
    """What moves, and where an order that comes now is kept."""
    queue, api, told = found["queue"], found["api"], {}
    if found["journal"] is None:
        flow = found["flow"]
        failed = show.count(flow["failed"], "attempt")
        minute = f"{flow['accepted']:,} accepted, {flow['delivered']:,} delivered, {failed} failed"
        told = {f"last {flow['seconds']:.0f} s": minute, "worker": "leads" if found["leader"] else "none runs"}
        told["canaries"] = ", ".join(map(_worker, found["workers"])) or "no worker is there"
    told["journal"] = "answers" if found["journal"] is None else _away(found)
    if found.get("weak"):
        told["weak"] = "; ".join(found["weak"])
    told["queue"] = (
        f"{show.count(queue['depth'], 'message waits', 'messages wait')}"
        if queue["reachable"]
        else f"out of reach: {queue['error']}"
    )
    told["intake"] = f"{api['url']} {_intake(api)}"
    if queue["spilled"]:
        told["spill"] = f"{show.count(queue['spilled'], 'order waits', 'orders wait')} for the journal"
    if queue["forged"]:
        told["forged"] = (
            f"{show.count(queue['forged'], 'forged record')} of the spill in Redis: relais admin spill drop"
        )
    if queue["aside"]:
        told["foreign"] = (
            f"{show.count(queue['aside'], 'message')} in Redis, none of ours, set aside: who writes there?"
        )
    webhooks = found.get("webhooks") or {}
    if unfit := [f"{webhooks[name]} {name}" for name in ("failing", "disabled") if webhooks.get(name)]:
        told["webhooks"] = f"{', '.join(unfit)}: relais webhook list"
    if found.get("seals"):
        told["seals"] = _seals(found["seals"])
    if found["journal"] is None:
        told["audit"] = _audited(found["audit"])
    if found.get("asides"):
        told["set aside"] = ", ".join(f"{count:,} {kind}" for kind, count in found["asides"].items())
    return told


def _worker(row: Mapping[str, Any]) -> str:
    deaf = "" if row["deaf_since"] is None else f" and takes no orders since {show.moment(row['deaf_since'])}"
    return f"{row['name']} answered {row['age']:.0f} s ago{deaf}"


def _away(found: Mapping[str, Any]) -> str:
    """What is known of a journal that tells no figures; the intake may know more."""
    last = found["api"]["journal_answered_at"]
    return f"out of reach: {found['journal']}" + (f", not since {show.moment(last)}" if last else "")


def _intake(api: Mapping[str, Any]) -> str:
    """Where it keeps what comes now; nothing is said of one that only did not answer in time."""
    if api["silent"]:
        return f"is not known to take orders: {api['error']}"
    if api["mode"] is None:
        return f"takes no order: {api['error']}"
    return INTAKE[api["mode"]] + (f", since {show.moment(api['since'])}" if api["since"] else "")


def _seals(seals: Mapping[str, Any]) -> str:
    """How far what is journalled is sealed, and the seals anchored."""
    if seals["doubt"] is not None:
        return f"not to be believed, {seals['doubt']}: relais audit"
    if seals["block"] is None:
        return "none yet" if seals["key"] else "none: RELAIS_SEAL_KEY is not set here"
    more = "" if seals["unsealed"] is None else f", {show.count(seals['unsealed'], 'row')} since"
    told = f"{show.count(seals['block'], 'block')} up to {show.moment(seals['sealed_at'])}{more}"
    wrong = [f"{each['place']} has {each['block']:,}: {each['error']}" for each in seals["anchors"] if each["error"]]
    return "; ".join([told, *wrong])


def _audited(audit: Mapping[str, Any] | None) -> str:
    """What the last audit found."""
    if audit is None:
        return "none yet: relais audit"
    verdict = "all is well" if audit["sound"] else show.count(audit["faults"], "fault")
    return f"{verdict}, {show.moment(audit['at'])}"
