"""A connection to an SSH server that is known by its pinned host keys alone, and an SFTP client on it."""

from __future__ import annotations

from typing import Final

import asyncssh
from yarl import URL

from workers.erp.files.failures import FileTrouble, PlaceFault, of_error
from workers.erp.files.options import SftpOptions

PORT: Final = 22
KEEPALIVE: Final = 15  # seconds


async def connect(
    url: URL, own: SftpOptions, timeout: float
) -> tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient]:
    """Log in within `timeout` seconds. Raises PlaceFault, and what asyncssh raises once it is connected."""
    host, known = url.host or "", _Pinned(own.host_keys)
    try:
        connection = await asyncssh.connect(
            host,
            url.port or PORT,
            client_factory=lambda: known,
            known_hosts=([], [], []),
            config=None,
            username=own.user,
            password=own.password(),
            client_keys=own.keys(),
            agent_path=None,
            gss_host=None,
            connect_timeout=timeout,
            keepalive_interval=KEEPALIVE,
        )
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise PlaceFault(FileTrouble.LOGIN, f"sftp.key_file: {error}") from error
    except asyncssh.HostKeyNotVerifiable as error:
        raise PlaceFault(FileTrouble.HOST_KEY, f"{host} shows {known.shown}") from error
    except asyncssh.Error as error:
        raise of_error(error, f"connect to {host}") from error
    except OSError as error:
        words = error.strerror or type(error).__name__
        raise PlaceFault(FileTrouble.UNREACHABLE, f"connect to {host}: {words}") from error
    try:
        return connection, await connection.start_sftp_client(path_errors="surrogateescape")
    except BaseException:
        connection.abort()
        raise


class _Pinned(asyncssh.SSHClient):
    """Believes a server that shows one of the pinned keys, and no other; `shown` is the key that it showed."""

    def __init__(self, pins: frozenset[str]) -> None:
        self._pins = pins
        self.shown = "none that can be read"

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """As asyncssh asks it, of a key that is in no list of known ones."""
        self.shown = key.get_fingerprint("sha256")
        return self.shown in self._pins
