"""A directory of this machine, or one that is mounted here.

Each step runs in a thread of the place's own, so that a mount that hangs holds up nobody else.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from workers.erp.files.failures import FileTooLarge, of_error
from workers.erp.files.place import FileEntry

THREADS: Final = 8
FULL_ALREADY: Final = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)

T = TypeVar("T")


class LocalPlace:
    """The directories below `base`."""

    syncs = True

    def __init__(self, base: Path) -> None:
        self._base = base
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="relais-files")

    async def files(self, directory: str) -> list[FileEntry]:
        """As `FilePlace`."""
        return await self._do(f"list {directory}", _files, self._at(directory))

    async def names(self, directory: str) -> frozenset[str]:
        """As `FilePlace`."""
        return frozenset(await self._do(f"list {directory}", os.listdir, self._at(directory)))

    async def stat(self, path: str) -> FileEntry:
        """As `FilePlace`."""
        found = await self._do(f"look at {path}", os.stat, self._at(path))
        return FileEntry(path.rpartition("/")[2], found.st_size, found.st_mtime)

    async def read(self, path: str, most: int) -> bytes:
        """As `FilePlace`."""
        return await self._do(f"read {path}", _read, self._at(path), most)

    async def write(self, path: str, data: bytes) -> None:
        """As `FilePlace`."""
        await self._do(f"write {path}", _write, self._at(path), data)

    async def make(self, path: str) -> None:
        """As `FilePlace`."""
        await self._do(f"make {path}", lambda: self._at(path).mkdir(exist_ok=True))

    async def sync(self, directory: str) -> None:
        """As `FilePlace`."""
        await self._do(f"sync {directory}", _sync, self._at(directory))

    async def move(self, old: str, new: str) -> None:
        """As `FilePlace`."""
        await self._do(f"rename {old} to {new}", os.replace, self._at(old), self._at(new))

    async def publish(self, directory: str, target: str) -> bool:
        """As `FilePlace`."""
        return await self._do(f"rename {directory} to {target}", _publish, self._at(directory), self._at(target))

    async def remove(self, path: str) -> None:
        """As `FilePlace`."""
        await self._do(f"remove {path}", lambda: self._at(path).unlink(missing_ok=True))

    async def unmake(self, path: str) -> None:
        """As `FilePlace`."""
        await self._do(f"remove {path}", lambda: self._at(path).rmdir())

    async def close(self) -> None:
        """As `FilePlace`; what still hangs is left to end by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="relais-files")

    def _at(self, path: str) -> Path:
        return self._base / path

    async def _do(self, what: str, work: Callable[..., T], *words: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *words)
        except (FileTooLarge, asyncio.CancelledError):
            raise
        except Exception as error:
            raise of_error(error, what) from error


def _files(directory: Path) -> list[FileEntry]:
    found = []
    with os.scandir(directory) as entries:
        for each in entries:
            try:
                about = each.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(about.st_mode):
                found.append(FileEntry(each.name, about.st_size, about.st_mtime))
    return sorted(found, key=lambda entry: (entry.modified, entry.name))


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise FileTooLarge
    return data


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _publish(directory: Path, target: Path) -> bool:
    try:
        directory.rename(target)
    except OSError as error:
        if error.errno in FULL_ALREADY and target.is_dir():
            return False
        raise
    return True
