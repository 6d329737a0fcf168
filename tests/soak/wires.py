"""A wire: a TCP proxy before a server, that can be cut, stalled, slowed, or made to swallow what one side says.

What a stalled wire holds back goes on when it heals; what a half-open one swallowed is gone, and its connections break.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Literal, Self

Mode = Literal["whole", "cut", "stalled", "slow", "deaf", "mute"]
CHUNK: Final = 65536
SLOW: Final = (2048, 0.05)  # bytes, and seconds between two such pieces
SWALLOWED: Final[dict[Mode, str]] = {"deaf": "there", "mute": "back"}  # deaf: the server hears nothing; mute: no answer


class Wire:
    """One wire to 127.0.0.1:`server`; `port` is where clients connect."""

    def __init__(self, server: int) -> None:
        self._server, self.mode = server, "whole"
        self._flows = asyncio.Event()
        self._flows.set()
        self._ends: set[asyncio.StreamWriter] = set()

    async def open(self) -> Self:
        """Take a port and listen for as long as the loop runs."""
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._listening.sockets[0].getsockname()[1])
        return self

    def turn(self, mode: Mode) -> None:
        """Be in this mode from now on."""
        before, self.mode = self.mode, mode
        if mode == "cut" or before in SWALLOWED:
            self._break()
        self._flows.clear() if mode == "stalled" else self._flows.set()

    def close(self) -> None:
        """End everything that goes over it."""
        self._listening.close()
        self._break()

    def _break(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "cut":
            writer.transport.abort()
            return
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", self._server)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, outer}
        self._ends |= ends
        try:
            pumps = [
                asyncio.create_task(self._pump(*way)) for way in ((reader, outer, "there"), (inner, writer, "back"))
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(pumps, timeout=1)
        finally:
            for pump in pumps:
                pump.cancel()
            self._ends -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        with suppress(OSError):
            while data := await reader.read(SLOW[0] if self.mode == "slow" else CHUNK):
                await self._flows.wait()
                if self.mode == "slow":
                    await asyncio.sleep(SLOW[1])
                if SWALLOWED.get(self.mode) != way:
                    writer.write(data)
                    await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
