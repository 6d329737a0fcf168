"""Every setting of Relais, in one place, from `RELAIS_*` variables, files that they name, or a `.env` file.

Where a URL is not set, the one that `relais up` wrote into the data directory (`endpoints.json`) is used, so
that `relais status` in a second terminal finds the embedded services. Nothing is read at import.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, field_validator, model_validator

from config.redis_url import redis_address
from config.settings.console import ConsoleSettings
from config.settings.sources import with_password

ENDPOINTS = "endpoints.json"


class MissingSetting(Exception):
    """A URL that this command needs is neither set nor offered by a running `relais up`."""


def default_data_dir() -> Path:
    """Where the embedded services keep their data: /var/lib/relais for root, else ~/.local/share/relais."""
    if os.geteuid() == 0:
        return Path("/var/lib/relais")
    return Path.home() / ".local" / "share" / "relais"


class Settings(ConsoleSettings):
    """All settings; durations are seconds. Raises pydantic's ValidationError naming each wrong variable."""

    database_url: str | None = Field(
        None,
        description="PostgreSQL 15 or newer: `postgresql://…`; of several hosts `h1:5432,h2:5432` the one that takes "
        "writes",
    )
    database_password: SecretStr | None = Field(
        None, description="password that is put into `RELAIS_DATABASE_URL`, as it is"
    )
    owner_url: str | None = Field(
        None,
        description="the journal as its owner, for `relais migrate` alone, which lets the user of "
        "`RELAIS_DATABASE_URL` use it",
    )
    owner_password: SecretStr | None = Field(None, description="password that is put into `RELAIS_OWNER_URL`, as it is")
    redis_url: str | None = Field(
        None, description="Redis 7.2+ or Valkey: `redis://…`, `rediss://…` with TLS, `sentinel://…`, `sentinels://…`"
    )
    redis_password: SecretStr | None = Field(None, description="password that is put into `RELAIS_REDIS_URL`, as it is")
    spill_key: SecretStr | None = Field(
        None, description="signs what intake spills to Redis; workers need the same; several, the newest first: `a,b`"
    )
    seal_key: SecretStr | None = Field(
        None,
        description="seals what is journalled: 32 bytes in base64 or hexadecimal, for workers and `relais audit`; "
        "several, the newest first: `a,b`",
    )
    anchor: str | None = Field(
        None, description="where seals are written outside the database: a file, `syslog:` or `syslog:/its/socket`"
    )
    seal_every: PositiveFloat = Field(60.0, description="longest time until what was journalled is sealed")
    erp_url: str | None = Field(None, description="base URL of the ERP's order endpoint")
    erp_token: SecretStr | None = Field(None, description="bearer token sent to the ERP")
    erp_pin: str | None = Field(
        None, description="SHA-256 of the certificate (DER) that the ERP must show, hexadecimal; several: `a,b`"
    )
    erp_reuses_references: bool = Field(False, description="a reference of the ERP may be more than one order's")
    receipts: Literal["require", "prefer", "ignore"] = Field(
        "prefer", description="whether receipts must be signed: `require`, `prefer` or `ignore`"
    )
    receipt_drift: PositiveFloat = Field(300.0, description="how far the time of a signed receipt may be from ours")
    four_eyes: bool = Field(False, description="a release from quarantine needs the approval of a second operator")
    data_dir: Path = Field(default_factory=default_data_dir, description="data of the embedded services")

    api_host: str = Field("127.0.0.1", description="address that the intake listens on")
    api_port: int = Field(8470, ge=0, le=65535, description="port of the intake")
    client_rate: float | None = Field(
        None,
        ge=0.001,
        le=1_000_000,
        description="orders a second of a client that has no rate of its own; no limit when unset",
    )
    flower_port: int = Field(5555, ge=0, le=65535, description="port of Flower")
    flower_auth: SecretStr | None = Field(None, description="`user:password` for Flower; made up when unset")
    exporter_host: str = Field("127.0.0.1", description="address that the exporter listens on")
    exporter_port: int = Field(8473, ge=0, le=65535, description="port of the exporter")
    metrics_token: SecretStr | None = Field(
        None, description="bearer token for `/metrics`: the exporter asks for it, the intake takes it too"
    )
    disks: str | None = Field(
        None, description="paths whose disks the exporter watches: `a,b`; the data directory when unset"
    )
    erp_sim_port: int = Field(8471, ge=0, le=65535, description="port of the ERP simulator")

    catalogue: Path | None = Field(
        None, description="CSV of products: cip13, label, withdrawn, max_quantity; cold_chain, narcotic, quota"
    )
    pharmaml_keys: Path | None = Field(None, description="CSV of PharmaML's control keys: pharmacy, key")
    pharmacy_register: Path | None = Field(None, description="CSV of pharmacies: pharmacy; region")

    backend: str = Field("erp", pattern=r"^[a-z][a-z0-9_-]{0,31}$", description="name of the ERP's backend")
    backends: Path | None = Field(
        None, description="TOML file of several backends, routes and the policy for stale orders"
    )
    erp_timeout: PositiveFloat = Field(10.0, description="deadline of one call to the ERP")
    erp_concurrency: PositiveInt = Field(64, description="calls in flight at once, per worker process")
    erp_idempotent: bool = Field(True, description="the ERP honours Idempotency-Key")
    batch_budget: PositiveFloat = Field(30.0, description="time that one batch may spend with the ERP")
    lease: PositiveFloat = Field(60.0, description="time a worker has to settle what it claimed")
    claim_patience: PositiveFloat = Field(5.0, description="time after which an unclaimed dispatch goes out again")
    window_max: PositiveInt = Field(2000, description="most orders with workers and ERP at once")
    live_share: float = Field(
        0.2, ge=0, lt=1, description="share of the window that live orders are sure of while a replay runs"
    )
    replay_errors: float = Field(0.02, ge=0, le=1, description="share of attempts that may fail before a replay holds")
    replay_slower: float = Field(
        4.0, ge=1, description="times the backend's usual latency at which one answer in twenty makes a replay hold"
    )
    trip_after: PositiveInt = Field(5, description="failures in a row that open the circuit")
    max_attempts: PositiveInt = Field(8, description="attempts, while others succeed, before a dead letter")
    retry_after: PositiveFloat = Field(2.0, description="pause after an order's first failure; doubles")
    retry_max: PositiveFloat = Field(600.0, description="longest pause between an order's attempts")
    webhook_timeout: PositiveFloat = Field(10.0, description="deadline of one call to a client's webhook")
    webhook_plain_http: bool = Field(False, description="webhooks may be `http://` on other hosts than this one")
    worker_concurrency: PositiveInt = Field(default_factory=lambda: os.cpu_count() or 2, description="processes")
    canary_every: PositiveFloat = Field(10.0, description="pause between two canaries through a worker")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="level of the logs")
    log_format: Literal["json", "console"] = Field("json", description="`json`, an object a line, or `console`")
    log_steps: bool = Field(True, description="log what becomes of each order, a line a step")
    otel_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/@]+(/[^\s]*)?$",
        description="OTLP/HTTP collector that gets traces, `http://…:4318`",
    )
    otel_sample: float = Field(1.0, ge=0, le=1, description="share of the requests without a trace that begin one")

    @field_validator("redis_url")
    @classmethod
    def _says_where_redis_is(cls, value: str | None) -> str | None:
        if value is not None:
            redis_address(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _passwords_in_their_urls(cls, given: dict[str, Any]) -> dict[str, Any]:
        urls = {}
        for place in ("database", "owner", "redis"):
            url, password = given.get(f"{place}_url"), given.get(f"{place}_password")
            if isinstance(url, str) and password:
                bare = password.get_secret_value() if isinstance(password, SecretStr) else str(password)
                urls[f"{place}_url"] = with_password(url, bare)
        return {**given, **urls}

    @field_validator("flower_auth")
    @classmethod
    def _names_user_and_password(cls, value: SecretStr | None) -> SecretStr | None:
        said = "x:x" if value is None else value.get_secret_value()
        if not all(said.partition(":")[::2]) or not said.isascii():  # Flower compares nothing else
            raise ValueError("must be user:password, in ASCII")
        return value

    @field_validator("spill_key")
    @classmethod
    def _cannot_be_guessed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(len(key.strip()) < 16 for key in value.get_secret_value().split(",")):
            raise ValueError("must be 16 characters or more, and so each of several")
        return value

    @field_validator("seal_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            seal_keys(value)
        return value

    @field_validator("anchor")
    @classmethod
    def _is_there_from_anywhere(cls, value: str | None) -> str | None:
        return value if value is None or value.startswith("syslog:") else str(Path(value).absolute())

    @field_validator("erp_pin")
    @classmethod
    def _is_a_digest(cls, value: str | None) -> str | None:
        pins = [] if value is None else [pin.replace(":", "").strip() for pin in value.split(",")]
        if not all(re.fullmatch(r"[0-9a-fA-F]{64}", pin) for pin in pins):
            raise ValueError("must be 64 hexadecimal digits, and so each of several")
        return value

    @model_validator(mode="after")
    def _lease_outlives_the_erp(self) -> Self:
        """A worker that still waits for the ERP must still hold its lease, or its successor sends again."""
        if self.erp_timeout > self.batch_budget:
            raise ValueError("RELAIS_ERP_TIMEOUT must not exceed RELAIS_BATCH_BUDGET")
        if self.batch_budget * 1.2 + 2 > self.lease:
            raise ValueError("RELAIS_LEASE must exceed RELAIS_BATCH_BUDGET by a fifth and 2 s")
        return self

    def need(self, name: str) -> str:
        """The URL called `name` (`database_url`, `redis_url`, `erp_url`); MissingSetting when there is none."""
        value = getattr(self, name)
        if value is None:
            raise MissingSetting(
                f"RELAIS_{name.upper()} is not set and no `relais up` has written {self.data_dir / ENDPOINTS}"
            )
        return str(value)


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
