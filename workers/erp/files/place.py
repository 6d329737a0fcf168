"""A place where files are exchanged: what the connector needs of a file system, be it here or behind SFTP.

Paths are relative to the place's base, with `/` between their parts. Every method raises `PlaceFault` for what goes
wrong, and `NotThere` where a file or the directory that it would be in is missing. What was written is on disk when the
method comes back, and what was renamed once its directory is synced, as far as the place can promise that.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

TEMPORARY: Final = (".tmp", ".part", ".partial", ".filepart", ".writing", ".swp", ".lock", "~")


class FileEntry(NamedTuple):
    """A file: its name, bytes, and when it was last written to, in seconds by the clock of who keeps it."""

    name: str
    size: int
    modified: float


class FilePlace(Protocol):
    """Directories under one base, all on one file system."""

    syncs: bool  # whether what is written is put on disk, as far as is known yet

    async def files(self, directory: str) -> list[FileEntry]:
        """The plain files of a directory, oldest first; links and directories are none."""
        ...

    async def names(self, directory: str) -> frozenset[str]:
        """Everything that a directory holds, by one look at it."""
        ...

    async def stat(self, path: str) -> FileEntry:
        """One file or directory."""
        ...

    async def read(self, path: str, most: int) -> bytes:
        """The whole file. Raises FileTooLarge where it has over `most` bytes."""
        ...

    async def write(self, path: str, data: bytes) -> None:
        """A new file, or a new content of one that nobody else looks at."""
        ...

    async def make(self, path: str) -> None:
        """A directory, where it is not there yet; the one that it is in must be."""
        ...

    async def sync(self, directory: str) -> None:
        """Put on disk which names a directory has."""
        ...

    async def move(self, old: str, new: str) -> None:
        """Give a file another name, at once; one that bore it is gone. Nothing is synced."""
        ...

    async def publish(self, directory: str, target: str) -> bool:
        """Give a directory with files in it another name, at once; False where another one with files in it bears it
        already, which is then left as it is. Nothing is synced.
        """
        ...

    async def remove(self, path: str) -> None:
        """Remove a file."""
        ...

    async def unmake(self, path: str) -> None:
        """Remove an empty directory."""
        ...

    async def close(self) -> None:
        """Let go of connections; a later call opens new ones."""
        ...


def is_ready_name(name: str) -> bool:
    """Whether a name is none that is given to a file while it is written, nor one that leads elsewhere."""
    return not (name.startswith(".") or name.lower().endswith(TEMPORARY) or "/" in name or "\0" in name)
