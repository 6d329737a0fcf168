"""What the children of a running `relais up` can read of its secrets, by what the kernel says of their environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from config.embedded.holding import Holding
from config.embedded.leash import Leash
from config.journal_roles import PROCESSES
from config.secret_files import make_secrets
from config.settings import Settings
from config.settings.process_secrets import SECRETS, secrets_of
from tests.acceptance import running
from tests.acceptance.running import Relais
from workers.up.stack import plan

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


@pytest.mark.parametrize("apart", [True, False])
def test_on_a_journal_of_ones_own_each_child_is_its_role_where_a_folder_has_the_passwords(
    data_dir: Path, apart: bool
) -> None:
    """Else all are the user of the URL, as who runs that PostgreSQL made it."""
    make_secrets(data_dir / "secrets")
    url = "postgresql://relais_app:x@db:5432/orders"
    settings = Settings(
        database_url=url,
        redis_url="redis://q",
        erp_url="http://e",
        data_dir=data_dir,
        database_roles=data_dir / "secrets" if apart else None,
        _env_file=None,
    )
    with ExitStack() as stack:
        holding = Holding(data_dir)
        holding.take()
        stack.callback(holding.release)
        planned = plan(settings, holding)
    for process in set(PROCESSES) & {*CHILDREN}:
        password = (data_dir / "secrets" / f"postgres_{process}").read_text().strip()
        own = f"postgresql://orders_{process}:{password}@db:5432/orders"
        assert planned.settings_for(process).journal.url == (own if apart else url)
    assert planned.settings_for("flower").journal.url is None
