"""The Celery tasks: thin, bounded, disposable. What they do is in `workers.delivery` and `workers.polling`."""

from __future__ import annotations

import logging
from functools import cache, partial
from uuid import UUID

from celery import Celery

from config.settings import Settings
from orders.journal import unreachable
from workers.delivery import deliver
from workers.polling import poll
from workers.process import Process

log = logging.getLogger("relais.tasks")

MOST_IDS = 200


def add_tasks(app: Celery, settings: Settings) -> None:
    """Register `relais.deliver` and `relais.poll` on the app."""
    process = cache(partial(Process, settings))  # one per process, made at its first task

    def run(work: object, ids: list[str]) -> None:
        """Ids only, 200 at most; a journal out of reach costs nothing, the orders are rescued."""
        wanted = [UUID(order_id) for order_id in ids[:MOST_IDS]]
        try:
            process().run(lambda desk: work(desk, wanted))  # type: ignore[operator]
        except Exception as error:
            if not unreachable(error):
                raise
            log.warning("the journal is out of reach orders=%d error=%s", len(wanted), type(error).__name__)

    app.task(name="relais.deliver")(lambda ids: run(deliver, ids))
    app.task(name="relais.poll")(lambda ids: run(poll, ids))
