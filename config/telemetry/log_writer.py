"""Where log lines go: straight to the descriptor, whole, without ever waiting for who reads them.

A pipe that nobody empties must not stop an event loop, nor one that is gone raise. What the other end does not take
now waits here, up to a bound, and goes out before the next line; what is beyond the bound is dropped and counted.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import time
from collections import deque
from typing import Final, TextIO
from weakref import WeakSet

WHOLE: Final = select.PIPE_BUF  # bytes: a pipe that is writable takes so many, and never mixes them with others'
MOST_WAITING: Final = 1024 * 1024  # bytes
LAST_WAIT: Final = 1.0  # seconds that the end of the process waits for the other end


class Lines(logging.Handler):
    """Writes what its formatter renders, one line or several a record, to a stream's descriptor."""

    def __init__(self, stream: TextIO) -> None:
        """A stream without a descriptor, in a test say, is simply written to."""
        super().__init__()
        self._stream = stream
        self._waiting: deque[bytes] = deque()
        self._bytes = self._dropped = 0
        try:
            self._file: int | None = stream.fileno()
            mode = os.fstat(self._file).st_mode
        except (OSError, ValueError, AttributeError):
            self._file, mode = None, 0
        self._may_stall = not stat.S_ISREG(mode)
        _ALL.add(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or keep it for later. Raises nothing."""
        try:
            text = self.format(record) + "\n"
            if self._file is None:
                self._stream.write(text)
                return
            raw = text.encode(errors="backslashreplace")
            for each in _pieces(raw) if self._may_stall else [raw]:
                self._keep(each)
            self._send()
        except Exception:  # neither a full disk nor a bad record may stop what is logged about
            self._dropped += 1

    def flush(self) -> None:
        """Send what waits, for a second at most."""
        self.acquire()
        try:
            until = time.monotonic() + LAST_WAIT
            while self._waiting and (left := until - time.monotonic()) > 0 and self._send(left):
                pass
        finally:
            self.release()

    def _keep(self, piece: bytes) -> None:
        if self._bytes + len(piece) > MOST_WAITING:
            self._dropped += piece.count(b"\n")
            return
        self._waiting.append(piece)
        self._bytes += len(piece)

    def _send(self, patience: float = 0.0) -> bool:
        """As much as the other end takes; False when it is gone."""
        assert self._file is not None
        while self._waiting and (not self._may_stall or _writable(self._file, patience)):
            piece = self._waiting.popleft()
            self._bytes -= len(piece)
            try:
                written = os.write(self._file, piece)
            except BlockingIOError:
                self._waiting.appendleft(piece)
                self._bytes += len(piece)
                return True
            except OSError:
                return False
            if written < len(piece):
                self._waiting.appendleft(piece[written:])
                self._bytes += len(piece) - written
        if self._dropped and not self._waiting:
            dropped, self._dropped = self._dropped, 0
            logging.getLogger("relais.logs").warning("lines were dropped", extra={"lines": dropped})
        return True

    def forget(self) -> None:
        """In a child: what waits is its parent's to send."""
        self._waiting.clear()
        self._bytes = self._dropped = 0


_ALL: Final[WeakSet[Lines]] = WeakSet()


def _forget_all() -> None:
    for each in _ALL:
        each.forget()


os.register_at_fork(after_in_child=_forget_all)


def _writable(file: int, patience: float) -> bool:
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    return any(events & (select.POLLOUT | select.POLLERR) for _, events in poll.poll(patience * 1000))


def _pieces(raw: bytes) -> list[bytes]:
    """Whole lines, as many as a pipe takes at once; a line that is longer by itself goes in parts."""
    if len(raw) <= WHOLE:
        return [raw]
    pieces: list[list[bytes]] = [[]]
    size = 0
    for line in raw.splitlines(keepends=True):
        for start in range(0, len(line), WHOLE):
            part = line[start : start + WHOLE]
            if size + len(part) > WHOLE:
                pieces.append([])
                size = 0
            pieces[-1].append(part)
            size += len(part)
    return [b"".join(each) for each in pieces if each]
