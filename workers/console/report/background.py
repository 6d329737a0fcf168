"""Long reading apart from the pages: on a thread and an event loop of its own, so that pages are answered meanwhile.

Whoever waits for it may be cancelled: the work is then too, with the statement that it waits for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from workers.console.acts.act import Running

T = TypeVar("T")
TELL_EVERY = 0.5  # s between two words on how far it is


class Reached:
    """How far work on another thread is: `done` of about `total` rows."""

    def __init__(self) -> None:
        self.done, self.total = 0, 0

    def at(self, done: int, total: int) -> None:
        """To be called by the work."""
        self.done, self.total = done, total


async def aside(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do `work` on a thread of its own and return what it returns; it knows who is acting."""
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []
    given_up = threading.Event()

    async def begin() -> T:
        task = asyncio.current_task()
        assert task is not None
        loops.append((asyncio.get_running_loop(), task))
        if given_up.is_set():
            raise asyncio.CancelledError
        return await work()

    running = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(begin())))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        given_up.set()
        for loop, task in loops:
            with suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(task.cancel)
        with suppress(BaseException):
            await running
        raise


async def watched(work: Coroutine[Any, Any, T], reached: Reached, running: Running) -> T:
    """Do it and tell how far it is; ends it, and raises Stopped, when somebody asked to stop."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await running.at(reached.done, reached.total or None)
            await asyncio.wait({task}, timeout=TELL_EVERY)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
