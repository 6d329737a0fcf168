"""A page that needs the journal does not wait for one that is out: it says so within three seconds or so.

What only looks is given up once the poller has found that the journal does not answer; what changes something is
refused before it begins, and never given up: it may have been done.
"""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.console.error_pages import answer
from workers.console.live.poller import Poller
from workers.console.security_headers import SAFE
from workers.console.within import leave

PAGE_TIMEOUT: Final = 1.5  # seconds that every page has
OUT_TIMEOUT: Final = 0.5  # and those that it has when the journal is known to be out
AGAIN: Final = 0.1  # seconds between two questions whether it still answers
ALONE: Final = ("/", "/display", "/healthz", "/login", "/recovery", "/recovery/standing")  # live without the journal
APART: Final = ("/static/", "/live/")


class JournalTimeout:
    """An ASGI middleware, within the one that knows who comes."""

    def __init__(self, app: ASGIApp) -> None:
        """Around `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] != "http" or scope["path"].startswith(APART):
            await self._app(scope, receive, send)
            return
        poller: Poller = scope["app"].state.overview.poller
        poller.touch()
        looks = scope["method"] in SAFE
        if scope["path"] in ALONE and (looks or scope["path"] == "/display"):
            await self._app(scope, receive, send)
        elif looks:
            await self._look(poller, scope, receive, send)
        elif poller.seen.journal.out is not None and not await poller.back(OUT_TIMEOUT):
            await _refuse(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _look(self, poller: Poller, scope: Scope, receive: Receive, send: Send) -> None:
        begun, given_up = asyncio.Event(), False

        async def sent(message: Message) -> None:
            if not given_up:
                begun.set()
                await send(message)

        work = asyncio.ensure_future(self._app(scope, receive, sent))
        try:
            await asyncio.wait([work], timeout=OUT_TIMEOUT if poller.seen.journal.out is not None else PAGE_TIMEOUT)
            while not (work.done() or begun.is_set() or poller.silent()):
                await asyncio.wait([work], timeout=AGAIN)
            if work.done() or begun.is_set():
                await work
                return
        except asyncio.CancelledError:
            leave(work)
            raise
        given_up = True
        leave(work)
        await _refuse(scope, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    told = await answer(request, ConnectionError("the journal does not answer"), nothing_done=True)
    await told(scope, receive, send)
