"""The forecast of a backend as an operator asks for it: when its backlog will be empty, and on what that rests.

Without a question it follows from how things stand: an open circuit is taken to let its next canary through, and
where only an operator or a worker can make orders flow there is no date. `Ask` puts other things in their place: the
pace of the ERP, the time at which it is back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from orders.errors import NotFound
from orders.journal import Source, reading_from, unreachable
from orders.queries import backends as backend_rows
from orders.queries import replays as replay_queries
from orders.refusals import NotDone
from orders.sentences import Code, Sentence
from orders.states import CircuitState
from workers.dispatch.blocked import hindrance, stands
from workers.dispatch.leadership import leader
from workers.forecast import queries
from workers.forecast.arrivals import HOUR
from workers.forecast.cut_offs import back_by, late
from workers.forecast.foretold import Forecast
from workers.forecast.pace import Pace, measured, unseen
from workers.forecast.queries import Backlog
from workers.forecast.simulation import Ends, Situation, Start, ends, paces

Row = dict[str, Any]

HANDLING: Final = 0.2  # s that an order spends with dispatcher, queue, claim and settling
CANARY: Final = 1.0  # order, the window after an outage


@dataclass(frozen=True, slots=True)
class Ask:
    """What if: the ERP takes `rate` orders a second; it is back `at` that time."""

    rate: float | None = None
    at: datetime | None = None


async def foretell(engine: AsyncEngine, settings: Settings, backend: str, ask: Ask) -> Forecast:
    """The forecast of one backend. Raises NotFound for one that the journal does not know."""
    rows = {row["name"]: row for row in await backend_rows.standing(engine)}
    if backend not in rows:
        raise NotFound(Sentence(NotDone.NEVER_FORWARDED, backend=backend))
    held = await _held(engine, rows)
    async with engine.connect() as connection:
        backlog = await queries.backlog(connection, backend)
        return await _foretell(connection, settings, rows[backend], held[backend], backlog, ask)


async def draining(source: Source, settings: Settings) -> list[Forecast]:
    """The forecast of every backend that has a backlog; costs next to nothing where none has.

    What the journal, just gone out of reach, no longer tells is left out.
    """
    found: list[Forecast] = []
    try:
        async with reading_from(source) as connection:
            rows = {row["name"]: row for row in await backend_rows.standing(connection)}
            held = await _held(connection, rows)
            for name, row in rows.items():
                backlog = await queries.backlog(connection, name)
                if backlog.orders:
                    found.append(await _foretell(connection, settings, row, held[name], backlog, Ask()))
    except Exception as error:
        if not unreachable(error):
            raise
    return found


async def _held(source: Source, rows: Mapping[str, Row]) -> dict[str, Sentence | None]:
    """Why each backend gets nothing for a time that nobody knows, or its replay does not; None where orders flow."""
    leading = await leader(source)
    replays = {row["backend"]: stands(row) for row in await replay_queries.standing(source)}
    stopped = {name: row["paused"] or row["quarantined"] or not leading for name, row in rows.items()}
    return {name: hindrance(rows[name], leading) if stopped[name] else replays.get(name) for name in rows}


async def _foretell(
    connection: AsyncConnection, settings: Settings, row: Row, held: Sentence | None, backlog: Backlog, ask: Ask
) -> Forecast:
    arrivals, urgent = await queries.arrivals(connection, row["name"], backlog.now)
    latency = row["latency"] or await queries.latency(connection, row["name"]) or 0.0
    start = _start(row, settings, latency + HANDLING, backlog.now, ask.at)
    pace = await _pace(connection, settings, row, latency, ask.rate)
    of = Situation(backlog.orders, arrivals, pace, start, backlog.rest, backlog.rounds, urgent)
    why = _unknown(of, row, held, ask)
    found = ends(of) if why is None else Ends(inf, inf, inf)
    p5, p50, p95 = (_when(backlog.now, seconds) for seconds in (found.p5, found.p50, found.p95))
    return Forecast(
        row["name"],
        backlog.now,
        backlog.orders,
        p5,
        p50,
        p95,
        why or _never(of, found),
        _assumes(row, of, ask),
        {"per_hour": HOUR * arrivals.mean(HOUR), "basis": arrivals.basis},
        _rate(of),
        _onset(of, backlog.now),
        _cut_offs(of, backlog.now, takes=held is None and row["circuit"] == CircuitState.CLOSED),
        backlog.missed,
    )


def _start(row: Row, settings: Settings, turn: float, now: datetime, at: datetime | None) -> Start:
    """When orders flow, and with which window they begin: after an outage with a canary's."""
    most = float(settings.delivery.window_max)
    if at is None and row["circuit"] == CircuitState.CLOSED:
        return Start(0.0, min(float(row["window"]), most), turn, most)
    at = at or (row["probe_at"] if row["circuit"] == CircuitState.OPEN else None) or now
    return Start(max(0.0, (at - now).total_seconds()), CANARY, turn, most)


