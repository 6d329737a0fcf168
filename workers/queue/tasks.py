"""The Celery tasks: thin, bounded, disposable.

What they do is in `workers.delivery.deliver`, `workers.delivery.poll` and `workers.webhooks.sender`. A task that fails
names the requests that brought its orders, which travel in the message's headers.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime
from functools import cache, partial
from typing import Any
from urllib.parse import quote
from uuid import UUID

from celery import Celery, Task
from celery.exceptions import Ignore
from celery.signals import worker_process_shutdown

from config.settings import Settings
from config.telemetry import traces
from config.telemetry.logs import SANE
from orders.journal import unreachable
from workers.delivery.deliver import deliver
from workers.delivery.dispatch_result import DispatchResult
from workers.delivery.poll import poll
from workers.delivery.tracing import TRACES, read_header
from workers.queue.names import CANARY, DELIVER, MOST_IDS, POLL, REQUESTS, TELL
from workers.queue.process import Work, WorkerProcess
from workers.queue.registry import answer
from workers.webhooks.sender import Sender

log = logging.getLogger("relais.tasks")


class Undelivered(Exception):
    """A dispatch of which nothing came through: what a person sees of its task, who looks at Celery alone."""

    def __repr__(self) -> str:
        return str(self)


def add_tasks(app: Celery, settings: Settings) -> None:
    """Register `relais.deliver`, `relais.poll`, `relais.tell` and `relais.canary` on the app."""
    process = cache(partial(WorkerProcess, settings))  # one per process, made at its first task
    sender = cache(partial(Sender, settings))

    def finish(**_: Any) -> None:
        """At the end of a process: what it has in hand is settled, what it has begun to tell is told."""
        if process.cache_info().currsize:
            process().finish()
        if sender.cache_info().currsize:
            process().run(sender().finish())
        traces.end()

    worker_process_shutdown.connect(finish, weak=False)

    @app.task(name=DELIVER, shared=False, bind=True, throws=(Undelivered,))  # type: ignore[untyped-decorator]
    def relais_deliver(self: Task, backend: str, ids: list[str]) -> str:
        """Forward these orders, as far as they may be forwarded now."""
        said = read_header(self.request.get(TRACES), [UUID(each) for each in ids[:MOST_IDS]])
        return _run(process(), settings, self, partial(deliver, dispatched=said), backend, ids)

    @app.task(name=POLL, shared=False, bind=True, throws=(Undelivered,))  # type: ignore[untyped-decorator]
    def relais_poll(self: Task, backend: str, ids: list[str]) -> str:
        """Ask the ERP about these orders, which it took and has not accepted yet."""
        return _run(process(), settings, self, poll, backend, ids)

    @app.task(name=TELL, shared=False)  # type: ignore[untyped-decorator]
    def relais_tell(ids: list[str]) -> None:
        """Begin to tell webhooks of these notices, which takes as long as their receivers do."""
        process().run(sender().begin(process().engine, [UUID(each) for each in ids[:MOST_IDS]]))

    @app.task(name=CANARY, shared=False, bind=True, send_events=False)  # type: ignore[untyped-decorator]
    def relais_canary(self: Task, sent: str) -> None:
        """Answer for the worker that runs this, whoever it was sent to."""
        try:
            process().run(answer(process().engine, self.request.hostname, datetime.fromisoformat(sent)))
        except Exception as error:
            if not _complain(self.name, 0, None, error):
                raise


def _run(process: WorkerProcess, settings: Settings, task: Task, work: Work, backend: str, ids: list[str]) -> str:
    """Ids only, 200 at most; a journal out of reach costs nothing, what was dispatched is rescued.

    Says what became of them. Raises Undelivered where nothing came through, and Ignore where that is not known yet:
    the task is under way until its end is told.
    """
    wanted = [UUID(each) for each in ids[:MOST_IDS]]
    complain = partial(_complain, task.name, len(wanted), task.request.get(REQUESTS))
    place = f"{settings.console.url.rstrip('/')}/backend/{quote(backend)}" if settings.console.url else ""
    late = partial(_tell_late, task.app, task.request.id, task.request.hostname, time.monotonic(), place)
    found = process.deliver(backend, wanted, work, complain, late)
    if found is None:
        raise Ignore
    if found.failed:
        raise Undelivered(_told(found, place))
    return _told(found, place)


def _told(found: DispatchResult, place: str) -> str:
    """What came of it, and the console's page that says more where not all is well."""
    troubled = place and (found.held or found.dead or found.unanswered)
    return f"{found}; {place}" if troubled else str(found)


def _tell_late(app: Celery, task: str, hostname: str, began: float, place: str, found: DispatchResult) -> None:
    """Tell the end of a task that Celery has let go of, as Celery tells it; where Redis is away nobody hears."""
    told = _told(found, place)
    end = {"exception": told, "traceback": ""} if found.failed else {"result": repr(told)}
    kind = "task-failed" if found.failed else "task-succeeded"
    try:
        with app.events.default_dispatcher(hostname=hostname) as events:
            events.send(kind, uuid=task, runtime=time.monotonic() - began, retry=False, **end)
    except Exception as error:
        log.info("the end of a task was not told", extra={"error": type(error).__name__})


def _complain(task: str, ids: int, requests: list[str] | None, error: Exception) -> bool:
    """Log what a task met; True when it was only the journal that is out of reach."""
    if unreachable(error):
        extra = {"ids": ids, "error": type(error).__name__, "requests": _named(requests)}
        log.warning("the journal is out of reach", extra=extra)
        return True
    log.error("task failed", extra={"task": task, "ids": ids, "requests": _named(requests)}, exc_info=error)
    return False


def _named(requests: object) -> str:
    """Who can write to Redis can write anything here: only what can be the id of a request is repeated."""
    found = requests if isinstance(requests, list) else []
    return ",".join(each for each in found if isinstance(each, str) and SANE.fullmatch(each))
