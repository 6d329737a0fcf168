"""Directories behind SFTP (asyncssh): one connection a process, opened at the first use and again after a loss.

The server is known by its pinned host keys alone: neither `known_hosts` nor a configuration of the user's is read. A
step that is not answered in time ends the connection, so that no later step waits behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import asyncssh
from yarl import URL

from workers.erp.files.failures import FileTooLarge, FileTrouble, NotThere, PlaceFault, of_error
from workers.erp.files.options import SftpOptions
from workers.erp.files.place import FileEntry
from workers.erp.files.served import are_apart, is_full, is_plain
from workers.erp.files.ssh import connect

log = logging.getLogger("relais.erp")

CHUNK: Final = 16 * 1024  # bytes of one request; asyncssh of itself makes many at once, as for a large file

T = TypeVar("T")


class SftpPlace:
    """The directories below the path of `url`. Belongs to the event loop on which it is first used."""

    def __init__(self, url: URL, own: SftpOptions, timeout: float) -> None:
        """No step takes longer than `timeout` seconds, nor does opening the connection. Nothing connects yet."""
        self._url, self._own, self._timeout = url, own, timeout
        self._base = url.path.rstrip("/")
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        self._lock = asyncio.Lock()
        self.syncs = True

    async def files(self, directory: str) -> list[FileEntry]:
        """As `FilePlace`."""
        found = await self._do(f"list {directory}", lambda client: client.readdir(self._at(directory)))
        entries = [
            FileEntry(str(each.filename), each.attrs.size or 0, float(each.attrs.mtime or 0))
            for each in found
            if is_plain(each.attrs)
        ]
        return sorted(entries, key=lambda entry: (entry.modified, entry.name))

    async def names(self, directory: str) -> frozenset[str]:
        """As `FilePlace`."""
        found = await self._do(f"list {directory}", lambda client: client.readdir(self._at(directory)))
        return frozenset(str(each.filename) for each in found) - {".", ".."}

    async def stat(self, path: str) -> FileEntry:
        """As `FilePlace`."""
        found = await self._do(f"look at {path}", lambda client: client.stat(self._at(path)))
        return FileEntry(path.rpartition("/")[2], found.size or 0, float(found.mtime or 0))

    async def read(self, path: str, most: int) -> bytes:
        """As `FilePlace`."""

        async def read(client: asyncssh.SFTPClient) -> bytes:
            data = bytearray()
            async with client.open(self._at(path), "rb", encoding=None, block_size=0) as file:
                while True:
                    chunk: bytes = await file.read(CHUNK)
                    if not chunk:
                        break
                    data += chunk
                    if len(data) > most:
                        raise FileTooLarge
            return bytes(data)

        return await self._do(f"read {path}", read)

    async def write(self, path: str, data: bytes) -> None:
        """As `FilePlace`."""

        async def write(client: asyncssh.SFTPClient) -> None:
            async with client.open(self._at(path), "wb", encoding=None) as file:
                await file.write(data)
                await self._fsync(file)

        await self._do(f"write {path}", write, path.rpartition("/")[0])

    async def make(self, path: str) -> None:
        """As `FilePlace`."""

        async def make(client: asyncssh.SFTPClient) -> None:
            try:
                await client.mkdir(self._at(path))
            except asyncssh.SFTPError:
                if not await client.isdir(self._at(path)):
                    raise

        await self._do(f"make {path}", make)

    async def sync(self, directory: str) -> None:
        """As `FilePlace`, of a server that lets a directory be opened and synced, as OpenSSH does on Linux."""

        async def sync(client: asyncssh.SFTPClient) -> None:
            async with client.open(self._at(directory), "rb", encoding=None) as file:
                await self._fsync(file)

        if self.syncs:
            await self._do(f"sync {directory}", sync)

    async def move(self, old: str, new: str) -> None:
        """As `FilePlace`."""

        async def move(client: asyncssh.SFTPClient) -> None:
            try:
                await client.posix_rename(self._at(old), self._at(new))
            except asyncssh.SFTPFailure as error:
                if await are_apart(client, *(self._at(each.rpartition("/")[0]) for each in (old, new))):
                    raise PlaceFault(FileTrouble.APART, f"rename {old} to {new}") from error
                raise

        await self._do(f"rename {old} to {new}", move)

    async def publish(self, directory: str, target: str) -> bool:
        """As `FilePlace`."""

        async def publish(client: asyncssh.SFTPClient) -> bool:
            try:
                await client.posix_rename(self._at(directory), self._at(target))
            except asyncssh.SFTPNoSuchFile:
                raise
            except asyncssh.SFTPError:
                if await client.isdir(self._at(target)):
                    return False
                raise
            return True

        return await self._do(f"rename {directory} to {target}", publish)

    async def remove(self, path: str) -> None:
        """As `FilePlace`."""

        async def remove(client: asyncssh.SFTPClient) -> None:
            try:
                await client.remove(self._at(path))
            except asyncssh.SFTPNoSuchFile:
                return

        await self._do(f"remove {path}", remove)

    async def unmake(self, path: str) -> None:
        """As `FilePlace`."""
        await self._do(f"remove {path}", lambda client: client.rmdir(self._at(path)))

    async def close(self) -> None:
        """As `FilePlace`."""
        connection = self._drop()
        if connection is not None:
            connection.close()
            await connection.wait_closed()

    def _at(self, path: str) -> str:
        return f"{self._base}/{path}"

    async def _do(
        self, what: str, work: Callable[[asyncssh.SFTPClient], Awaitable[T]], directory: str | None = None
    ) -> T:
        """One step, and where the connection turns out to be lost the same again on a new one: each does no harm twice.

        A step that was lost stays so, whatever goes wrong with the second try.
        """
        try:
            return await self._once(what, work, directory)
        except PlaceFault as error:
            if error.trouble is not FileTrouble.LOST:
                raise
            lost = error
        try:
            return await self._once(what, work, directory)
        except NotThere:
            raise
        except PlaceFault as again:
            raise (again if again.trouble is FileTrouble.HOST_KEY else lost) from again

    async def _once(self, what: str, work: Callable[[asyncssh.SFTPClient], Awaitable[T]], directory: str | None) -> T:
        """One step, in time. A failure that may be a full disk, which SFTP has no word for, is looked into."""
        client = None
        try:
            async with asyncio.timeout(self._timeout):
                client = await self._opened()
                try:
                    return await work(client)
                except asyncssh.SFTPFailure as error:
                    if directory is not None and await is_full(client, self._at(directory)):
                        raise PlaceFault(FileTrouble.FULL, what) from error
                    raise
        except (FileTooLarge, PlaceFault):
            raise
        except BaseException as error:  # who is cancelled was out of time: what hangs may hold up nobody else
            met = of_error(error, what) if isinstance(error, Exception) else None
            if client is self._client and (met is None or met.trouble in (FileTrouble.LOST, FileTrouble.LATE)):
                self._abort()
            if met is None:
                raise
            raise met from error

    async def _opened(self) -> asyncssh.SFTPClient:
        async with self._lock:
            if self._client is None:
                self._connection, self._client = await connect(self._url, self._own, self._timeout)
            return self._client

    async def _fsync(self, file: asyncssh.SFTPClientFile) -> None:
        """Sync what is open; of a server that cannot this is told once, and it is not asked again."""
        if not self.syncs:
            return
        try:
            await file.fsync()
        except asyncssh.SFTPOpUnsupported:
            self.syncs = False
            log.warning("the SFTP server cannot sync: files are on disk when it sees fit")

    def _drop(self) -> asyncssh.SSHClientConnection | None:
        connection, self._connection, self._client = self._connection, None, None
        return connection

    def _abort(self) -> None:
        connection = self._drop()
        if connection is not None:
            connection.abort()
