"""The faults, by kind: each is inflicted on entering and ended on leaving, and says whom it strikes.

A fault claims what it harms, so that no two harm the same part at once; two at once are of different parts.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from config.embedded.marks import children
from config.embedded.service import Service, StartFailed
from tests.soak.stack import Part, Stack
from tests.soak.wires import Mode

UP_AGAIN: Final = 300.0  # seconds until a server that was killed must be up

Inflicted = AbstractAsyncContextManager[None]


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what it may strike, and how; seconds that it lasts."""

    name: str
    strikes: tuple[str, ...]  # one of these is chosen
    inflict: Callable[[Stack, str], Inflicted]
    lasts: tuple[float, float] = (0.3, 4.0)
    weight: float = 1.0
    also: tuple[str, ...] = ()  # what else it claims
    kills: bool = field(default=False)


@asynccontextmanager
async def killed(stack: Stack, target: str, which: str) -> AsyncIterator[None]:
    """SIGKILL to the main process, one child, or all; started again when it ends."""
    part = stack.parts[target]
    part.harmed += 1
    try:
        pids = part.pids()
        chosen = {"main": pids[:1], "child": random.sample(pids[1:], min(1, len(pids) - 1)), "all": pids}[which]
        part.torn |= which == "child" and part.starting
        part.signal(signal.SIGKILL, chosen)
        yield
        if which != "child" or not part.runs:
            await asyncio.to_thread(part.start)
    finally:
        part.harmed -= 1


@asynccontextmanager
async def frozen(stack: Stack, target: str) -> AsyncIterator[None]:
    """SIGSTOP to all of it, and SIGCONT."""
    part: Part = stack.parts[target]
    part.harmed += 1
    pids = part.pids()
    part.signal(signal.SIGSTOP, pids)
    try:
        yield
    finally:
        part.signal(signal.SIGCONT, pids)
        part.harmed -= 1


@asynccontextmanager
async def server_killed(stack: Stack, target: str, how: int) -> AsyncIterator[None]:
    """A signal that ends PostgreSQL's postmaster or Valkey; `0` kills the whole family at once."""
    server = stack.postgres if target == "pg" else stack.valkey
    family = children(server.pid)
    if how == 0:
        for mark in family:
            _signal(mark.pid, signal.SIGKILL)
    _signal(server.pid, how or signal.SIGKILL)
    yield
    await asyncio.to_thread(server.kill)
    await _started(server)


async def _started(server: Service) -> None:
    """Start it, again and again as a supervisor does: on a busy machine a backend outlives its postmaster for long."""
    ends = time.monotonic() + UP_AGAIN
    while True:
        try:
            return await asyncio.to_thread(server.start)
        except StartFailed:
            if time.monotonic() > ends:
                raise


@asynccontextmanager
async def server_frozen(stack: Stack, target: str) -> AsyncIterator[None]:
    """SIGSTOP to all of PostgreSQL or Valkey."""
    server = stack.postgres if target == "pg" else stack.valkey
    pids = [server.pid, *(mark.pid for mark in children(server.pid))]
    for pid in pids:
        _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            _signal(pid, signal.SIGCONT)


@asynccontextmanager
async def wired(stack: Stack, target: str, mode: Mode) -> AsyncIterator[None]:
    """A wire in another mode."""
    stack.wires[target].turn(mode)
    try:
        yield
    finally:
        stack.wires[target].turn("whole")


@asynccontextmanager
async def dialled(stack: Stack, target: str, **knobs: object) -> AsyncIterator[None]:
    """The ERP misbehaves."""
    with suppress(OSError):
        await asyncio.to_thread(partial(stack.dial, **knobs))
    yield
    await stack.fit()


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _kills(part: str, targets: tuple[str, ...]) -> list[Kind]:
    ways = ("all", "main", "child") if part == "worker" else ("all",)
    return [Kind(f"{part}: SIGKILL of {way}", targets, partial(killed, which=way), kills=True) for way in ways]


def kinds(stack: Stack) -> list[Kind]:
    """Every kind that can be had here."""
    apis = tuple(name for name in stack.parts if name.startswith("api"))
    workers = tuple(name for name in stack.parts if name.startswith("worker"))
    found = [*_kills("intake", apis), *_kills("worker", workers), *_kills("ERP", ("sim",))]
    found += [
        Kind("intake: SIGSTOP", apis, frozen),
        Kind("worker: SIGSTOP", workers, frozen),
        Kind("ERP: SIGSTOP", ("sim",), frozen),
    ]
    found += [
        Kind("PostgreSQL: SIGKILL of the postmaster", ("pg",), partial(server_killed, how=signal.SIGKILL), kills=True),
        Kind("PostgreSQL: SIGKILL of all", ("pg",), partial(server_killed, how=0), kills=True),
        Kind("PostgreSQL: SIGQUIT", ("pg",), partial(server_killed, how=signal.SIGQUIT), kills=True),
        Kind("PostgreSQL: SIGSTOP", ("pg",), server_frozen),
        Kind("Valkey: SIGKILL", ("redis",), partial(server_killed, how=signal.SIGKILL), kills=True),
        Kind("Valkey: SIGSTOP", ("redis",), server_frozen),
    ]
    found += _wires(stack)
    found += [Kind(f"ERP: {name}", ("dial",), partial(dialled, **knobs)) for name, knobs in DIALS.items()]
    return found


def _wires(stack: Stack) -> list[Kind]:
    modes: tuple[Mode, ...] = ("cut", "stalled", "slow", "deaf", "mute")
    found = []
    for part, server in (("api", "pg"), ("api", "redis"), ("worker", "pg"), ("worker", "redis"), ("worker", "erp")):
        ends = tuple(name for name in stack.wires if name.startswith(part) and name.endswith(f"-{server}"))
        words = {"api": "intake", "pg": "PostgreSQL", "redis": "Valkey", "erp": "ERP"}
        name = f"{words.get(part, part)} to {words[server]}"
        found += [Kind(f"{name}: {mode}", ends, partial(wired, mode=mode), weight=0.6) for mode in modes]
    return found


DIALS: Final[dict[str, dict[str, Any]]] = {
    "down": {"down": True},
    "hanging": {"hanging": True},
    "half of it 500": {"error_rate": 0.5},
    "all of it 503": {"error_rate": 1.0, "error_status": 503},
    "slow": {"latency_ms": 800, "latency_sigma": 1.0},
    "429": {"throttle": 2, "retry_after": 1},
    "429, Retry-After 0": {"throttle": 2, "retry_after": 0},
    "dies before its answer": {"die_before_answer": 0.4},
    "answers HTML": {"garbage": "html"},
    "answers half": {"garbage": "truncated"},
    "answers 1 MiB": {"garbage": "oversized"},
    "confirms later": {"confirm_later": 1.0},
}
