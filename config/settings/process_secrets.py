"""Which process gets which secrets: one table, for `relais up`, the units of systemd and the containers alike.

Secrets are the settings that hold a password, a key or a token, and the URLs that carry one. A process that is not
named gets none. Tests compare the table with the units, with the compose file and with the environment of every
child of a running `relais up`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from config.acl import OPS
from config.settings.sources import PASSWORDS

SECRETS: Final[Mapping[str, frozenset[str]]] = {
    "api": frozenset({"database_url", "redis_url", "spill_key", "metrics_token"}),
    "worker": frozenset({"database_url", "redis_url", "spill_key", "seal_key", "erp_token"}),
    "console": frozenset({"database_url", "redis_url", "seal_key", "erp_token", "console_oidc_client_secret"}),
    "exporter": frozenset({"database_url", "redis_url", "metrics_token"}),
    "flower": frozenset({"redis_url", "flower_auth"}),
    "audit": frozenset({"database_url", "seal_key"}),
    "migrate": frozenset({"owner_url"}),  # and, in RELAIS_DATABASE_ROLES, the password of each role that it makes
    # Whoever sits at the command line runs every command.
    OPS: frozenset({"database_url", "owner_url", "redis_url", "spill_key", "seal_key", "erp_token"}),
}


def secrets_of(process: str) -> frozenset[str]:
    """The secrets that this process gets, with the passwords of its URLs."""
    own = SECRETS.get(process, frozenset())
    return own | {PASSWORDS[name] for name in own & PASSWORDS.keys()}
