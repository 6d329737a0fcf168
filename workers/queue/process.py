"""What a worker process holds between tasks: one event loop in a thread, one journal pool, each backend's resources.

Celery's pool calls plain functions; the loop keeps running between them, so that keep-alive connections live and
closed ones are noticed. Made at the first task of the process, after the fork.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar
from uuid import UUID

import uvloop

from config.settings import Settings
from config.settings.routes_file import load_ways
from config.telemetry import traces
from orders.journal import connect
from orders.rules.catalogue import load_catalogue, load_register
from orders.rules.staleness import open_policy
from workers.delivery.deliver import WorkerResources
from workers.delivery.dispatch_result import DispatchResult
from workers.erp.connectors import open_erp
from workers.mapping.current_mapping import CurrentMapping
from workers.queue import registry
from workers.queue.bulkhead import MOMENT, Bulkhead
from workers.trust.barrier import ProcessBarrier
from workers.trust.key_cache import ReceiptKeyCache
from workers.trust.life import ProcessLife, WorkNote, end_process

T = TypeVar("T")

log = logging.getLogger("relais.tasks")

Work = Callable[[WorkerResources, Sequence[UUID]], Coroutine[Any, Any, DispatchResult]]
Complaint = Callable[[Exception], bool]
Late = Callable[[DispatchResult], None]


class WorkerProcess:
    """The loop, and each backend's resources and bulkhead, of one process."""

    def __init__(self, settings: Settings) -> None:
        """Nothing connects before the first task. Raises what loading backends, catalogue or register raises."""
        traces.begin(settings, "relais-worker")
        self._ways = load_ways(settings, tokens=True)
        self._catalogue = load_catalogue(settings.files.catalogue) if settings.files.catalogue else None
        self._register = load_register(settings.files.pharmacy_register) if settings.files.pharmacy_register else None
        self._policy = open_policy(settings)
        self._moment = MOMENT if len(self._ways.backends) > 1 else None
        self.engine = connect(settings.need("database_url"), pool=4 * len(self._ways.backends))
        self._worked = False  # a message was dealt with since that was asked last
        did = WorkNote(self._has_worked, registry.WORKED, registry.node(os.getppid()))
        self._life = ProcessLife(settings.need("database_url"), end_process, did)
        self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="delivery", daemon=True).start()
        self._bulkheads: dict[str, Bulkhead] = {}
        self._teller = ThreadPoolExecutor(1, "late")
        self.resources = cache(self._open)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the process's loop and wait for it."""
        return self._begin(work).result()

    def deliver(
        self, backend: str, ids: Sequence[UUID], work: Work, complain: Complaint, late: Late
    ) -> DispatchResult | None:
        """Do `work` on these orders of a backend when it is their turn.

        Returns what it came to when it is done, or None after a moment where other backends would have to wait: then
        `late` hears of it, in a thread that holds up nobody.

        Whoever can write to Redis can name any backend: one that is not ours is nobody's. `complain` hears what the
        work raised, and says whether that was foreseen; what was not is raised here too.
        """
        if backend not in self._ways.backends:
            log.warning("a message about no backend of ours", extra={"orders": len(ids)})
            return DispatchResult(elsewhere=len(ids))
        done = self._begin(self._in_turn(backend, ids, work, complain))
        try:
            return done.result(self._moment)
        except TimeoutError:
            log.debug("goes on by itself", extra={"backend": backend, "orders": len(ids)})
            done.add_done_callback(partial(self._told, late))
            return None

    def finish(self) -> None:
        """Wait until every batch in hand is settled."""

        async def idle() -> None:
            await asyncio.gather(*(each.idle() for each in self._bulkheads.values()))
            await self._life.end()

        self.run(idle())
        self._teller.shutdown(cancel_futures=True)

    def _told(self, late: Late, done: Future[DispatchResult]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._teller.submit(late, done.result())

    async def _in_turn(self, backend: str, ids: Sequence[UUID], work: Work, complain: Complaint) -> DispatchResult:
        try:
            resources = self.resources(backend)
            bulkhead = self._bulkheads.setdefault(backend, Bulkhead(resources.settings.erp.concurrency))
            found = await bulkhead.run(len(ids), lambda: work(resources, ids))
            self._worked = True
            return found or DispatchResult(held=len(ids), why="too much waits here")
        except Exception as error:
            if not complain(error):
                raise
            return DispatchResult(held=len(ids), why="the journal is out of reach")

    def _has_worked(self) -> bool:
        worked, self._worked = self._worked, False
        return worked or any(each.busy for each in self._bulkheads.values())

    def _begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _open(self, backend: str) -> WorkerResources:
        settings = self._ways.backends[backend]
        return WorkerResources(
            engine=self.engine,
            erp=open_erp(
                settings,
                ReceiptKeyCache(self.engine, backend),
                ProcessBarrier(settings.need("database_url"), backend, self._life),
            ),
            settings=settings,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            catalogue=self._catalogue,
            register=self._register,
            policy=self._policy,
            life=self._life,
            mapping=CurrentMapping(self.engine, backend),
        )