async def _pace(connection: AsyncConnection, settings: Settings, row: Row, latency: float, rate: float | None) -> Pace:
    """What the ERP takes: as asked, as measured, or as its latency lets through; never more than its cap."""
    most = row["rate"] or inf
    if rate is not None:
        return Pace(rate, Sentence(Code.RATE_ASKED), most=most)
    bins = await queries.taken(connection, row["name"], latency)
    if not bins:
        return Pace(0.0, Sentence(Code.RATE_UNKNOWN))
    calls = min(settings.delivery.window_max, settings.erp.concurrency * settings.worker.concurrency)
    return replace(measured(bins) or unseen(bins, calls / (latency + HANDLING)), most=most)


def _unknown(of: Situation, row: Row, held: Sentence | None, ask: Ask) -> Sentence | None:
    """Why there is no date at all, or None."""
    if of.backlog and ask.at is None and held is not None:
        return held
    if of.backlog and not of.pace.middle:
        return Sentence(Code.NOTHING_DELIVERED, backend=row["name"])
    return None


def _never(of: Situation, found: Ends) -> Sentence | None:
    """Why there is a future without an end, or None."""
    if found.p95 < inf:
        return None
    come, taken = of.arrivals.mean(of.arrivals.period), paces(of)[1]
    if found.p50 < inf:
        return Sentence(Code.UNLIKELY)
    if come >= taken:
        return Sentence(Code.NEVER, come=come, taken=taken)
    return Sentence(Code.TOO_LATE)


def _assumes(row: Row, of: Situation, ask: Ask) -> Sentence | None:
    """The condition that the forecast stands under."""
    if ask.at is not None:
        return Sentence(Code.BACK, backend=row["name"])
    if of.backlog and row["circuit"] != CircuitState.CLOSED:
        return Sentence(Code.CANARY_PASSES)
    return None


def _rate(of: Situation) -> dict[str, Any] | None:
    if not of.pace.middle:
        return None
    slow, middle, fast = paces(of)
    cap = of.pace.most if of.pace.most < inf else None
    return {"p5": slow, "p50": middle, "p95": fast, "cap": cap, "basis": of.pace.basis}


def _onset(of: Situation, now: datetime) -> dict[str, Any]:
    ramp = of.start.ramp(paces(of)[1]) if of.pace.middle else None
    return {"at": _when(now, of.start.after), "window": int(of.start.window), "ramp": ramp}


def _cut_offs(of: Situation, now: datetime, *, takes: bool) -> list[dict[str, Any]]:
    unknown = [None] * len(of.rounds)
    missed = late(of) if of.pace.middle else unknown
    latest = back_by(of) if of.pace.middle and not takes else unknown
    return [
        {
            "cut_off": _when(now, each.cut_off),
            "priority": "urgent" if each.urgent else "normal",
            "orders": each.orders,
            "late_p50": None if few is None else few.p50,
            "late_p95": None if few is None else few.p95,
            "back_by": None if by is None else _when(now, by),
        }
        for each, few, by in zip(of.rounds, missed, latest, strict=True)
    ]


def _when(now: datetime, seconds: float) -> datetime | None:
    return None if seconds == inf else now + timedelta(seconds=seconds)
