"""What a front end's machine has, and where the intake is, for whoever is its client."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field, PositiveInt, SecretStr

from config.settings import ENDPOINTS, Settings
from config.settings.servers import local_url
from config.settings.sources import FromEnvironment
from orders.client.spool import MOST_BYTES, MOST_ORDERS

SPOOL = "spool.db"  # in the data directory


class ClientSettings(FromEnvironment):
    """What a front end's machine has and the servers need not."""

    api_url: str | None = Field(default=None, description="where the intake is; a running `relais up` is found")
    api_key: SecretStr | None = Field(default=None, description="API key of the front end")
    spool: Path | None = Field(default=None, description="file of the spool; in the data directory when unset")
    spool_orders: PositiveInt = Field(default=MOST_ORDERS, description="most orders that the spool holds")
    spool_bytes: PositiveInt = Field(default=MOST_BYTES, description="most bytes that the spool holds")


def api_url(settings: Settings) -> str:
    """RELAIS_API_URL, else that of a running `relais up`, else where `relais api` would listen here."""
    if (given := ClientSettings().api_url) is not None:
        return given.rstrip("/")
    known = settings.files.data_dir / ENDPOINTS
    if known.exists() and (offered := json.loads(known.read_text()).get("api_url")):
        return str(offered).rstrip("/")
    return local_url(settings.api.host, settings.api.port)
