"""One listener: a stream of server-sent events (WHATWG HTML, 9.2) in the task of the very request that asked for it.

The task waits for its client to hang up, and an alarm calls it away when there is something to say; so a listener
needs no second task. What it has yet to send is bounded: one that is busy sending is asked about later, and one that
does not read is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from pydantic_core import from_json, to_json
from starlette.types import Receive, Scope, Send

from orders import states
from orders.errors import Busy, Fault, JournalDown, Malformed, NotFound
from orders.receipt_lines import told as told_lines
from orders.states import State

log = logging.getLogger("relais.events")

EVENTS_AT_ONCE: Final = 16  # events that are read for one listener at a time
RETRY: Final = (1_000, 4_000)  # ms after which a client comes back: not all of them at the same moment
COMMENT: Final = b":\n\n"
FINAL: Final = {*states.FINAL} - {State.DEAD}  # a dead letter can be replayed
NO_STORE: Final = (b"cache-control", b"no-store")
HEADERS: Final = [(b"content-type", b"text/event-stream"), NO_STORE, (b"x-accel-buffering", b"no")]

Row = Mapping[str, Any]  # order_id, id, state, reason, error, at, reference, lines

_NUMBER: Final = re.compile(rb"[0-9]{1,18}")


class Listener:
    """What one stream has been told, is to be told, and when it speaks and ends. Belongs to one event loop."""

    __slots__ = (
        "_behind",
        "_final",
        "_hearing",
        "_known",
        "_resumed",
        "_saying",
        "_unsent",
        "_wake",
        "leaves_at",
        "opened",
        "order_id",
        "over",
        "seen",
        "speaks_at",
    )

    def __init__(self, order_id: UUID, last: int | None, wake: asyncio.Event) -> None:
        """`last` is the id of the last event that the client has; `wake` is set when the journal is to be asked."""
        self.order_id = order_id
        self.seen = (last or 0) - 1  # the event that the client has is read too, and shows where it stands
        self.speaks_at = self.leaves_at = float("inf")
        self.opened = False  # the journal was asked
        self.over = False  # to end as soon as may be
        self._resumed = last is not None
        self._known = self._final = self._behind = False
        self._unsent: list[bytes] = []
        self._hearing: asyncio.Timeout | None = None
        self._saying: asyncio.Timeout | None = None
        self._wake = wake

    def ask(self) -> bool:
        """Whether it has room for news now; if not, it wakes the reader when it has."""
        self._behind = self._hearing is None
        return not self._behind

    def take(self, rows: Sequence[Row]) -> None:
        """Events newer than `seen`, the oldest first, EVENTS_AT_ONCE at most; the first time also none."""
        self._behind = len(rows) == EVENTS_AT_ONCE
        if rows:
            self._final = rows[-1]["state"] in FINAL
        if not self.opened:
            self.opened = True
            self._known = bool(rows) and rows[0]["id"] == self.seen + 1
            self.seen += self._known
            rows = rows[1:] if self._resumed else rows
        elif not rows:
            return
        if rows:
            self.seen = rows[-1]["id"]
            self._unsent += map(frame, rows)
        self.call()

    def call(self) -> None:
        """Let it say what it has to say, or that it is still there."""
        if self._hearing is not None:
            self._hearing.reschedule(asyncio.get_running_loop().time())
            self._hearing = None

    def end(self) -> None:
        """Let it end, even where it waits for a client that does not read."""
        self.over = True
        self.call()
        if self._saying is not None:
            self._saying.reschedule(asyncio.get_running_loop().time())
            self._saying = None

    async def open(self, receive: Receive, patience: float) -> bool:
        """Wait until the journal was asked; False when the client has hung up.

        Raises JournalDown after `patience` seconds, NotFound, Malformed for a Last-Event-ID of another order, and
        Busy when it is to end.
        """
        if not await self._hear(receive, patience):
            return False
        if self.over:
            raise Busy("the intake is stopping")
        if not self.opened:
            raise JournalDown("the journal is out of reach")
        if not self._known and self.seen > -1:
            raise unknown_id()
        if not self._known:
            raise NotFound(f"no order {self.order_id}")
        return True

    async def tell(self, receive: Receive, send: Send, patience: float) -> None:
        """Stream until the final event, the end or the client's; a `send` may take `patience` seconds.

        Answers 204, upon which an EventSource comes no more, where the client has the final event.
        """
        if self._final and not self._unsent:
            await send({"type": "http.response.start", "status": 204, "headers": [NO_STORE]})
            await send({"type": "http.response.body"})
            return
        self._unsent.insert(0, b"retry: %d\n\n" % random.randint(*RETRY))
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        try:
            while await self._say(send, patience):
                if not await self._hear(receive, None):
                    return
        except TimeoutError:
            if not self.over:
                log.warning("a listener that does not read was dropped", extra={"order": self.order_id})

    async def _hear(self, receive: Receive, patience: float | None) -> bool:
        """Wait until called, or for `patience` seconds; False when the client has hung up."""
        if self._unsent or self.over:
            return True
        try:
            async with asyncio.timeout(patience) as self._hearing:
                while (await receive())["type"] != "http.disconnect":
                    pass
            return False
        except TimeoutError:
            return True
        finally:
            self._hearing = None

    async def _say(self, send: Send, patience: float) -> bool:
        """Send all there is, else a comment; False when that was the end. Raises TimeoutError."""
        last = self.over or self._final
        body = b"".join(self._unsent) or COMMENT
        self._unsent.clear()
        try:
            # In no time at the end: what need not wait for the client is sent all the same.
            async with asyncio.timeout(0 if self.over else patience) as self._saying:
                await send({"type": "http.response.body", "body": body, "more_body": not last})
        finally:
            self._saying = None
        if self._behind:
            self._wake.set()
        return not last


def frame(row: Row) -> bytes:
    """One event as it goes over the wire."""
    told = {name: row[name] for name in ("state", "reason", "error", "at")}
    if row["state"] == State.DELIVERED:
        told |= {"erp_reference": row["reference"], "lines": told_lines(from_json(row["lines"] or "[]"))}
    data = to_json({"id": str(row["order_id"]), **told})
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (row["id"], row["state"].encode(), data)


def last_event_id(scope: Scope) -> int | None:
    """The id of the last event that the client has, if it says so. Raises Malformed."""
    told = next((value for name, value in scope["headers"] if name == b"last-event-id"), b"")
    if told and not _NUMBER.fullmatch(told):
        raise unknown_id()
    return int(told) if told else None


def unknown_id() -> Malformed:
    """The client says that it has an event which this order never had."""
    return Malformed([Fault("Last-Event-ID", None, "is no event of this order")])
