"""Server-sent events of orders' lives: all listeners of one API process on one connection to the journal.

A notice from the journal says that something happened, not what: it is read at most five times a second, for all
listeners together and for each from the event that it has, since events are not committed in the order of their ids,
but those of one order are. A journal that goes away ends no stream, and when it is back nothing was missed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from uuid import UUID

from starlette.types import Receive, Scope, Send

from config.backoff import backoff
from orders.api.event_stream import EVENTS_AT_ONCE, Listener, last_event_id
from orders.ending import ended
from orders.errors import Busy
from orders.journal import unreachable
from orders.journal.hosts import reach
from orders.schema.triggers import EVENT_CHANNEL
from orders.states import State

log = logging.getLogger("relais.events")

MOST_LISTENERS: Final = 5_000  # streams open at once, per process
BREATH: Final = 0.2  # seconds between two readings
UNASKED: Final = 10.0  # seconds after which the journal is asked without a notice: its connection may be a dead one
TIMEOUT: Final = 5.0  # seconds for connecting, for a statement, and for opening a stream
BACKOFF: Final = (0.1, 5.0)  # seconds before connecting again: at first, at most
TICK: Final = 0.25  # seconds
GROUP: Final = 250  # listeners in one statement; what it brings is encoded before others have their turn

# `+ 0` keeps the planner from walking the primary key for the LIMIT's sake; the index over (order_id, id) serves.
NEWER: Final = f"""
SELECT w.number, w.order_id, e.id, e.state, e.reason, e.error, e.at, r.reference, r.lines
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS w (order_id, seen, number)
CROSS JOIN LATERAL (
  SELECT * FROM (
    SELECT 0::bigint AS id, '{State.ACCEPTED}' AS state, NULL AS reason, NULL AS error, o.received_at AS at
    FROM orders o WHERE o.id = w.order_id AND w.seen < 0
    UNION ALL
    SELECT v.id, v.state, v.reason, v.error, v.at FROM events v WHERE v.order_id = w.order_id AND v.id > w.seen
  ) u ORDER BY u.id + 0 LIMIT {EVENTS_AT_ONCE}
) e
LEFT JOIN LATERAL (
  SELECT reference, lines FROM receipts WHERE order_id = w.order_id AND e.state = '{State.DELIVERED}'
  ORDER BY received_at DESC LIMIT 1
) r ON true
ORDER BY w.number, e.id
"""


class Listeners:
    """Who listens to which order. One instance per process; it connects when the first comes."""

    def __init__(
        self,
        url: str,
        *,
        bound: int = MOST_LISTENERS,
        comment: float = 15.0,
        patience: float = 30.0,
        longest: float = 900.0,
    ) -> None:
        """On the journal at `postgresql://…`, for `bound` listeners at once; times in seconds.

        A stream says something every `comment`, is dropped when its client has not read for `patience`, and ends
        after `longest` at the latest: whoever comes back, with Last-Event-ID, shows an API key that is in force.
        """
        self._url = url
        self._bound = bound
        self._comment = comment
        self._patience = patience
        self._longest = longest
        self._listeners: set[Listener] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._closed = False

    @property
    def count(self) -> int:
        """How many listen."""
        return len(self._listeners)

    async def stream(self, order_id: UUID, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a GET with the order's events, from the one after Last-Event-ID on, until the final one.

        204 where the client has that one. Before anything is sent, raises Malformed (Last-Event-ID is none of this
        order), NotFound, Busy (as many as may be, or closing) and JournalDown.
        """
        listener = Listener(order_id, last_event_id(scope), self._wake)
        self._admit(listener)
        try:
            if await listener.open(receive, TIMEOUT):
                now = asyncio.get_running_loop().time()
                listener.speaks_at, listener.leaves_at = now + self._interval(), now + _about(self._longest)
                await listener.tell(receive, send, self._patience)
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._nobody.set()

    async def close(self) -> None:
        """End every stream now, and take no more; returns when all have ended."""
        self._closed = True
        for listener in self._listeners:
            listener.end()
        await self._nobody.wait()
        await ended(*self._tasks)

    def _admit(self, listener: Listener) -> None:
        if self._closed or len(self._listeners) >= self._bound:
            raise Busy("the intake is stopping" if self._closed else "as many listen as may")
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._follow()), loop.create_task(self._tick())]
        self._listeners.add(listener)
        self._nobody.clear()
        self._wake.set()

    async def _follow(self) -> None:
        """Read what is new whenever there is news, whatever happens to the journal."""
        failures = 1
        while True:
            try:
                async with self._connected() as connection:
                    await self._read(connection)
                    failures = 1
                    await self._read_on(connection)
            except Exception as error:
                if unreachable(error):
                    log.warning("events cannot be read, connecting again", extra={"error": type(error).__name__})
                else:
                    log.exception("events cannot be read")
            await asyncio.sleep(_about(backoff(failures, *BACKOFF)))
            failures += 1

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """A connection that wakes the reader for each notice, and when it breaks."""
        settings = {"application_name": "relais events", "jit": "off", "enable_seqscan": "off", "timezone": "UTC"}
        connection = await reach(self._url, timeout=TIMEOUT, command_timeout=TIMEOUT, server_settings=settings)
        try:
            connection.add_termination_listener(lambda _: self._wake.set())
            await connection.add_listener(EVENT_CHANNEL, lambda *_: self._wake.set())
            yield connection
        finally:
            connection.terminate()

    async def _read_on(self, connection: Any) -> None:
        while True:
            await asyncio.sleep(BREATH)
            with suppress(TimeoutError):
                async with asyncio.timeout(UNASKED):
                    await self._wake.wait()
            await self._read(connection)

    async def _read(self, connection: Any) -> None:
        """Ask once for all who have room, and hand each what it has not seen."""
        self._wake.clear()
        asked = [each for each in self._listeners if each.ask()]
        for group in (asked[start : start + GROUP] for start in range(0, len(asked), GROUP)):
            rows = await connection.fetch(NEWER, [each.order_id for each in group], [each.seen for each in group])
            found = _by_number(rows)
            for number, listener in enumerate(group, 1):
                listener.take(found.get(number, []))

    async def _tick(self) -> None:
        """Keep idle streams alive, one comment at a time, and end those that have lasted long enough."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK)
            now = loop.time()
            for listener in self._listeners:
                if listener.leaves_at <= now:
                    listener.end()
                elif listener.speaks_at <= now:
                    listener.speaks_at = now + self._interval()
                    listener.call()

    def _interval(self) -> float:
        return _about(self._comment)


def _about(seconds: float) -> float:
    """Half of it to all of it: who came together does not stay together."""
    return seconds * random.uniform(0.5, 1.0)


def _by_number(rows: Iterable[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row["number"], []).append(row)
    return found
