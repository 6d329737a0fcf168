"""What a front end's machine has, and where the intake is, for whoever is its client."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import PositiveInt, SecretStr

from config.settings import ENDPOINTS, Settings
from config.settings.sources import FromEnvironment
from orders.client.spool import MOST_BYTES, MOST_ORDERS

SPOOL = "spool.db"  # in the data directory
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ClientSettings(FromEnvironment):
    """What a front end's machine has and the servers need not: RELAIS_API_URL, RELAIS_API_KEY, RELAIS_SPOOL, and how
    many orders (RELAIS_SPOOL_ORDERS) of how many bytes (RELAIS_SPOOL_BYTES) that spool may hold.
    """

    api_url: str | None = None
    api_key: SecretStr | None = None
    spool: Path | None = None
    spool_orders: PositiveInt = MOST_ORDERS
    spool_bytes: PositiveInt = MOST_BYTES


def api_url(settings: Settings) -> str:
    """RELAIS_API_URL, else that of a running `relais up`, else where `relais api` would listen here."""
    if (given := ClientSettings().api_url) is not None:
        return given.rstrip("/")
    known = settings.data_dir / ENDPOINTS
    if known.exists() and (offered := json.loads(known.read_text()).get("api_url")):
        return str(offered).rstrip("/")
    host = EVERYWHERE.get(settings.api_host, settings.api_host)
    return f"http://[{host}]:{settings.api_port}" if ":" in host else f"http://{host}:{settings.api_port}"
