"""What a worker process holds between tasks: one event loop in a thread, one journal pool, one ERP pool.

Celery's pool calls plain functions; the loop keeps running between them, so that keep-alive connections live and
closed ones are noticed. Made at the first task of the process, after the fork.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from config.settings import Settings
from orders.catalogue import load_catalogue, load_register
from orders.journal import connect
from workers.delivery import Desk
from workers.erp.http import HttpErp
from workers.gate import ProcessGate
from workers.ring import Ring

T = TypeVar("T")


class Process:
    """The loop and the desk of one process."""

    def __init__(self, settings: Settings) -> None:
        """Nothing connects before the first `run`. Raises what loading the catalogue or the register raises."""
        self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="delivery", daemon=True).start()
        engine = connect(settings.need("database_url"), pool=4)
        gate = ProcessGate(settings.need("database_url"), settings.backend)
        self._desk = Desk(
            engine=engine,
            erp=HttpErp(settings, Ring(engine, settings.backend), gate),
            settings=settings,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            catalogue=load_catalogue(settings.catalogue) if settings.catalogue else None,
            register=load_register(settings.pharmacy_register) if settings.pharmacy_register else None,
        )

    def run(self, work: Callable[[Desk], Coroutine[Any, Any, T]]) -> T:
        """Run `work(desk)` on the process's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work(self._desk), self._loop).result()
