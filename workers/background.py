"""What the threads in a worker's main process have in common: each has an event loop, a start and a stop.

They begin once the worker can consume, after its pool was forked, and end when it is told to stop.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from contextlib import suppress


class Background(ABC):
    """One thread. `start` and `stop` from any thread; nothing runs before `start`."""

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._begin()), name=name, daemon=True)
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Tell it to end, and wait at most `timeout` seconds until it has; a daemon, it keeps no process alive."""
        self._stopping.set()
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._wake.set)
        if self._thread.is_alive():
            self._thread.join(timeout)

    @abstractmethod
    async def _run(self) -> None:
        """The work, until `_stopping`; raises nothing that it can live with."""

    async def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._run()

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until it is woken or told to stop; woken once, it waits the next time."""
        if self._stopping.is_set():
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        self._wake.clear()
