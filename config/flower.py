"""Flower, as a window for people: never without a password, bounded, and unable to change anything.

It is no source of health (it calls itself healthy while Redis is down) and keeps no history: an order's history is
in the journal. Its options are set here, in process, so that no password stands in a process list.
"""

from __future__ import annotations

import logging
import re
import signal
from typing import Any, Final

from celery import Celery
from flower.options import default_options
from flower.urls import settings as tornado_settings

from config.flower_server import Door

log = logging.getLogger("relais.flower")

OUTCOME: Final = re.compile(r"[\d,]+ delivered")


def told(task: Any) -> Any:
    """A task as it is shown: what became of its orders under `result`, also where none came through."""
    if OUTCOME.match(task.exception or ""):  # no fault of a program
        task.result, task.exception, task.traceback = task.exception, None, None
    elif task.result:
        task.result = task.result.strip("'")
    return task


OPTIONS: Final[dict[str, Any]] = {
    "max_tasks": 5000,  # 74 MB idle, 885 MB at its default of 100,000
    "max_workers": 200,
    "purge_offline_workers": 600,  # s; a worker's name holds its pid, so each restart leaves one behind
    "persistent": False,  # nothing that it shows is kept anywhere but in the journal
    "read_only": True,  # what an operator does goes through `relais` and is recorded
    "inspect_timeout": 2000.0,  # ms
    # `args` reads "37 orders, oldest 12:03Z", `result` "0 delivered, 37 held: no connection to the ERP"; only `uuid`
    # leads to a task's page
    "tasks_columns": "name,args,state,result,received,uuid",
    "format_task": told,
}


def run_flower(app: Celery, host: str, port: int, auth: str) -> None:
    """Serve Flower until SIGTERM or SIGINT; `auth` is `user:password`. OSError when it cannot listen there."""
    for name, value in {**OPTIONS, "address": host, "port": port, "basic_auth": [auth]}.items():
        setattr(default_options, name, value)
    for noisy in ("tornado.access", "flower.inspector"):  # the latter warns of every call that no worker answered
        logging.getLogger(noisy).setLevel(logging.ERROR)
    flower = Door(capp=app, options=default_options, auth=auth, **{**tornado_settings, "debug": False})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        listening = flower.start_http_server()
        log.info("ready", extra={"url": f"http://{host}:{listening}"})
        flower.start()
    except KeyboardInterrupt:
        log.info("stopping")
    finally:
        flower.stop()
