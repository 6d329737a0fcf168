"""What listens and what is told of it: the intake, monitoring, logs and traces."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from config.settings.group import Group, prefixed


class ApiSettings(Group):
    """The intake."""

    model_config = prefixed("api_")

    host: str = Field("127.0.0.1", description="address that the intake listens on")
    port: int = Field(8470, ge=0, le=65535, description="port of the intake")
    client_rate: float = Field(
        1000.0,
        alias="client_rate",
        ge=0.001,
        le=1_000_000,
        description="orders a second of a client without a rate of its own, twice as many at once; 1000000 is no limit",
    )


class MonitoringSettings(Group):
    """Exporter and Flower."""

    model_config = prefixed("")

    exporter_host: str = Field("127.0.0.1", description="address that the exporter listens on")
    exporter_port: int = Field(8473, ge=0, le=65535, description="port of the exporter")
    metrics_token: SecretStr | None = Field(
        None, description="bearer token for `/metrics`: the exporter asks for it, the intake takes it too"
    )
    disks: str | None = Field(
        None, description="paths whose disks the exporter watches: `a,b`; the data directory when unset"
    )
    flower_port: int = Field(5555, ge=0, le=65535, description="port of Flower")
    flower_auth: SecretStr | None = Field(None, description="`user:password` for Flower; made up when unset")

    @field_validator("flower_auth")
    @classmethod
    def _names_user_and_password(cls, value: SecretStr | None) -> SecretStr | None:
        said = "x:x" if value is None else value.get_secret_value()
        if not all(said.partition(":")[::2]) or not said.isascii():  # Flower compares nothing else
            raise ValueError("must be user:password, in ASCII")
        return value


class TelemetrySettings(Group):
    """Logs and traces."""

    model_config = prefixed("")

    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="level of the logs")
    log_format: Literal["json", "console"] = Field("json", description="`json`, an object a line, or `console`")
    log_steps: bool = Field(True, description="log what becomes of each order, a line a step")
    otel_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/@]+(/[^\s]*)?$",
        description="OTLP/HTTP collector that gets traces, `http://…:4318`",
    )
    otel_sample: float = Field(1.0, ge=0, le=1, description="share of the requests without a trace that begin one")
