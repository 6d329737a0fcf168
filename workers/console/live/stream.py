"""Server-sent events (WHATWG HTML, 9.2) to one who watches: the newest state of things, never a queue of old ones.

What is sent is drawn once for all who read the same language in the same role. A listener that reads slowly skips
what it was too slow for; one that does not read at all is let go. A stream ends when the console stops, when the
session does, and after a while in any case: the browser comes again by itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orders.errors import Busy, Throttled
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console.live.poller import Poller

MOST_STREAMS: Final = 400  # streams of one process
MOST_OF_SESSION: Final = 8  # and of one session
HEARTBEAT: Final = 10.0  # seconds after which a stream that has nothing to say shows that it is there
SLOW: Final = 20.0  # seconds that a listener may take to read what was sent
LASTS: Final = (600.0, 900.0)  # seconds that a stream lasts: not all of them end at once
RECHECK: Final = 10.0  # seconds between two looks whether the session is still one
COMMENT: Final = b":\n\n"
HEADERS: Final = {"content-type": "text/event-stream", "x-accel-buffering": "no"}


class Streams:
    """Those that are open in this process."""

    def __init__(self) -> None:
        """None is."""
        self._open: Counter[str] = Counter()

    @contextmanager
    def one_more(self, session: str) -> Iterator[None]:
        """A stream of that session while the block lasts."""
        self._open[session] += 1
        try:
            yield
        finally:
            self._open[session] -= 1
            self._open += Counter()  # those at none are dropped

    def check(self, session: str) -> None:
        """Raise Busy when this process has all that it bears, Throttled when this session does."""
        if self._open.total() >= MOST_STREAMS:
            raise Busy(Sentence(NotDone.ALL_LIVE))
        if self._open[session] >= MOST_OF_SESSION:
            raise Throttled(RECHECK)


class Stream(Response):
    """The answer that goes on.

    `told` gives what to send to one who has seen up to a beat; `alive` whether the session still is; `last` is sent
    when it is not.
    """

    def __init__(
        self,
        poller: Poller,
        stopping: asyncio.Event,
        told: Callable[[int], bytes],
        alive: Callable[[], Awaitable[bool]],
        last: bytes,
        hold: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Nothing is sent yet; `hold` makes the context that lasts as long as the stream."""
        super().__init__(status_code=200, headers=HEADERS)
        del self.headers["content-length"]
        self._poller, self._stopping, self._told, self._alive = poller, stopping, told, alive
        self._last, self._hold = last, hold

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until it is over."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        with self._hold():
            async with self._poller.watched():
                sending = asyncio.create_task(self._tell(send))
                ends = [sending, asyncio.create_task(_gone(receive)), asyncio.create_task(self._stopping.wait())]
                try:
                    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for each in ends:
                        each.cancel()
                    await asyncio.gather(*ends, return_exceptions=True)
        if sending.cancelled() or sending.exception() is None:
            await _send(send, b"", more=False, patience=0.1)

    async def _tell(self, send: Send) -> None:
        """Raises TimeoutError for a listener that does not read."""
        ends, checked, seen = time.monotonic() + random.uniform(*LASTS), time.monotonic(), -1
        while (now := time.monotonic()) < ends:
            if now - checked > RECHECK:
                checked = now
                if not await self._alive():
                    await _send(send, self._last, more=True, patience=SLOW)
                    return
            news = self._poller.seen.beat > seen
            body = self._told(seen) if news else COMMENT
            seen = self._poller.seen.beat
            await _send(send, body, more=True, patience=SLOW)
            await self._poller.after(seen, min(HEARTBEAT, RECHECK))


async def _send(send: Send, body: bytes, *, more: bool, patience: float) -> None:
    async with asyncio.timeout(patience):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
