"""Which process gets which secrets: the table itself, and what a process takes of a running `relais up`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config.acl import USERS
from config.journal_roles import PROCESSES, role_of, url_as
from config.settings import ENDPOINTS, Settings, load
from config.settings.load import withheld
from config.settings.process_secrets import SECRETS, secrets_of

KEY = "0123456789abcdef" * 4


def test_every_secret_is_somebodys_and_only_secrets_are_in_the_table() -> None:
    assert frozenset().union(*map(secrets_of, SECRETS)) == Settings.secret()
    assert Settings.secret() > {"database_url", "database_password", "seal_key", "console_oidc_client_secret"}
    assert not {"api_port", "erp_url", "anchor"} & Settings.secret()
    assert {name for name, secrets in SECRETS.items() if "redis_url" in secrets} == USERS.keys() - {"admin"}


def test_only_who_migrates_is_the_owner_and_flower_knows_the_queue_alone() -> None:
    assert {name for name, secrets in SECRETS.items() if "owner_url" in secrets} == {"migrate", "ops"}
    assert secrets_of("flower") == {"redis_url", "redis_password", "flower_auth"}
    assert withheld("unheard of") == Settings.secret()


@pytest.mark.parametrize("process", [*SECRETS, "erp-sim"])
def test_a_process_takes_no_other_secrets_from_a_running_up(
    process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    offered = {"database_url": "postgresql://d", "owner_url": "postgresql://o", "spill_key": KEY, "seal_key": KEY}
    urls = {user: f"redis://{user}@q" for user in USERS}
    logins = {each: f"postgresql://relais_{each}@d" for each in PROCESSES}
    more = {"redis_url": "redis://ops@q", "redis_urls": urls, "database_urls": logins}
    (tmp_path / ENDPOINTS).write_text(json.dumps({**offered, **more}))
    settings = load(process, data_dir=tmp_path)
    held = {name for name in Settings.secret() if settings.value(name) is not None}
    assert held == secrets_of(process) & {*offered, "redis_url"}
    assert settings.queue.url == (f"redis://{process}@q" if "redis_url" in held else None)
    own = f"postgresql://relais_{process}@d" if process in PROCESSES else "postgresql://d"
    assert settings.journal.url == (own if "database_url" in held else None)


def test_the_url_of_a_process_names_its_role_whatever_user_the_url_has() -> None:
    assert PROCESSES == ("api", "worker", "console", "exporter", "audit", "ops")
    for url in ("postgresql://relais:x@h:5432/orders?sslmode=require", "postgresql://h:5432/orders?sslmode=require"):
        assert url_as(url, "api", "p@ss") == "postgresql://orders_api:p%40ss@h:5432/orders?sslmode=require"
    assert url_as("postgresql://u@h1:1,h2:2/relais", "worker", "p") == "postgresql://relais_worker:p@h1:1,h2:2/relais"
    assert role_of("relais", "audit") == "relais_audit"
