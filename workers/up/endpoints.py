"""What `relais up` tells other commands of itself, in `endpoints.json`, passwords too: it is its owner's alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from config.addresses import server_url
from config.settings import Settings

LOOPBACK: Final = "127.0.0.1"


def offer(
    settings: Settings, embedded: tuple[str, ...], users: Mapping[str, Mapping[str, str]], control_port: int | None
) -> dict[str, object]:
    """What stands in `endpoints.json`: where everything is and by which secrets, and which of it is `embedded`."""
    user, _, password = (
        settings.monitoring.flower_auth.get_secret_value().partition(":")
        if settings.monitoring.flower_auth
        else ("",) * 3
    )
    return {
        "database_url": settings.journal.url,
        "database_urls": users.get("database_url", {}),
        "database_roles": str(settings.journal.roles.absolute()) if settings.journal.roles else None,
        "owner_url": settings.journal.owner_url if "owner_url" in embedded else None,
        "redis_url": settings.queue.url,
        "redis_urls": users.get("redis_url", {}),
        "erp_url": settings.erp.url,
        "erp_control_url": server_url(LOOPBACK, control_port) if control_port else None,
        "api_url": server_url(settings.api.host, settings.api.port),
        "flower_url": server_url(LOOPBACK, settings.monitoring.flower_port),
        "exporter_url": server_url(settings.monitoring.exporter_host, settings.monitoring.exporter_port),
        "console_url": server_url(settings.console.host, settings.console.port),
        "flower_user": user,
        "flower_password": password,
        "spill_key": settings.queue.spill_key.get_secret_value() if settings.queue.spill_key else None,
        "seal_key": settings.proof.key.get_secret_value() if settings.proof.key else None,
        "anchor": settings.proof.anchor,
        "embedded": embedded,
        "pid": os.getpid(),
    }


def masked(url: str) -> str:
    """The URL without its password."""
    return re.sub(r"(://[^:@/]*:)[^@]*(?=@)|(password=)[^&]*", r"\1\2***", url)
