"""One performance from start to end: stage, story, ledger, exit code, and whatever happens, everything is stopped.

What the ledger or the story finds wrong leaves the data directory in place, for whoever wants to look.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.service import StartFailed
from orders.access import clients
from orders.rules.catalogue import demo_catalogue
from orders.sentences import Code, Sentence
from workers.demo import closing
from workers.demo.ledger import DemoLedger, Promise, balance, charged, read_journal
from workers.demo.pharmacies import Pharmacies
from workers.demo.screen import Screen
from workers.demo.stage import DemoInstallation
from workers.demo.story import Story, Unfulfilled
from workers.demo.traffic import Told, Traffic
from workers.demo.watch import SampleLog
from workers.operations import record
from workers.replay import redrive
from workers.replay.choice import Choice

GOOD: Final = 0
BAD: Final = 1
UNABLE: Final = 2
INTERRUPTED: Final = 130


@dataclass(slots=True)
class Performance:
    """What is left of a performance."""

    told: Told = field(default_factory=Told)
    timings: dict[str, float] = field(default_factory=dict)
    ledger: DemoLedger | None = None
    given_up: Collection[UUID] = ()
    faults: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """True when the story went as told and the ledger balances."""
        return self.ledger is not None and self.ledger.balanced and not self.faults


def play(
    made: Callable[[Path], DemoInstallation],
    story: type[Story],
    *,
    orders: int,
    seconds: float,
    data_dir: Path | None,
    keep: bool,
    as_json: bool,
) -> int:
    """Perform a story once, as `workers.demo.run` says, on the stage that is `made` in a directory."""
    screen = Screen(sys.stderr if as_json else sys.stdout)
    if data_dir is not None and data_dir.exists() and any(data_dir.iterdir()):
        print(f"relais demo: {data_dir} is not empty; the demo begins with an empty journal", file=sys.stderr)
        return UNABLE
    place = (data_dir or Path(tempfile.mkdtemp(prefix="relais-demo-"))).absolute()
    run, stage, code = Performance(), made(place), INTERRUPTED
    try:
        code = _perform(run, stage, screen, _weekend(run, stage, story, screen, orders, seconds))
    finally:
        kept = data_dir is not None or keep or code in (BAD, UNABLE)
        if not kept:
            shutil.rmtree(place, ignore_errors=True)
    if code in (GOOD, BAD):
        _close(screen, run, stage.account, as_json)
    if kept:
        screen.say(f"Everything is in {place}: {stage.leaves}. `relais --data-dir` reads it.", "dim")
    return code


def _perform(run: Performance, stage: DemoInstallation, screen: Screen, weekend: Coroutine[Any, Any, None]) -> int:
    """Stage, story and ledger; everything is stopped on return. The exit code."""
    try:
        with contextlib.closing(stage):
            try:
                asyncio.run(_until_told(weekend))
            finally:
                began = time.monotonic()
                with screen.busy("Stopping everything ..."):
                    stage.close()
                run.timings["stop"] = time.monotonic() - began
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen.say("Interrupted; everything that was started has been stopped.")
        return INTERRUPTED
    except StartFailed as error:
        screen.say(f"relais up did not start: {error}", "red")
        return UNABLE
    return GOOD if run.good else BAD


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Do the work; SIGTERM and SIGHUP cancel it as Ctrl-C does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # as under nohup
            loop.add_signal_handler(each, task.cancel)
    await work


async def _weekend(
    run: Performance, stage: DemoInstallation, made: type[Story], screen: Screen, orders: int, seconds: float
) -> None:
    """Start, five acts, ledger."""
    began = time.monotonic()
    with screen.busy(f"Starting {stage.starts} ..."):
        await stage.open()
    run.timings["start"] = time.monotonic() - began
    screen.say(f"Relais is up after {run.timings['start']:.1f} s, its intake at {stage.endpoints['api_url']}.")
    screen.say(f"To look on: {stage.endpoints['console_url']}, an account: {_account(stage)}", "dim")
    engine = stage.journal()
    try:
        detail = {"client": "demo", "why": Sentence(Code.OF_DEMO)}
        also = partial(record, act="client add", reason=None, detail=detail)
        key = await clients.add(engine, "demo", also)
        traffic = Traffic(stage.endpoints["api_url"], key, Pharmacies(demo_catalogue()), orders)
        run.told = traffic.told
        before = 0

        async def replay() -> None:
            nonlocal before
            before = await charged(engine)
            await redrive.replay(engine, Choice(), "the ERP is back")

        story = made(stage, traffic, SampleLog(engine), screen, seconds, replay)
        run.timings = story.timings = {**run.timings}
        run.faults = await _tell(story, story.longest - run.timings["start"])
        run.given_up = story.given_up
        run.ledger = await _draw_up(stage, engine, traffic.told, story.given_up, before)
    except SQLAlchemyError as error:
        run.faults += (f"the journal cannot be read: {type(error).__name__}",)
    finally:
        await engine.dispose()


def _account(stage: DemoInstallation) -> str:
    return f"relais --data-dir {stage.place} account add NAME --role viewer"


async def _tell(story: Story, within: float) -> tuple[str, ...]:
    """Play the story and say what went wrong with it, if anything."""
    faults: list[str] = []
    try:
        async with asyncio.timeout(within):
            await story.play()
    except* Unfulfilled as broken:
        faults += map(str, _leaves(broken))
    except* TimeoutError:
        faults.append(f"the weekend was not over {within:.0f} s after its beginning")
    except* Exception as broken:
        faults += [f"the play broke off: {type(each).__name__}: {each}" for each in _leaves(broken)]
    return tuple(faults)


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


async def _draw_up(
    stage: DemoInstallation, engine: AsyncEngine, told: Told, given_up: Collection[UUID], before: int
) -> DemoLedger:
    """The ledger, from the journal, the ERP's own account and what the front end was told."""
    proven, rows = await read_journal(engine)
    promises = {order_id: Promise(order.digest, order.expected) for order_id, order in told.orders.items()}
    effects = await stage.effects(told.orders)
    return balance(promises, proven, rows, effects, told.surprises, before, given_up)


def _close(screen: Screen, run: Performance, account: str, as_json: bool) -> None:
    """Show what came of it; by whose `account` orders took effect."""
    screen.console.print()
    screen.console.print(closing.table(run.ledger, run.told, account) if run.ledger else "There is no ledger.")
    screen.console.print()
    if run.given_up:
        screen.say(closing.given_up(run.given_up, run.told))
    faults = (*run.faults, *(run.ledger.faults if run.ledger else ()))
    screen.say(closing.verdict(faults), "bold red" if faults else "bold green")
    screen.console.print(Text(closing.times(run.timings), style="dim"))
    if as_json:
        print(json.dumps(closing.as_json(run.ledger, run.told, run.timings, faults), indent=2))
