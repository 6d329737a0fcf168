"""The Celery tasks: thin, bounded, disposable. What they do is in `workers.delivery` and `workers.polling`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import cache, partial
from typing import Any
from uuid import UUID

from celery import Celery

from config.settings import Settings
from orders.journal import unreachable
from workers.delivery import Desk, deliver
from workers.polling import poll
from workers.process import Process

log = logging.getLogger("relais.tasks")

MOST_IDS = 200
DELIVER, POLL = "relais.deliver", "relais.poll"


def add_tasks(app: Celery, settings: Settings) -> None:
    """Register `relais.deliver` and `relais.poll` on the app."""
    process = cache(partial(Process, settings))  # one per process, made at its first task

    def run(work: Callable[[Desk, Sequence[UUID]], Coroutine[Any, Any, int]], ids: list[str]) -> None:
        """Ids only, 200 at most; a journal out of reach costs nothing, the orders are rescued."""
        wanted = [UUID(order_id) for order_id in ids[:MOST_IDS]]
        try:
            process().run(lambda desk: work(desk, wanted))
        except Exception as error:
            if not unreachable(error):
                raise
            log.warning("the journal is out of reach orders=%d error=%s", len(wanted), type(error).__name__)

    @app.task(name=DELIVER, shared=False)  # type: ignore[untyped-decorator]
    def relais_deliver(ids: list[str]) -> None:
        """Forward these orders, as far as they may be forwarded now."""
        run(deliver, ids)

    @app.task(name=POLL, shared=False)  # type: ignore[untyped-decorator]
    def relais_poll(ids: list[str]) -> None:
        """Ask the ERP about these orders, which it took and has not accepted yet."""
        run(poll, ids)
