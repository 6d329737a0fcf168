"""Long reading apart from the pages: on a thread and an event loop of its own, so that pages are answered meanwhile.

Whoever waits for it may be cancelled: the work is then too, with the statement that it waits for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


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
