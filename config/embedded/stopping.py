"""How a foreground process that supervises others is told to stop: SIGINT, SIGTERM or SIGHUP; again for haste."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


async def until_told(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work until `stop` is set; raises what the work raises."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.wait({working, stopping})
    if not working.cancelled():
        working.result()


@contextmanager
def stop_signals(hurry: Callable[[], None]) -> Iterator[asyncio.Event]:
    """An event that the first stop signal sets; each further one calls `hurry`."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def ask() -> None:
        if stop.is_set():
            hurry()
        stop.set()

    # Under nohup SIGHUP is ignored, and is to stay so.
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    signals = (signal.SIGINT, signal.SIGTERM, *hangup)
    for each in signals:
        loop.add_signal_handler(each, ask)
    try:
        yield stop
    finally:
        for each in signals:
            loop.remove_signal_handler(each)
