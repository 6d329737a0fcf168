"""Every setting of Relais, in groups, from `RELAIS_*` variables, files that they name, or a `.env` file.

What is said is said by its public name (`Settings(erp_timeout=5)`, `settings.replace(lease=9)`, RELAIS_ERP_URL), and
read by group (`settings.erp.timeout`). Where a URL is not set, the one that `relais up` wrote into the data directory
(`endpoints.json`) is used, so that `relais status` in a second terminal finds the embedded services. Nothing is read at
import.
"""

from __future__ import annotations

from typing import Any, Self, get_args

from pydantic import SecretStr, model_validator
from pydantic.fields import FieldInfo

from config.settings.console import ConsoleSettings
from config.settings.forwarding import (
    DeliverySettings,
    ErpSettings,
    ReplaySettings,
    TrustSettings,
    WebhookSettings,
    WorkerSettings,
)
from config.settings.group import Group
from config.settings.servers import ApiSettings, MonitoringSettings, TelemetrySettings
from config.settings.sources import PASSWORDS, FromEnvironment, with_password
from config.settings.stores import FileSettings, JournalSettings, ProofSettings, QueueSettings

ENDPOINTS = "endpoints.json"


class MissingSetting(Exception):
    """A URL that this command needs is neither set nor offered by a running `relais up`."""


class Settings(FromEnvironment):
    """All settings; durations are seconds. Raises pydantic's ValidationError naming each wrong variable."""

    journal: JournalSettings
    queue: QueueSettings
    files: FileSettings
    erp: ErpSettings
    delivery: DeliverySettings
    replay: ReplaySettings
    worker: WorkerSettings
    trust: TrustSettings
    proof: ProofSettings
    api: ApiSettings
    webhooks: WebhookSettings
    console: ConsoleSettings
    monitoring: MonitoringSettings
    telemetry: TelemetrySettings

    @classmethod
    def public(cls) -> dict[str, tuple[str, str, FieldInfo]]:
        """Of each setting, by its public name: its group, its name in there, and the field."""
        return {
            public: (group, name, field)
            for group, kind in cls.groups().items()
            for public, (name, field) in kind.public().items()
        }

    @classmethod
    def secret(cls) -> frozenset[str]:
        """The public names of all that hold a password, a key or a token, and of the URLs that carry one."""
        fields = cls.public().items()
        return frozenset(PASSWORDS) | {
            name for name, (_, _, field) in fields if SecretStr in get_args(field.annotation)
        }

    @classmethod
    def groups(cls) -> dict[str, type[Group]]:
        """The groups by name."""
        return {name: field.annotation for name, field in cls.model_fields.items()}  # type: ignore[misc]

    def value(self, public: str) -> Any:
        """The setting of this public name."""
        group, name, _ = type(self).public()[public]
        return getattr(getattr(self, group), name)

    def values(self) -> dict[str, Any]:
        """Every value by its public name: what Settings takes again."""
        return {public: getattr(getattr(self, group), name) for public, (group, name, _) in type(self).public().items()}

    def given(self) -> set[str]:
        """The public names of the settings that somebody gave a value."""
        places = type(self).public().items()
        return {public for public, (group, name, _) in places if name in getattr(self, group).model_fields_set}

    def replace(self, **changes: object) -> Self:
        """A copy with other values, by public name, unchecked."""
        groups: dict[str, dict[str, object]] = {}
        for public, value in changes.items():
            group, name, _ = type(self).public()[public]
            groups.setdefault(group, {})[name] = value
        return self.model_copy(
            update={group: getattr(self, group).model_copy(update=update) for group, update in groups.items()}
        )

    def need(self, public: str) -> str:
        """The URL called so (`database_url`, `redis_url`, `erp_url`); MissingSetting when there is none."""
        value = self.value(public)
        if value is None:
            place = self.files.data_dir / ENDPOINTS
            raise MissingSetting(f"RELAIS_{public.upper()} is not set and no `relais up` has written {place}")
        return str(value)

    @model_validator(mode="before")
    @classmethod
    def _in_groups(cls, given: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(given.keys() - cls.public().keys()):
            raise ValueError(f"there is no setting {', '.join(unknown)}")
        urls = {}
        for name, apart in PASSWORDS.items():
            url, password = given.get(name), given.get(apart)
            if isinstance(url, str) and password:
                bare = password.get_secret_value() if isinstance(password, SecretStr) else str(password)
                urls[name] = with_password(url, bare)
        given = {**given, **urls}
        return dict.fromkeys(cls.groups(), given)

    @model_validator(mode="after")
    def _lease_outlives_the_erp(self) -> Self:
        """A worker that still waits for the ERP must still hold its lease, or its successor sends again."""
        budget = self.delivery.batch_budget
        if self.erp.timeout > budget:
            raise ValueError("RELAIS_ERP_TIMEOUT must not exceed RELAIS_BATCH_BUDGET")
        if budget * 1.2 + 2 > self.delivery.lease:
            raise ValueError("RELAIS_LEASE must exceed RELAIS_BATCH_BUDGET by a fifth and 2 s")
        return self
