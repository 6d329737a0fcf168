"""`relais forecast`: when the backlog will be empty, on what that rests, and what if.

Exit 1 when there is no date: nothing flows, nothing is known of the ERP's rate, or more comes in than goes out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.durations import bounded, duration, span
from workers.cli import show
from workers.cli.commands.recovery.recovery import Backend
from workers.cli.failure import BAD
from workers.cli.session import Json, of_backend, on_journal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from config.settings import Settings
    from workers.forecast.foretold import Forecast

_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")


def moment(said: str) -> datetime:
    """The time that `said` names: `14:30` (the next, here), `2h` (from now), or ISO 8601 (here, when without zone).

    ValueError when it names none, or one that has passed.
    """
    now = datetime.now().astimezone()
    if found := _CLOCK.fullmatch(said.strip()):
        at = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0, tzinfo=None)
        return (at if at.astimezone() > now else at + timedelta(days=1)).astimezone()
    try:
        return now + duration(said)
    except ValueError:
        pass
    try:
        at = bounded(datetime.fromisoformat(said.strip())).astimezone()
    except ValueError:
        raise ValueError("a time is 14:30, 2h (from now), or 2026-01-05T14:30") from None
    if at <= now:
        raise ValueError("this time has passed")
    return at


def _rate(said: str) -> float:
    """A number of orders a second, above none. ValueError."""
    with suppress(ValueError):
        if 0.001 <= (rate := float(said)) <= 1_000_000:
            return rate
    raise ValueError("a rate is from 0.001 to 1000000 orders a second")


def forecast(
    ctx: typer.Context,
    backend: Backend = None,
    rate: Annotated[
        float | None, typer.Option(parser=_rate, metavar="N", help="What if the ERP takes N orders a second.")
    ] = None,
    at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="What if it is back then: 14:30, 2h, ISO.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Foretell when the backlog will be empty.

    From the backlog, what came at these hours in past weeks, the rate that the ERP was seen to take, and the ramp.
    """

    async def read(engine: AsyncEngine, settings: Settings) -> Forecast:
        from workers.forecast.forecast import Ask, foretell

        asked = of_backend(settings, backend)
        return await foretell(engine, asked, asked.erp.backend, Ask(rate, at))

    found = report(on_journal(ctx, read))
    show.document(found) if as_json else show_forecast(found)
    if found["p50"] is None:
        raise typer.Exit(BAD)


def report(found: Forecast) -> dict[str, Any]:
    """A forecast as a document, with its sentence."""
    figures = asdict(found)
    return {"sentence": sentence(figures), **figures}


def sentence(found: Mapping[str, Any]) -> str:
    """The forecast in one sentence."""
    name, backlog = found["backend"], show.count(found["backlog"], "order")
    if not found["backlog"]:
        return f"The backlog of {name} is empty."
    if found["p50"] is None:
        return f"No date for the {backlog} of {name}: {found['why']}."
    begins = f"If {found['assumes']}, the" if found["assumes"] else "The"
    told = f"{begins} backlog of {name}, {backlog}, will be empty at {_here(found['p50'], found['now'])}"
    if found["p95"] is None:
        return f"{told} as likely as not; {found['why']}."
    return f"{told}, and with 95 % by {_here(found['p95'], found['now'])}."


def show_forecast(found: Mapping[str, Any]) -> None:
    """The forecast for people."""
    show.line(found["sentence"])
    if not found["backlog"]:
        return
    rate, start, arrivals = found["rate"], found["start"], found["arrivals"]
    facts: dict[str, object] = {
        "backlog": found["backlog"],
        "arrivals": f"{arrivals['per_hour']:,.0f} in the next hour ({arrivals['basis']})",
        "rate": _shown(rate) if rate else "not known: --rate says what if",
        "ramp": f"from {show.moment(start['at'])}, window {start['window']}, at full rate after {span(start['ramp'])}"
        if rate
        else None,
        "empty, P50": _both(found["p50"]),
        "empty, P95": _both(found["p95"]),
    }
    show.facts("Forecast", facts | {"past their cut-off": found["missed"] or None})
    _show_cut_offs(found["cut_offs"])


def _show_cut_offs(found: Sequence[Mapping[str, Any]]) -> None:
    """While nothing flows, by when it must for each; else those that will be missed."""
    if any(each["back_by"] for each in found):
        title = "Cut-offs, and when orders must flow again for each to be met (late: at best)"
        show.table(title, found, ("cut_off", "priority", "orders", "back_by", "late_p50", "late_p95"))
    elif late := [each for each in found if each["late_p95"]]:
        title = "Cut-offs that some orders will miss"
        show.table(title, late, ("cut_off", "priority", "orders", "late_p50", "late_p95"))
    elif found and found[0]["late_p95"] is not None:
        show.line(f"No order will miss its cut-off: {show.count(len(found), 'cut-off')} looked at, the nearest first.")


def _shown(rate: Mapping[str, Any]) -> str:
    capped = f", capped at {rate['cap']:.3g}/s" if rate["cap"] is not None else ""
    return f"{rate['p50']:.3g} orders/s, {rate['p5']:.3g} to {rate['p95']:.3g}{capped} ({rate['basis']})"


def _here(at: datetime, now: datetime) -> str:
    """A time on the clock here: to the second when it is near, with its date when that is another."""
    here = at.astimezone()
    clock = f"{here:%H:%M:%S}" if at - now < timedelta(minutes=10) else f"{here:%H:%M}"
    return clock if here.date() == now.astimezone().date() else f"{clock} on {here:%a %d %b}"


def _both(at: datetime | None) -> str | None:
    """A time on the clock here and in UTC."""
    return None if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z} ({at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z)"
