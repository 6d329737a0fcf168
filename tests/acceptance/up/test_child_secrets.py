"""What the children of a running `relais up` can read of its secrets, by what the kernel says of their environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from config.settings import Settings
from config.settings.process_secrets import SECRETS, secrets_of
from tests.acceptance import running
from tests.acceptance.running import Relais

pytestmark = pytest.mark.acceptance

GIVEN = {
    "RELAIS_ERP_TOKEN": "the-token-of-the-erp",
    "RELAIS_METRICS_TOKEN": "the-token-of-metrics",
    "RELAIS_CONSOLE_OIDC_CLIENT_SECRET": "the-secret-of-oidc",
    "RELAIS_API_KEY": "the-key-of-a-front-end",
}
CHILDREN = ("api", "worker", "console", "exporter", "flower", "erp-sim")


@pytest.fixture(scope="module")
def relais(leash: Leash) -> Iterator[Relais]:
    with running.up(leash, **GIVEN) as relais:
        yield relais


def environ(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def values(relais: Relais) -> dict[str, str]:
    """Every secret of this run by its public name, but for the URLs of which each user has one."""
    names = ("owner_url", "spill_key", "seal_key")
    offered = {name: str(relais.endpoints[name]) for name in names}
    flower = f"{relais.endpoints['flower_user']}:{relais.endpoints['flower_password']}"
    given = {name.removeprefix("RELAIS_").lower(): value for name, value in GIVEN.items()}
    return offered | given | {"flower_auth": flower}


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_has_its_own_secrets_and_no_others(relais: Relais, child: str) -> None:
    env = environ(relais.pid(child))
    held = {name for name in Settings.secret() if f"RELAIS_{name.upper()}" in env}
    unset = {"redis_password", "database_password", "owner_password"}  # they are in the URLs
    assert held == secrets_of(child) - unset
    told = "\n".join(env.values())
    assert {name for name, value in values(relais).items() if value in told} == held - {"redis_url", "database_url"}
    for place in ("redis_url", "database_url"):
        users = {user for user, url in relais.endpoints[f"{place}s"].items() if url in told}
        assert users == ({child} if place in SECRETS.get(child, ()) else set())
