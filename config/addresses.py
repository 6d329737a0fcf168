"""Where servers of this installation are reached, on whichever address they listen."""

from __future__ import annotations

import json
from typing import Final

from pydantic import Field

from config.settings import ENDPOINTS, Settings
from config.settings.sources import FromEnvironment

EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # a server that listens everywhere, and how it is reached


class IntakePlace(FromEnvironment):
    """RELAIS_API_URL, the intake as its clients reach it."""

    api_url: str | None = Field(default=None, description="where the intake is; a running `relais up` is found")


def url_of(host: str, port: int) -> str:
    """A host, which may be an IPv6 address, and a port as a URL."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_url(host: str, port: int) -> str:
    """A server on this machine that listens on `host`, as it is reached from here."""
    return url_of(EVERYWHERE.get(host, host), port)


def intake_url(settings: Settings) -> str:
    """RELAIS_API_URL, else that of a running `relais up`, else where `relais api` would listen here."""
    if (given := IntakePlace().api_url) is not None:
        return given.rstrip("/")
    known = settings.files.data_dir / ENDPOINTS
    if known.exists() and (offered := json.loads(known.read_text()).get("api_url")):
        return str(offered).rstrip("/")
    return server_url(settings.api.host, settings.api.port)
