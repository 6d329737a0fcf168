"""Answers on their way to a client that may not be reading yet.

Many HTTP clients read nothing before they have sent everything. An intake that stopped reading because its answers
are not taken would wait for such a client for ever; one that kept them in memory would grow with the batch. So what
does not fit in a little memory goes through a temporary file, of which all batches together have a bounded room, and
each client a share: past it the client has to read.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from types import TracebackType
from typing import IO, Final, Self

from orders.api.load_shedding import Places

IN_MEMORY: Final = 256 * 1024  # bytes
CHUNK: Final = 64 * 1024


class AnswerBuffer:
    """A queue of bytes for one writer and one reader of one event loop; a context manager."""

    def __init__(self, room: Places, client: str) -> None:
        """Empty; `room` is what the files of all together may hold, in bytes."""
        self._places = room
        self._client = client
        self._kept = 0  # bytes of the room
        self._waiting: deque[bytes] = deque()
        self._in_memory = 0
        self._file: IO[bytes] | None = None
        self._written = self._read = 0  # bytes of the file
        self._ended = False
        self._something = asyncio.Event()
        self._taken = asyncio.Event()  # the file was emptied

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the file."""
        self._places.free(self._client, self._kept)
        if self._file is not None:
            self._file.close()

    def put(self, data: bytes) -> None:
        """Append; never waits."""
        if self._written == self._read and self._in_memory + len(data) <= IN_MEMORY:
            self._waiting.append(data)
            self._in_memory += len(data)
        else:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="relais-answers-")  # noqa: SIM115 - closed on leaving
            self._file.seek(self._written)
            self._written += self._file.write(data)
            self._keep(self._written)
        self._something.set()

    def end(self) -> None:
        """Nothing more will be put."""
        self._ended = True
        self._something.set()

    async def room(self) -> None:
        """Wait until there is room for more, or all was read."""
        while self._kept and not self._places.room(self._client):
            self._taken.clear()
            await self._taken.wait()

    async def take(self) -> bytes:
        """The next bytes; empty at the end."""
        while not self._waiting and self._written == self._read:
            if self._ended:
                return b""
            self._something.clear()
            await self._something.wait()
        if self._waiting:
            data = self._waiting.popleft()
            self._in_memory -= len(data)
            return data
        assert self._file is not None
        self._file.seek(self._read)
        data = self._file.read(CHUNK)
        self._read += len(data)
        if self._read == self._written:
            self._file.truncate(0)
            self._read = self._written = 0
            self._keep(0)
        return data

    def _keep(self, size: int) -> None:
        """Hold as much of the room as the file takes, which may be a little more than there is."""
        more, self._kept = size - self._kept, size
        if more > 0:
            self._places.force(self._client, more)
        else:
            self._places.free(self._client, -more)
            self._taken.set()
