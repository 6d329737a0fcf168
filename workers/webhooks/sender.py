"""What webhooks are sent: a worker process's calls, over one keep-alive pool, beside its orders and never in their way.

A message only begins the work, so that no receiver, however slow, holds up a task; the journal's lease is the
acknowledgement. Nothing is believed of an answer but its status: no redirect is followed, no cookie kept, no proxy
taken from the environment, and of its body little is read and nothing kept.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID, uuid4

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine

from config.retry_after import pause_asked
from config.settings import Settings
from orders.journal import insist, unreachable
from orders.webhooks.payload import signed, trial
from workers.webhooks.outbox import Errand, Notice, claim, settle
from workers.webhooks.retry_policy import Answer

log = logging.getLogger("relais.sender")

MOST_NOTICES: Final = 2000  # notices in hand at once; what comes beyond is dispatched again
HANDS: Final = 16  # calls to one webhook at once
TRIP: Final = 3  # failures in a row after which the rest of an errand is left
DOORS: Final = 2  # connections to the journal at once, of those that orders need too
MOST_BYTES: Final = 64 * 1024  # of an answer that are read, so that its connection can be used again
IDLE: Final = 4.0  # seconds that an idle connection is kept: servers commonly drop theirs after 5
PAUSING: Final = (429, 503)  # the answers whose Retry-After is for all of a client's notices

_ERRORS: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), "its URL cannot be used"),
    ((aiohttp.ConnectionTimeoutError,), "no connection in time"),
    ((TimeoutError,), "no answer in time"),
    ((aiohttp.ClientConnectorDNSError,), "its name cannot be resolved"),
    ((aiohttp.ClientSSLError, ssl.SSLError), "no TLS that can be trusted"),
    ((aiohttp.ClientConnectorError,), "no connection"),
    ((aiohttp.ClientResponseError,), "the answer is not HTTP"),
    ((aiohttp.ClientError, OSError), "the connection broke"),
)


class Sender:
    """The calls of one process. Belongs to the event loop on which it is first used."""

    def __init__(self, settings: Settings) -> None:
        """Nothing connects yet."""
        self._settings = settings
        # Every call ends within the budget, so that it is settled within the lease.
        self._timeout = min(settings.webhooks.timeout, settings.delivery.batch_budget / 2)
        self._session: aiohttp.ClientSession | None = None
        self._doors = asyncio.Semaphore(DOORS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_hand = 0

    async def begin(self, engine: AsyncEngine, ids: Sequence[UUID]) -> None:
        """Take these notices in hand, and return at once."""
        if self._in_hand + len(ids) > MOST_NOTICES:
            log.warning("more notices at once than this worker takes, left for later", extra={"notices": len(ids)})
            return
        self._in_hand += len(ids)
        task = asyncio.get_running_loop().create_task(self._tell(engine, ids))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait for what is in hand, and let go of the connections."""
        if self._tasks:
            log.info("sending what has been begun", extra={"notices": self._in_hand})
            await asyncio.wait(self._tasks)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _tell(self, engine: AsyncEngine, ids: Sequence[UUID]) -> None:
        errands: Sequence[Errand] = ()
        try:
            async with self._doors:
                errands = await claim(engine, ids, self._settings)
        except Exception as error:
            _complain(error, len(ids))
        self._in_hand -= len(ids) - sum(len(errand.notices) for errand in errands)
        await asyncio.gather(*(self._run(engine, errand) for errand in errands))

    async def _run(self, engine: AsyncEngine, errand: Errand) -> None:
        """One client's: call, then settle, in the time of the lease that is left."""
        ends = asyncio.get_running_loop().time() + self._settings.delivery.lease
        try:
            answers = await self.send(errand)
            await self._settle(engine, errand, answers, ends - asyncio.get_running_loop().time())
        except Exception as error:
            _complain(error, len(errand.notices))
        self._in_hand -= len(errand.notices)

    async def _settle(
        self, engine: AsyncEngine, errand: Errand, answers: Sequence[Answer | None], remaining: float
    ) -> None:
        async def once() -> None:
            async with self._doors:
                await settle(engine, errand, answers)

        await insist(once, remaining)

    async def send(self, errand: Errand) -> list[Answer | None]:
        """What the webhook answered to each notice; None for those not sent: it failed TRIP times in a row, asked for
        a pause, or the time was up.
        """
        turns = iter(enumerate(errand.notices))
        answers: list[Answer | None] = [None] * len(errand.notices)
        last_call = asyncio.get_running_loop().time() + self._settings.delivery.batch_budget - self._timeout
        row = 0

        async def hand() -> None:
            nonlocal row
            for number, notice in turns:
                answers[number] = answer = await self._call(errand, notice)
                row = 0 if answer.told else row + 1
                if row >= TRIP or answer.pause is not None or asyncio.get_running_loop().time() > last_call:
                    for _ in turns:  # nobody takes another
                        pass

        await asyncio.gather(*(hand() for _ in range(min(HANDS, len(errand.notices)))))
        return answers

    async def _call(self, errand: Errand, notice: Notice) -> Answer:
        if self._session is None:
            self._session = open_session()
        headers = signed(notice.id, int(time.time()), notice.body, errand.secrets)
        return await call(self._session, errand.url, notice.body, headers, self._timeout)


def _complain(error: Exception, notices: int) -> None:
    if unreachable(error):
        log.warning("the journal is out of reach", extra={"notices": notices, "error": type(error).__name__})
    else:
        log.error("sending failed", extra={"notices": notices}, exc_info=error)


def open_session() -> aiohttp.ClientSession:
    """A pool for any number of webhooks."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "relais", "Content-Type": "application/json", "Accept-Encoding": "identity"},
        auto_decompress=False,
    )


async def call(
    session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str], timeout: float
) -> Answer:
    """POST a signed body, and what came of it, within `timeout` seconds. Raises nothing."""
    limit = aiohttp.ClientTimeout(total=timeout, ceil_threshold=float("inf"))
    try:
        async with session.post(url, data=body, headers=headers, timeout=limit, allow_redirects=False) as response:
            await _skim(response)
            return _answer(response)
    except Exception as error:
        says = next((says for classes, says in _ERRORS if isinstance(error, classes)), None)
        if says is None:
            log.exception("unforeseen failure of a call")
        return Answer(False, says or f"something that was not foreseen: {type(error).__name__}")


def _answer(response: aiohttp.ClientResponse) -> Answer:
    status = response.status
    pause = pause_asked(response.headers.get("Retry-After")) if status in PAUSING else None
    return Answer(200 <= status < 300, f"answered {status}", status, pause)


async def _skim(response: aiohttp.ClientResponse) -> None:
    """Read the answer's body, if it is no large one; its status is all that counts."""
    left = MOST_BYTES
    with suppress(aiohttp.ClientError, TimeoutError, OSError):
        while left > 0 and (chunk := await response.content.read(left)):
            left -= len(chunk)


async def try_out(client: str, url: str, secrets: Sequence[str], timeout: float) -> Answer:
    """Send an event about no order, for an operator to see what is answered. Raises nothing."""
    body = trial(client)
    async with open_session() as session:
        return await call(session, url, body, signed(uuid4(), int(time.time()), body, secrets), timeout)
