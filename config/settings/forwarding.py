"""How orders get to an ERP: the ERP itself, what is believed of it, its deliveries, replays, and who does the work."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, SecretStr, field_validator

from config.settings.group import Group, prefixed


class ErpSettings(Group):
    """One ERP; each backend of RELAIS_BACKENDS has its own."""

    model_config = prefixed("erp_")

    backend: str = Field(
        "erp", alias="backend", pattern=r"^[a-z][a-z0-9_-]{0,31}$", description="name of the ERP's backend"
    )
    kind: str = Field("http", pattern=r"^[a-z][a-z0-9_-]{0,31}$", description="connector that speaks to the ERP")
    connector: Path | None = Field(None, description="TOML file of the connector's own settings")
    url: str | None = Field(None, description="base URL of the ERP's order endpoint")
    token: SecretStr | None = Field(None, description="bearer token sent to the ERP")
    pin: str | None = Field(
        None, description="SHA-256 of the certificate (DER) that the ERP must show, hexadecimal; several: `a,b`"
    )
    reuses_references: bool = Field(False, description="a reference of the ERP may be more than one order's")
    allow_substitution: bool = Field(False, description="the ERP may deliver another product in the place of one")
    timeout: PositiveFloat = Field(10.0, description="deadline of one call to the ERP")
    concurrency: PositiveInt = Field(64, description="calls in flight at once, per worker process")
    idempotent: bool = Field(True, description="the ERP honours Idempotency-Key")
    absent_after: NonNegativeFloat | None = Field(
        None,
        description="time after its last sending before the ERP is believed to lack an order; else its connector's",
    )
    ack_within: PositiveFloat | None = Field(
        None,
        description="time in which the ERP should have decided on an order; later is overdue; else its connector's",
    )
    sim_port: int = Field(8471, ge=0, le=65535, description="port of the ERP simulator")

    @field_validator("pin")
    @classmethod
    def _is_a_digest(cls, value: str | None) -> str | None:
        pins = [] if value is None else [pin.replace(":", "").strip() for pin in value.split(",")]
        if not all(re.fullmatch(r"[0-9a-fA-F]{64}", pin) for pin in pins):
            raise ValueError("must be 64 hexadecimal digits, and so each of several")
        return value


class TrustSettings(Group):
    """What is believed of an ERP, and who may believe it again."""

    model_config = prefixed("")

    receipts: Literal["require", "prefer", "ignore"] = Field(
        "prefer", description="whether receipts must be signed: `require`, `prefer` or `ignore`"
    )
    receipt_drift: PositiveFloat = Field(300.0, description="how far the time of a signed receipt may be from ours")
    four_eyes: bool = Field(False, description="a release from quarantine needs the approval of a second operator")


class DeliverySettings(Group):
    """Attempts to deliver, and when a circuit opens; each backend of RELAIS_BACKENDS may have its own."""

    model_config = prefixed("")

    batch_budget: PositiveFloat = Field(30.0, description="time that one batch may spend with the ERP")
    lease: PositiveFloat = Field(60.0, description="time a worker has to settle what it claimed")
    claim_patience: PositiveFloat = Field(5.0, description="time after which an unclaimed dispatch goes out again")
    window_max: PositiveInt = Field(2000, description="most orders with workers and ERP at once")
    trip_after: PositiveInt = Field(5, description="failures in a row that open the circuit")
    max_attempts: PositiveInt = Field(8, description="attempts, while others succeed, before a dead letter")
    retry_after: PositiveFloat = Field(2.0, description="pause after an order's first failure; doubles")
    retry_max: PositiveFloat = Field(600.0, description="longest pause between an order's attempts")


class ReplaySettings(Group):
    """When a replay holds."""

    model_config = prefixed("replay_")

    live_share: float = Field(
        0.2,
        alias="live_share",
        ge=0,
        lt=1,
        description="share of the window that live orders are sure of while a replay runs",
    )
    errors: float = Field(0.02, ge=0, le=1, description="share of attempts that may fail before a replay holds")
    slower: float = Field(
        4.0, ge=1, description="times the backend's usual latency at which one answer in twenty makes a replay hold"
    )


class WorkerSettings(Group):
    """The workers of one machine."""

    model_config = prefixed("worker_")

    concurrency: PositiveInt = Field(default_factory=lambda: os.cpu_count() or 2, description="processes")
    canary_every: PositiveFloat = Field(
        10.0, alias="canary_every", description="pause between two canaries through a worker"
    )


class WebhookSettings(Group):
    """Calls to clients' webhooks."""

    model_config = prefixed("webhook_")

    timeout: PositiveFloat = Field(10.0, description="deadline of one call to a client's webhook")
    plain_http: bool = Field(False, description="webhooks may be `http://` on other hosts than this one")
