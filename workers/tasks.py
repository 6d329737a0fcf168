"""The Celery tasks: thin, bounded, disposable.

What they do is in `workers.delivery`, `workers.polling` and `workers.telling`. A task that fails names the requests
that brought its orders, which travel in the message's headers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import cache, partial
from typing import Any
from uuid import UUID

from celery import Celery, Task
from celery.signals import worker_process_shutdown

from config.settings import Settings
from orders.journal import unreachable
from workers.delivery import Desk, deliver
from workers.polling import poll
from workers.process import Process
from workers.telling import Teller

log = logging.getLogger("relais.tasks")

MOST_IDS = 200
DELIVER, POLL, TELL = "relais.deliver", "relais.poll", "relais.tell"
REQUESTS = "relais_requests"  # the header with the ids of requests

Work = Callable[[Desk, Sequence[UUID]], Coroutine[Any, Any, Any]]


def add_tasks(app: Celery, settings: Settings) -> None:
    """Register `relais.deliver`, `relais.poll` and `relais.tell` on the app."""
    process = cache(partial(Process, settings))  # one per process, made at its first task
    teller = cache(partial(Teller, settings))

    def run(task: Task, work: Work, ids: list[str]) -> None:
        """Ids only, 200 at most; a journal out of reach costs nothing, what was dispatched is rescued."""
        wanted = [UUID(each) for each in ids[:MOST_IDS]]
        try:
            process().run(lambda desk: work(desk, wanted))
        except Exception as error:
            requests = task.request.get(REQUESTS)
            if not unreachable(error):
                log.error("task failed task=%s ids=%d requests=%s", task.name, len(wanted), requests)  # noqa: TRY400
                raise
            log.warning(
                "the journal is out of reach ids=%d error=%s requests=%s", len(wanted), type(error).__name__, requests
            )

    def finish(**_: Any) -> None:
        """At the end of a process: what it has begun to tell is told, and settled."""
        if teller.cache_info().currsize:
            process().run(lambda _: teller().finish())

    worker_process_shutdown.connect(finish, weak=False)

    @app.task(name=DELIVER, shared=False, bind=True)  # type: ignore[untyped-decorator]
    def relais_deliver(self: Task, ids: list[str]) -> None:
        """Forward these orders, as far as they may be forwarded now."""
        run(self, deliver, ids)

    @app.task(name=POLL, shared=False, bind=True)  # type: ignore[untyped-decorator]
    def relais_poll(self: Task, ids: list[str]) -> None:
        """Ask the ERP about these orders, which it took and has not accepted yet."""
        run(self, poll, ids)

    @app.task(name=TELL, shared=False, bind=True)  # type: ignore[untyped-decorator]
    def relais_tell(self: Task, ids: list[str]) -> None:
        """Begin to tell webhooks of these notices, which takes as long as their receivers do."""
        run(self, lambda desk, wanted: teller().begin(desk.engine, wanted), ids)
