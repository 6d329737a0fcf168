"""The Celery app: Relais's tasks on the queues of each backend."""

from __future__ import annotations

from celery import Celery

from config.celeryconfig import celery_config
from config.settings import Settings
from config.settings.routes_file import load_backends
from workers.queue.lost_connection import let_go_of_all
from workers.queue.tasks import add_tasks

TIME_LIMIT = 2.0  # leases that a task may last; after one of them its orders are somebody else's already


def create_app(settings: Settings) -> Celery:
    """The Celery app on `redis_url`, with Relais's tasks and the queues of each backend. Raises BadBackends."""
    let_go_of_all()
    app = Celery("relais", set_as_current=False)
    backends = load_backends(settings)
    app.conf.update(
        celery_config(
            settings.need("redis_url"),
            list(backends),
            concurrency=settings.worker.concurrency,
            time_limit=max(each.delivery.lease for each in backends.values()) * TIME_LIMIT,
        )
    )
    add_tasks(app, settings)
    app.finalize()
    return app
