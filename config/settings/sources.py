"""Where settings come from besides `RELAIS_*`: every RELAIS_X may stand in the file that RELAIS_X_FILE names.

So a secret comes as Docker, systemd and the rest of the field hand it over: in a file that its reader alone can open,
not in an environment that child processes and crash reports copy. Saying a thing twice is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "RELAIS_"

# Of each URL the password that may come apart from it.
PASSWORDS: Final = {f"{place}_url": f"{place}_password" for place in ("database", "owner", "redis")}


class UnusableFile(Exception):
    """The file that a RELAIS_X_FILE names cannot be had, or RELAIS_X is set as well; names the variable."""


class FromEnvironment(BaseSettings):
    """Settings from RELAIS_X and RELAIS_X_FILE, in the environment first, then in `.env`. Raises UnusableFile."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    @classmethod
    def public(cls) -> Mapping[str, Any]:
        """The public names of all settings."""
        return cls.model_fields

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is handed in, then the environment, then `.env`; in each the files that it names."""
        assert isinstance(env_settings, EnvSettingsSource)
        assert isinstance(dotenv_settings, EnvSettingsSource)
        said = (_Said(settings_cls, [*cls.public()], each.env_vars) for each in (env_settings, dotenv_settings))
        return init_settings, *said


class _Said(PydanticBaseSettingsSource):
    """What the variables of one place say, themselves or in the files that they name, by public name."""

    def __init__(self, settings_cls: type[BaseSettings], names: list[str], variables: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._names, self._variables = names, variables

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name in self._names:
            variable = f"{PREFIX}{name.upper()}"
            value, file = (self._variables.get(each.lower()) for each in (variable, f"{variable}_FILE"))
            if value and file:
                raise UnusableFile(f"{variable} and {variable}_FILE are both set: one of them is to say it")
            if value or file:
                found[name] = value or _read(f"{variable}_FILE", Path(str(file)))
        return found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not asked: all are read at once."""
        raise NotImplementedError


def _read(variable: str, file: Path) -> str:
    """The file's text without the newline at its end."""
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UnusableFile(f"{variable}: {file} is not UTF-8") from None
    except OSError as error:
        raise UnusableFile(f"{variable}: {file} cannot be read: {error.strerror or error}") from None
    if not text:
        raise UnusableFile(f"{variable}: {file} is empty")
    return text


def with_password(url: str, password: str) -> str:
    """The URL with this password in the place of its own, percent-encoded; its user stays."""
    scheme, found, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user, _, hosts = authority.rpartition("@")
    secret = quote(password, safe="")
    return f"{scheme}://{user.partition(':')[0]}:{secret}@{hosts}{slash}{path}" if found else url
