"""Where the intake is and with which key it is asked, for the commands that are its clients."""

from __future__ import annotations

import json

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.settings import ENDPOINTS, Settings

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ClientSettings(BaseSettings):
    """RELAIS_API_URL and RELAIS_API_KEY, which a front end's machine has and the servers need not."""

    model_config = SettingsConfigDict(env_prefix="RELAIS_", env_file=".env", extra="ignore", frozen=True)

    api_url: str | None = None
    api_key: SecretStr | None = None


def api_url(settings: Settings) -> str:
    """RELAIS_API_URL, else that of a running `relais up`, else where `relais api` would listen here."""
    if (given := ClientSettings().api_url) is not None:
        return given.rstrip("/")
    known = settings.data_dir / ENDPOINTS
    if known.exists() and (offered := json.loads(known.read_text()).get("api_url")):
        return str(offered).rstrip("/")
    host = EVERYWHERE.get(settings.api_host, settings.api_host)
    return f"http://[{host}]:{settings.api_port}" if ":" in host else f"http://{host}:{settings.api_port}"


def api_key() -> str | None:
    """RELAIS_API_KEY, or None."""
    key = ClientSettings().api_key
    return key.get_secret_value() if key else None
