"""The settings in force: what was said, completed by what a running `relais up` offers."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import SecretStr

from config.acl import OPS
from config.settings.process_secrets import secrets_of
from config.settings.settings import ENDPOINTS, Settings


def load(user: str = OPS, **overrides: object) -> Settings:
    """The settings in force: overrides, then the environment, then `.env`, then a running `relais up`.

    Of what that offers, the process `user` takes its own secrets alone, and the URLs of journal and Redis for it.
    With `backends`, `backend` is the default one of that file. Raises also BadBackends.
    """
    settings = Settings(**overrides)  # type: ignore[arg-type]
    if settings.files.backends is not None:
        from config.settings.routes_file import load_ways

        settings = settings.replace(backend=load_ways(settings).default)
    known = settings.files.data_dir / ENDPOINTS
    if not known.exists():
        return settings
    offered = json.loads(known.read_text())
    missing = {
        name: offered.get(f"{name}s", {}).get(user) or offered[name]
        for name in ("database_url", "redis_url", "erp_url", "anchor")
        if settings.value(name) is None and offered.get(name)
    }
    if "database_url" in missing and settings.journal.owner_url is None:  # the owner of that journal, and of no other
        missing["owner_url"] = offered.get("owner_url")
        missing["database_roles"] = Path(offered["database_roles"]) if offered.get("database_roles") else None
    for name in ("spill_key", "seal_key"):
        if settings.value(name) is None and offered.get(name):
            missing[name] = SecretStr(offered[name])
    return settings.replace(**{name: value for name, value in missing.items() if name not in withheld(user)})


def withheld(process: str) -> frozenset[str]:
    """The secrets that are none of this process's business."""
    return Settings.secret() - secrets_of(process)
