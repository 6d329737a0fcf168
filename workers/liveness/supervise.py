"""`relais worker --supervise`: a worker as the child of a small process that restarts it when it exits or hangs.

For where restarts follow exits only, as with Docker. A spare, which has loaded what a worker needs, takes the place of
one that ends. Told to stop, it tells the worker, waits as long as a batch may take, and exits with the worker's exit
code.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from config.embedded.child import Child
from config.embedded.leash import Leash
from config.embedded.process import Program, module, module_env
from config.embedded.stopping import stop_signals, until_told
from config.embedded.supervisor import Supervisor
from config.settings import Settings
from config.settings.routes_file import longest_batch
from config.telemetry import logs
from workers.liveness.canary import hangs

WORKER: Final = "worker"
STANDBY: Final = "--standby"  # an option of `relais worker`
ENDING: Final = 10.0  # seconds that a worker may need to end once its batch is settled


def supervise(settings: Settings, data_dir: Path | None) -> int:
    """Run until told to stop; `data_dir` is the worker's option, as it was given. The exit code."""
    logs.begin(settings)
    return asyncio.run(_supervise(settings, data_dir))


async def _supervise(settings: Settings, data_dir: Path | None) -> int:
    with Leash() as leash:
        async with Supervisor(leash) as supervisor:
            with stop_signals(supervisor.hurry) as stop:
                await until_told(stop, _run(supervisor, _child(settings, data_dir)))
                code = (await supervisor.stop()).get(WORKER, 0)
    return code if code >= 0 else 128 - code


async def _run(supervisor: Supervisor, child: Child) -> None:
    await supervisor.start(child)
    await supervisor.watch()


def _child(settings: Settings, data_dir: Path | None) -> Child:
    """The worker where this process is, with its environment and output; its readiness is nobody's condition."""

    async def ready() -> bool:
        return True

    options = () if data_dir is None else ("--data-dir", str(data_dir))
    argv = module("workers.cli", *options, WORKER)
    grace = longest_batch(settings) + ENDING
    program = Program(WORKER, argv, None, module_env(), grace=grace, cwd=str(Path.cwd()))
    return Child(program, ready, hangs=partial(hangs, settings), spare=standing_by(program))


def standing_by(program: Program) -> Program:
    """The program of the worker's spare."""
    return replace(program, name=f"{program.name}-spare", argv=(*program.argv, STANDBY), waits=True)
