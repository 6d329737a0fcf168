"""Where orders are kept and proved: the journal, the queue, seals, and files on this machine."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from pydantic import Field, PositiveFloat, SecretStr, field_validator

from config.redis_url import redis_address
from config.settings.group import Group, prefixed


def default_data_dir() -> Path:
    """Where the embedded services keep their data: /var/lib/relais for root, else ~/.local/share/relais."""
    if os.geteuid() == 0:
        return Path("/var/lib/relais")
    return Path.home() / ".local" / "share" / "relais"


class JournalSettings(Group):
    """PostgreSQL."""

    model_config = prefixed("database_")

    url: str | None = Field(
        None,
        description="PostgreSQL 15 or newer: `postgresql://…`; of several hosts `h1:5432,h2:5432` the one that takes "
        "writes",
    )
    password: SecretStr | None = Field(None, description="password that is put into `RELAIS_DATABASE_URL`, as it is")
    roles: Path | None = Field(
        None,
        description="folder of the passwords `postgres_PROCESS` by which each process is a role of its own, for "
        "`relais admin migrate` and `relais up`; unset, all are the user of `RELAIS_DATABASE_URL`",
    )
    owner_url: str | None = Field(
        None,
        alias="owner_url",
        description="the journal as its owner, for `relais admin migrate` alone, which lets the roles of "
        "`RELAIS_DATABASE_ROLES`, else the user of `RELAIS_DATABASE_URL`, use it",
    )
    owner_password: SecretStr | None = Field(
        None, alias="owner_password", description="password that is put into `RELAIS_OWNER_URL`, as it is"
    )


class QueueSettings(Group):
    """Redis, and what is spilled to it."""

    model_config = prefixed("redis_")

    url: str | None = Field(
        None, description="Redis 7.2+ or Valkey: `redis://…`, `rediss://…` with TLS, `sentinel://…`, `sentinels://…`"
    )
    password: SecretStr | None = Field(None, description="password that is put into `RELAIS_REDIS_URL`, as it is")
    spill_key: SecretStr | None = Field(
        None,
        alias="spill_key",
        description="signs what intake spills to Redis; workers need the same; several, the newest first: `a,b`",
    )

    @field_validator("url")
    @classmethod
    def _says_where_redis_is(cls, value: str | None) -> str | None:
        if value is not None:
            redis_address(value)
        return value

    @field_validator("spill_key")
    @classmethod
    def _cannot_be_guessed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(len(key.strip()) < 16 for key in value.get_secret_value().split(",")):
            raise ValueError("must be 16 characters or more, and so each of several")
        return value


class ProofSettings(Group):
    """Seals over what is journalled."""

    model_config = prefixed("seal_")

    key: SecretStr | None = Field(
        None,
        description="seals what is journalled: 32 bytes in base64 or hexadecimal, for workers and `relais audit`; "
        "several, the newest first: `a,b`",
    )
    anchor: str | None = Field(
        None,
        alias="anchor",
        description="where seals are written outside the database: a file, `syslog:` or `syslog:/its/socket`",
    )
    every: PositiveFloat = Field(60.0, description="longest time until what was journalled is sealed")

    @field_validator("key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            seal_keys(value)
        return value

    @field_validator("anchor")
    @classmethod
    def _is_there_from_anywhere(cls, value: str | None) -> str | None:
        return value if value is None or value.startswith("syslog:") else str(Path(value).absolute())


class FileSettings(Group):
    """Files and folders on this machine."""

    model_config = prefixed("")

    data_dir: Path = Field(default_factory=default_data_dir, description="data of the embedded services")
    catalogue: Path | None = Field(
        None, description="CSV of products: cip13, label, withdrawn, max_quantity; cold_chain, narcotic, quota"
    )
    pharmaml_keys: Path | None = Field(None, description="CSV of PharmaML's control keys: pharmacy, key")
    pharmacy_register: Path | None = Field(None, description="CSV of pharmacies: pharmacy; region")
    backends: Path | None = Field(
        None, description="TOML file of several backends, routes and the policy for stale orders"
    )


def seal_keys(secret: SecretStr) -> list[bytes]:
    """The 32-byte keys of the setting, in its order. ValueError when one is neither base64 nor hexadecimal."""
    return [_key(each.strip()) for each in secret.get_secret_value().split(",")]


def _key(written: str) -> bytes:
    try:
        if len(written) == 64:
            return bytes.fromhex(written)
        padded = written.rstrip("=").translate(str.maketrans("+/", "-_")) + "="
        key = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != 32:
        raise ValueError("must be 32 bytes in base64 or hexadecimal, and so each of several")
    return key
