"""Flower behind a door: whatever it serves, now or in a version to come, needs the password and changes nothing.

Flower guards its pages one by one, and left `/metrics` open. Here one rule comes before all of them: only
`/healthcheck` is open, and only what reads is let through. It also listens on without end while Redis is away, at
a steady pace (Flower's own pause doubles for ever), and forgets workers that are long gone.
"""

from __future__ import annotations

import hmac
import logging
import time
from base64 import b64encode
from typing import Any, Final

from celery.events import EventReceiver
from flower.app import Flower
from flower.events import Events
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.web import ErrorHandler, RequestHandler

log = logging.getLogger("relais.flower")

OPEN: Final = frozenset({"/healthcheck"})
READING: Final = frozenset({"GET"})
ASKED_BY_POST: Final = frozenset({"/tasks/datatable"})  # the tasks page asks so for its rows
NO_RETRIES: Final = {"max_retries": 0}  # kombu's own retries wait longer and longer
PAUSE: Final = 2.0  # s between two tries to reach Redis
TIDYING: Final = 60.0  # s


class Door(Flower):  # type: ignore[misc]
    """Flower that answers 401 without the password `auth` (`user:password`) and 403 to what is not reading."""

    def __init__(self, *, capp: Any, options: Any, auth: str, **settings: Any) -> None:
        loop = IOLoop.current()
        events = TaskListener(
            capp, loop, max_tasks_in_memory=options.max_tasks, max_workers_in_memory=options.max_workers
        )
        super().__init__(options=options, capp=capp, events=events, io_loop=loop, **settings)
        self._entitled = b64encode(auth.encode())
        self._tidying = PeriodicCallback(self.forget, TIDYING * 1000)

    def start(self) -> None:
        """Listen for events and serve, until stopped."""
        self._tidying.start()
        super().start()

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate:
        """What answers a request: Flower, when it may."""
        answers: HTTPMessageDelegate
        if request.path in OPEN and request.method in ("GET", "HEAD"):
            answers = self.get_handler_delegate(request, HealthCheck)
        elif (shut := self._shut(request)) is None:
            answers = super().find_handler(request, **kwargs)
        else:
            answers = self.get_handler_delegate(request, Refusal, {"status_code": shut})
        return answers

    def forget(self) -> None:
        """Drop what is kept of workers that Flower shows no more: it bounds how many it shows, not what it counts."""
        self.purge_offline_worker_metrics()
        state = self.events.state
        for kept in (state.counter, self.inspector.workers):
            for name in [name for name in kept if name not in state.workers]:
                del kept[name]

    def _shut(self, request: HTTPServerRequest) -> int | None:
        """The status with which a request is refused, or None."""
        reads = request.method in READING
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic" or not hmac.compare_digest(given.strip().encode(), self._entitled):
            return 401
        return None if reads or (request.method == "POST" and request.path in ASKED_BY_POST) else 403


class HealthCheck(RequestHandler):
    """Alive: what Flower says at its own `/healthcheck`, to HEAD as well."""

    def get(self) -> None:
        """OK."""
        self.write("OK")

    head = get


class Refusal(ErrorHandler):
    """Says no, and to a browser without a password that it may ask for one."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """The refusal in a line of text."""
        if status_code == 401:
            self.set_header("WWW-Authenticate", 'Basic realm="Flower", charset="UTF-8"')
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish("a password is needed\n" if status_code == 401 else "Flower only shows; see `relais --help`\n")


class TaskListener(Events):  # type: ignore[misc]
    """The thread that hears what the workers tell of their tasks."""

    def run(self) -> None:
        """Listen for ever; whatever ends it, Redis gone or a message that cannot be read, it begins again."""
        while True:
            try:
                with self.capp.connection(transport_options=NO_RETRIES) as connection:
                    receiver = EventReceiver(connection, handlers={"*": self.on_event}, app=self.capp)
                    receiver.capture(limit=None, timeout=None, wakeup=True)
            except Exception as error:
                log.warning("no events, trying again", extra={"error": type(error).__name__})
                time.sleep(PAUSE)
