"""An answer in time, whatever a store does that hangs: nobody waits for more than was said.

What is given up is cancelled and left to end by itself: a database driver can take seconds to let go of a connection
whose server does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_LEFT: Final[set[asyncio.Future[Any]]] = set()  # the loop itself holds tasks by weak references only


async def promptly(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives or raises; TimeoutError when that takes longer."""
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    except asyncio.CancelledError:
        leave(task)
        raise
    if not done:
        leave(task)
        raise TimeoutError
    return task.result()


def leave(task: asyncio.Future[Any]) -> None:
    """Cancel it, and wait for nothing; what it may still raise is nobody's."""
    task.cancel()
    _LEFT.add(task)
    task.add_done_callback(_over)


def _over(task: asyncio.Future[Any]) -> None:
    _LEFT.discard(task)
    if not task.cancelled():
        task.exception()
