"""Clusters for tests, of real servers: Valkey with a replica under three Sentinels, PostgreSQL with a standby."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import asyncpg
import redis

from config.acl import ADMIN
from config.embedded.account import give, lesser_account
from config.embedded.files import write_private
from config.embedded.ports import choose
from config.embedded.postgres import Postgres, _environment, binary
from config.embedded.process import Program
from config.embedded.service import Service
from config.embedded.valkey import Valkey
from config.embedded.valkey import _binary as _valkey_binary
from tests.machines.servers import SMALL
from tests.waiting import until

SERVICE: Final = "relais"
PASSWORDS: Final = {"server": "of the servers", "sentinel": "of-the-sentinels"}
STANDBY: Final = "standby"


class Node(Valkey):
    """A server that replicates `source`, or is the primary; Sentinels may turn that round."""

    def __init__(self, data_dir: Path, port: int, source: int | None = None) -> None:
        super().__init__(data_dir, port)
        self._source = source

    def prepare(self) -> None:
        """As it was set up: a primary that comes back takes itself for one, until the Sentinels tell it otherwise."""
        super().prepare()
        with (self.home / "valkey.conf").open("a") as conf:
            conf.write(f"masteruser {ADMIN}\nmasterauth {self._password()}\nrepl-diskless-sync-delay 0\n")
            if self._source is not None:
                conf.write(f"replicaof 127.0.0.1 {self._source}\n")

    def info(self, section: str = "replication") -> dict[str, Any]:
        """What it says of itself."""
        with redis.Redis.from_url(self.url) as client:
            return dict(client.info(section))

    def _password(self, user: str = ADMIN) -> str:
        return PASSWORDS["server"].replace(" ", "-")


class Watcher(Valkey):
    """A Sentinel; two of three give a primary up that has been silent for a second."""

    name = "sentinel"

    def __init__(self, data_dir: Path, port: int, primary: int, auth: str) -> None:
        super().__init__(data_dir, port)
        self._primary, self._auth = primary, auth

    def prepare(self) -> None:
        """Sentinels write into their configuration what they have learnt; a new one knows only the primary."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.home}",
            f"requirepass {self._password()}",
            f"user {ADMIN} on >{self._password()} allkeys allchannels allcommands",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary} 2",
            f"sentinel auth-user {SERVICE} {ADMIN}",
            f"sentinel auth-pass {SERVICE} {self._auth}",
            f"sentinel down-after-milliseconds {SERVICE} 1000",
            f"sentinel failover-timeout {SERVICE} 5000",
        )
        write_private(self.home / "sentinel.conf", "\n".join(lines) + "\n")

    def program(self) -> Program:
        """The same program as the servers."""
        argv = (str(_valkey_binary()), str(self.home / "sentinel.conf"), "--sentinel")
        return Program(self.name, argv, self.data_dir / "logs" / "sentinel.log", grace=10.0)

    def primary(self) -> int:
        """The port of the server that it takes for the primary."""
        with redis.Redis.from_url(self.url) as client:
            return int(client.sentinel_master(SERVICE)["port"])

    def peers(self) -> int:
        """How many other Sentinels it knows."""
        with redis.Redis.from_url(self.url) as client:
            return int(client.sentinel_master(SERVICE)["num-other-sentinels"])

    def _password(self, user: str = ADMIN) -> str:
        return PASSWORDS["sentinel"]


class Watched:
    """A primary, its replica and three Sentinels."""

    def __init__(self, data_dir: Path) -> None:
        ports = [choose() for _ in range(5)]
        self.primary = Node(data_dir / "primary", ports[0])
        self.replica = Node(data_dir / "replica", ports[1], ports[0])
        auth = PASSWORDS["server"].replace(" ", "-")
        self.sentinels = [Watcher(data_dir / f"sentinel{port}", port, ports[0], auth) for port in ports[2:]]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports[2:])
        self.url = f"sentinel://{ADMIN}:{auth}@{hosts}/0?service={SERVICE}&sentinel_password={PASSWORDS['sentinel']}"
        self.servers: list[Service] = [self.primary, self.replica, *self.sentinels]

    def settle(self) -> None:
        """Wait until the replica follows and the Sentinels know each other, and it."""
        until(lambda: self.replica.info().get("master_link_status") == "up", 30, what="the replica follows")
        until(lambda: all(each.peers() == 2 for each in self.sentinels), 30, what="the Sentinels know each other")
        until(lambda: all(self._known(each) for each in self.sentinels), 30, what="the Sentinels know the replica")

    def failed_over(self) -> None:
        """Wait until all agree that the replica is the primary now."""
        until(lambda: {each.primary() for each in self.sentinels} == {self.replica.port}, 30, what="a failover")
        until(lambda: self.replica.info()["role"] == "master", 30, what="the replica is the primary")

    def _known(self, watcher: Watcher) -> bool:
        with redis.Redis.from_url(watcher.url) as client:
            return len(client.sentinel_slaves(SERVICE)) == 1


class Standby(Postgres):
    """A streaming standby of `primary`, copied by pg_basebackup at its first start."""

    def __init__(self, data_dir: Path, port: int, primary: Postgres, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir, port, {**SMALL, **(settings or {})})
        self._primary = primary

    def prepare(self) -> None:
        """With the primary's password: it is the primary's copy."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        write_private(self.data_dir / "postgres.password", self._primary._password())
        super().prepare()

    def _initdb(self) -> None:
        account = lesser_account()
        place = f"{self._primary.database_url('postgres')}?application_name={STANDBY}"
        argv = [
            str(binary("pg_basebackup")),
            "-D",
            str(self.home),
            "-d",
            place,
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
        ]
        subprocess.run(
            argv,
            check=True,
            capture_output=True,
            env=_environment(),
            cwd="/",
            timeout=60,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if account is not None:
            give(self.home, account)

    def promote(self) -> None:
        """Make it the primary; returns when it takes writes."""
        assert sql(self, "SELECT pg_promote(true, 30)")


class Pair:
    """A primary and its standby; with `synchronous`, no commit is one before the standby has it."""

    def __init__(self, data_dir: Path) -> None:
        self.primary = Postgres(data_dir / "primary", choose(), settings=SMALL)
        self.standby = Standby(data_dir / "standby", choose(), self.primary)

    @property
    def url(self) -> str:
        """Both hosts, as for RELAIS_DATABASE_URL."""
        one, two = self.primary.port, self.standby.port
        return self.primary.url.replace(f"127.0.0.1:{one}", f"127.0.0.1:{one},127.0.0.1:{two}")

    def synchronous(self, commit: str = "on") -> None:
        """Let commits wait for the standby, which must be there."""
        sql(self.primary, f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'")
        sql(self.primary, f"ALTER ROLE CURRENT_USER SET synchronous_commit = '{commit}'")
        sql(self.primary, "SELECT pg_reload_conf()")
        query = "SELECT sync_state FROM pg_stat_replication"
        until(lambda: sql(self.primary, query) == "sync", 30, what="the standby is synchronous")

    def alone(self) -> None:
        """Let the promoted standby do without one of its own."""
        sql(self.standby, "ALTER SYSTEM RESET synchronous_standby_names")
        sql(self.standby, "SELECT pg_reload_conf()")


def sql(server: Postgres, query: str) -> Any:
    """The first value that the server answers."""

    async def ask() -> Any:
        connection = await asyncpg.connect(server.url, timeout=10, command_timeout=40)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(ask())
