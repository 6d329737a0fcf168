"""Waiting for something to become so, with a deadline: what tests do instead of sleeping.

The deadline is for what never comes: it costs nothing where all is well, and has to do on a machine that is busy.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")
BUSY: Final = 30.0  # seconds that a busy machine may take for what it does in one otherwise


def until(predicate: Callable[[], T], timeout: float = BUSY, every: float = 0.03, what: str = "") -> T:
    """Ask until the answer is true and return it; AssertionError after `timeout` seconds.

    `what` says in the failure what was waited for.
    """
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(_verdict(predicate, timeout, what))
        time.sleep(every)
    return answer


async def auntil(
    predicate: Callable[[], T | Awaitable[T]], timeout: float = BUSY, every: float = 0.03, what: str = ""
) -> T:
    """The same on an event loop; the predicate may be an async function."""
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(_verdict(predicate, timeout, what))
        await asyncio.sleep(every)


def _verdict(predicate: Callable[[], object], timeout: float, what: str) -> str:
    name = what or getattr(predicate, "__qualname__", repr(predicate))
    return f"not so within {timeout:g} s: {name}"
