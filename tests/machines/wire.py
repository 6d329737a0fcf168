"""A wire to a server that a test can cut, for one process alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Wire:
    """Hands on what it hears to the server at a port; while it is cut, it refuses and has let go of everybody, and what
    it holds back comes late.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self._to = port
        self._loop = asyncio.new_event_loop()
        self._going: set[asyncio.Task[None]] = set()
        self._cut = False
        self._free = _opened()  # for the connections that come
        self._held: list[asyncio.Event] = []  # for those that what came before was held back with

    def cut(self) -> None:
        """Nothing goes through any more."""
        self._loop.call_soon_threadsafe(self._do_cut)

    def mend(self) -> None:
        """It goes through again."""
        self._loop.call_soon_threadsafe(setattr, self, "_cut", False)

    def hold(self) -> None:
        """What is sent from now on is held back, and nobody is told."""
        self._loop.call_soon_threadsafe(self._free.clear)

    def pass_by(self) -> None:
        """What is held back stays so, and what comes by new connections goes through."""
        self._loop.call_soon_threadsafe(self._do_pass_by)

    def release(self) -> None:
        """What was held back comes now, though nobody may wait for it any more."""
        self._loop.call_soon_threadsafe(self._do_release)

    def _do_pass_by(self) -> None:
        self._held.append(self._free)
        self._free = _opened()

    def _do_release(self) -> None:
        while self._held:
            self._held.pop().set()

    def _do_cut(self) -> None:
        self._cut = True
        for task in self._going:
            task.cancel()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task, free = asyncio.current_task(), self._free
        assert task is not None
        self._going.add(task)
        try:
            if not self._cut:
                with suppress(OSError, asyncio.CancelledError):
                    inner, outer = await asyncio.open_connection("127.0.0.1", self._to)
                    try:
                        await asyncio.gather(_pump(reader, outer, free), _pump(inner, writer, free))
                    finally:
                        outer.close()
        finally:
            self._going.discard(task)
            writer.transport.abort()

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._hand_on, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        self._do_cut()
        await asyncio.gather(*self._going, return_exceptions=True)


def _opened() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, free: asyncio.Event) -> None:
    while data := await reader.read(65536):
        await free.wait()
        writer.write(data)
        await writer.drain()
    writer.close()


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    """A wire to the server at `port`; who would go through it asks at the wire's own `port`."""
    wire, ready, stop = Wire(port), threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: wire._loop.run_until_complete(wire._serve(ready, stop)))
    thread.start()
    try:
        assert ready.wait(10)
        yield wire
    finally:
        wire._loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        wire._loop.close()
