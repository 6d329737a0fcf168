"""`relais up`: everything Relais needs, started, supervised and stopped by one foreground process.

What has a URL in the settings is used; what has none is started here, on loopback, with its data in the data
directory. Whatever becomes of this process, nothing that it started outlives it by long, and the next run on the
same data directory finds every order again.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from config.embedded.child import Backoff, Child
from config.embedded.holding import AlreadyHeld, Holding
from config.embedded.leash import Leash
from config.embedded.marks import Mark, end
from config.embedded.ports import PortTaken
from config.embedded.postgres import Postgres
from config.embedded.service import StartFailed
from config.embedded.stopping import stop_signals, until_told
from config.embedded.supervisor import Supervisor
from config.embedded.valkey import Valkey
from config.settings import Settings
from config.telemetry import logs
from orders.journal import unreachable
from orders.schema.migrate import migrate_for
from workers.up.report import report
from workers.up.simulator import trust_simulator
from workers.up.stack import Stack, plan, relais_children

log = logging.getLogger(__name__)

CLEAN: Final = 0
FAILED: Final = 1
IN_USE: Final = 2

MIGRATION_OUTAGE: Final = 30.0  # s in which a journal of ours that went away while it was migrated is to be back
AGAIN: Final = 0.5  # s until it is asked again


FirstLink = Callable[[Settings], Awaitable[str | None]]


def run(settings: Settings, console: Console | None = None, first: FirstLink | None = None) -> int:
    """Run the stack until SIGINT or SIGTERM and return an exit code: clean 0, could not start 1, in use 2.

    What the journal has to say against migrating (unreachable, no permission) is raised, after a clean stop.
    """
    at_terminal = sys.stderr.isatty() and "log_format" not in settings.given()
    quiet = at_terminal and "log_level" not in settings.given()
    logs.begin(settings.replace(log_level="WARNING") if quiet else settings, "console" if at_terminal else None)
    say = Console(stderr=True, soft_wrap=True)
    if quiet:
        say.print("Relais starts; the first time takes half a minute.")
    try:
        asyncio.run(up(settings, console=console, first=first))
    except (AlreadyHeld, PortTaken) as error:
        say.print(f"relais up: {error}", style="red", markup=False)
        return IN_USE
    except StartFailed as error:
        say.print(f"relais up: {error}", style="red", markup=False)
        return FAILED
    return CLEAN


async def up(
    settings: Settings,
    *,
    children: Callable[[Stack], Sequence[Child]] = relais_children,
    console: Console | None = None,
    backoff: Backoff | None = None,
    first: FirstLink | None = None,
) -> None:
    """Start what `settings` leave open and `children`, supervise all, stop all at SIGINT, SIGTERM or SIGHUP.

    A second signal cuts the stop short. Raises Held when another process uses the data directory and StartFailed
    when a child never became ready; whatever was started has then been stopped.
    """
    holding = Holding(settings.files.data_dir)
    holding.take()
    try:
        await asyncio.to_thread(_end_survivors, holding)
        with Leash() as leash:
            async with Supervisor(leash, holding.record, backoff) as supervisor:
                with stop_signals(supervisor.hurry) as stop:
                    stack = plan(settings, holding)
                    try:
                        await until_told(stop, _serve(stack, supervisor, children, console or Console(), first))
                    finally:
                        stack.withdraw()
                        await supervisor.stop()
    finally:
        holding.release()


async def _serve(
    stack: Stack,
    supervisor: Supervisor,
    children: Callable[[Stack], Sequence[Child]],
    console: Console,
    first: FirstLink | None,
) -> None:
    """Bring everything up in order, tell where it is, then watch over it."""
    await supervisor.start(*(Child.of(service) for service in stack.services))
    await _prepare_journal(stack)
    link = await first(stack.settings) if first and stack.private else None
    await supervisor.start(*children(stack))
    stack.announce()
    for line in report(stack, link):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    await supervisor.watch()


async def _prepare_journal(stack: Stack) -> None:
    """Migrate it, and again where it went away meanwhile: one of ours comes back. Raises what it says at last."""
    deadline = time.monotonic() + (MIGRATION_OUTAGE if stack.journal_is_ours else 0.0)
    while True:
        try:
            await asyncio.to_thread(migrate_for, stack.settings)
            if stack.control_port is not None:
                await trust_simulator(stack.settings)
            return
        except Exception as error:
            if not unreachable(error) or time.monotonic() > deadline:
                raise
            log.warning("the journal went away, and is migrated again", extra={"error": type(error).__name__})
            await asyncio.sleep(AGAIN)


def _end_survivors(holding: Holding) -> None:
    """End what an earlier run left behind: killed with SIGKILL, and its watchdog with it."""
    for mark in (*holding.survivors(), *_unrecorded(holding.data_dir)):
        log.warning("ending a survivor of an earlier run", extra={"child": mark.name, "pid": mark.pid})
        end(mark)
    holding.record([])


def _unrecorded(data_dir: Path) -> Iterator[Mark]:
    """Servers whose parent died before it could write them down."""
    for service in (Valkey(data_dir, 0), Postgres(data_dir, 0)):
        if (mark := service.survivor()) is not None:
            yield mark
