"""The Celery app and the worker that runs it, composed from settings; nothing happens at import.

`run_worker` also keeps the threads of dispatcher, sealer and canary in the worker's main process, from the moment the
worker can consume.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from importlib import import_module
from typing import Any, Final

from celery.apps import worker as celery_worker
from celery.signals import setup_logging, worker_ready, worker_shutting_down

from config.celeryconfig import canary_queue
from config.settings import Settings
from config.settings.routes_file import load_backends
from config.telemetry import logs, traces
from workers.dispatch.aside_watch import AsideWatch
from workers.dispatch.dispatcher import Dispatcher
from workers.erp import connectors
from workers.liveness.canary import Canary
from workers.liveness.systemd import READY, STOPPING, tell_systemd
from workers.product_indexer import Indexer
from workers.proof.seal_thread import Sealer
from workers.queue.app import create_app
from workers.queue.inspection import answer_questions_only
from workers.queue.publisher import Publisher
from workers.queue.registry import node
from workers.queue.sieve import sift

log = logging.getLogger("relais.worker")

# What Celery finds by name when a worker begins. A spare, which takes the place of one that died, has it loaded before.
LATER: Final = (
    "celery.app.amqp",
    "celery.app.control",
    "celery.app.log",
    "celery.concurrency.prefork",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.loops",
    "celery.worker.strategy",
)


def load() -> None:
    """Load all that a worker loads as it begins; nothing connects."""
    for name in LATER:
        import_module(name)


def _say(message: str, *_: Any) -> None:
    log.info("celery says", extra={"said": message})


def run_worker(settings: Settings) -> int:
    """Run a worker until it is told to stop; returns its exit code."""
    logs.begin(settings)
    settings.need("database_url")
    app = create_app(settings)
    backends = load_backends(settings, tokens=True).items()
    erps = {backend: connectors.open_erp(each) for backend, each in backends}
    promised = {backend: erp.capabilities for backend, erp in erps.items()}
    name = node(os.getpid())
    app.amqp.queues.select_add(canary_queue(name))
    canary = Canary(settings, partial(Publisher, app, settings))
    dispatcher = Dispatcher(settings, partial(Publisher, app), promised)
    threads = (dispatcher, Sealer(settings), Indexer(settings), AsideWatch(settings, erps), canary)

    def ready(**_: Any) -> None:
        traces.begin(settings, "relais-dispatcher")  # now that the pool has forked, each of which makes its own
        for each in threads:
            each.start()
        tell_systemd(READY)

    def stopping(**_: Any) -> None:
        tell_systemd(STOPPING)
        for each in threads:
            each.stop()

    def log_as_we_do(**_: Any) -> None:
        logs.begin(settings)
        for chatty in ("celery.worker.strategy", "celery.app.trace"):  # two lines a task say nothing of an order
            logging.getLogger(chatty).setLevel("WARNING")

    setup_logging.connect(log_as_we_do, weak=False)
    worker_ready.connect(ready, weak=False)
    worker_shutting_down.connect(stopping, weak=False)
    answer_questions_only()
    sift()
    celery_worker.safe_say = _say  # what Celery says at its shutdown is no line of ours
    worker = app.Worker(
        hostname=name,
        loglevel=settings.telemetry.log_level,
        pool="prefork",
        quiet=True,
        without_gossip=True,  # workers neither tell nor ask one another anything: the journal has it
        without_mingle=True,
    )
    worker.start()
    traces.end()
    return int(worker.exitcode or 0)
