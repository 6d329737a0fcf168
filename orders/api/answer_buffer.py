"""Answers on their way to a client that may not be reading yet.

Many HTTP clients read nothing before they have sent everything. An intake that stopped reading because its answers
are not taken would wait for such a client for ever; one that kept them in memory would grow with the batch. So what
does not fit in a little memory goes through a temporary file.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from types import TracebackType
from typing import IO, Final, Self

IN_MEMORY: Final = 256 * 1024  # bytes
CHUNK: Final = 64 * 1024
MOST_WAITING: Final = 512 * 1024 * 1024  # bytes that may wait, some five million answers; then the client has to read


class AnswerBuffer:
    """A queue of bytes for one writer and one reader of one event loop; a context manager."""

    def __init__(self) -> None:
        """Empty."""
        self._waiting: deque[bytes] = deque()
        self._in_memory = 0
        self._file: IO[bytes] | None = None
        self._written = self._read = 0  # bytes of the file
        self._ended = False
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the file."""
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
            if self._written - self._read > MOST_WAITING:
                self._room.clear()
        self._something.set()

    def end(self) -> None:
        """Nothing more will be put."""
        self._ended = True
        self._something.set()

    async def room(self) -> None:
        """Wait until less than MOST_WAITING bytes wait to be read."""
        await self._room.wait()

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
        if self._written - self._read <= MOST_WAITING:
            self._room.set()
        return data
