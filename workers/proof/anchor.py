"""Anchors: where seals are written outside the database, so that a chain whose end was cut off shows.

A file is only ever appended to, one line a seal, and is on disk before it counts; what could not be written is
written later, in order, before anything newer. A process that dies in the middle of a line leaves a piece of one: the
next closes it with a newline, and readers pass over it. Syslog takes the same lines, to keep them on another machine.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from config.embedded.files import sync_directory
from workers.proof.keys import Keys
from workers.proof.seal import MALFORMED, Seal, doubt, of_line

SYSLOG: Final = "syslog:"
LOCAL: Final = "/dev/log"
PRIORITY: Final = 10 * 8 + 5  # authpriv, notice (RFC 5424)
WINDOW: Final = 64 * 1024  # bytes that are first read from the end of a file


class AnchorDown(Exception):
    """A place that cannot be written to or read now."""


class Place(Protocol):
    """Where seals are written."""

    name: str

    def last(self, remembered: int) -> int:
        """The last block that is there; `remembered` is what the journal says. Raises AnchorDown."""
        ...

    def append(self, seals: Sequence[Seal]) -> None:
        """Write these, in order; those that are there already are left out. Raises AnchorDown."""
        ...


def place_of(anchor: str, keys: Keys) -> Place:
    """The place that RELAIS_ANCHOR names."""
    if anchor.startswith(SYSLOG):
        return Syslog(anchor.removeprefix(SYSLOG) or LOCAL)
    return File(Path(anchor), keys)


class File:
    """A file of lines. Lines that no known key signed count as not there."""

    def __init__(self, path: Path, keys: Keys) -> None:
        self.name = f"{socket.gethostname()}:{path}"
        self._path, self._keys = path, keys

    def last(self, remembered: int) -> int:
        """From the file itself, whatever the journal remembers."""
        with self._opened() as file:
            return self._last(file)

    def append(self, seals: Sequence[Seal]) -> None:
        """On disk when it returns."""
        with self._opened() as file:
            last = self._last(file)
            text = "".join(seal.line() + "\n" for seal in seals if seal.block > last).encode()
            if not text:
                return
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                text = b"\n" + text
            written = os.write(file, text)
            os.fsync(file)
            if written < len(text):
                raise AnchorDown(f"{self._path}: only a part could be written")

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The file, made where it is missing; its group may read it, where the umask lets it."""
        try:
            new = not self._path.exists()
            file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                if new:
                    sync_directory(self._path.parent)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # who holds it may be frozen: rather later than never
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise AnchorDown(f"{self._path}: {error.strerror}") from None

    def _last(self, file: int) -> int:
        size = os.fstat(file).st_size
        window = WINDOW
        while True:
            start = max(0, size - window)
            lines = os.pread(file, size - start, start).split(b"\n")
            for line in reversed(lines if start == 0 else lines[1:]):
                if line and (block := self._block(line)):
                    return block
            if start == 0:
                return 0
            window *= 4

    def _block(self, line: bytes) -> int:
        try:
            seal = of_line(line)
            return seal.block if doubt(seal, self._keys) is None else 0
        except MALFORMED:
            return 0


class Syslog:
    """A syslog daemon's socket. What it does with a line nobody tells: where it came to is what the journal says."""

    def __init__(self, path: str) -> None:
        self.name = f"{SYSLOG}{path}"
        self._path = path

    def last(self, remembered: int) -> int:
        """As the journal remembers."""
        return remembered

    def append(self, seals: Sequence[Seal]) -> None:
        """One datagram a seal (RFC 3164)."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.settimeout(5)
                out.connect(self._path)
                for seal in seals:
                    out.send(f"<{PRIORITY}>relais-seal: {seal.line()}".encode())
        except OSError as error:
            raise AnchorDown(f"syslog at {self._path}: {error.strerror or error}") from None
