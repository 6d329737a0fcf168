"""Settings from files, and passwords in URLs: any character is fine, and whatever is said twice is an error."""

from pathlib import Path

import asyncpg
import pytest
import redis
from kombu.utils.url import parse_url
from sqlalchemy import make_url

from config.settings import Settings, load
from config.settings.sources import UnusableFile, with_password
from orders.client.settings import ClientSettings
from tests.cli import CommandLine

HOSTILE = "p@ss:w/rd?#%41 é&[x]+~'\""


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.public():
        monkeypatch.delenv(f"RELAIS_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def kept(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", sorted(Settings.public()))
def test_any_setting_may_come_from_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, field = Settings.public()[name]
    plain = "postgresql://h/d" if name.endswith("_url") else "a-value:long-enough"
    special = {"seal_key": "00" * 32, "erp_pin": "00" * 32, "client_rate": "2", "backend": "erp"}
    special |= {
        "redis_url": "redis://h/0",
        "otel_endpoint": "http://h:4318",
        "erp_absent_after": "2",
        "erp_ack_within": "2",
    }
    special |= {"console_proxies": "10.0.0.0/8,::1", "console_url": "https://h", "console_oidc_issuer": "https://h/r"}
    value = special.get(name) or (plain if field.default is None else str(field.get_default(call_default_factory=True)))
    monkeypatch.setenv(f"RELAIS_{name.upper()}_FILE", kept(tmp_path / "it", value + "\n"))
    from_file = Settings().value(name)
    monkeypatch.delenv(f"RELAIS_{name.upper()}_FILE")
    monkeypatch.setenv(f"RELAIS_{name.upper()}", value)
    assert from_file == Settings().value(name) is not None


def test_a_clients_key_may_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAIS_API_KEY_FILE", kept(tmp_path / "key", "relais_x\n"))
    key = ClientSettings().api_key
    assert key is not None
    assert key.get_secret_value() == "relais_x"


def test_a_file_named_in_dotenv_counts_and_the_environment_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path / ".env", f"RELAIS_ERP_URL_FILE={kept(tmp_path / 'erp', 'http://of-the-file')}\n")
    assert Settings().erp.url == "http://of-the-file"
    monkeypatch.setenv("RELAIS_ERP_URL", "http://of-the-environment")
    assert Settings().erp.url == "http://of-the-environment"


@pytest.mark.parametrize(
    ("content", "also", "why"),
    [
        (None, {}, "No such file"),
        (b"", {}, "is empty"),
        (b"\n", {}, "is empty"),
        (b"\xff", {}, "not UTF-8"),
        (b"x", {"RELAIS_ERP_TOKEN": "y"}, "both set"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_under_its_variable_and_nothing_is_guessed(
    content: bytes | None,
    also: dict[str, str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    env = {"RELAIS_ERP_TOKEN_FILE": str(file), **also}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UnusableFile, match=f"RELAIS_ERP_TOKEN_FILE.*{why}"):
        load(data_dir=tmp_path)
    done = CommandLine(capsys, {**env, "RELAIS_DATA_DIR": str(tmp_path)})("status")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert why in done.err


def test_any_character_of_a_password_arrives_at_every_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("DATABASE", "OWNER", "REDIS"):
        monkeypatch.setenv(f"RELAIS_{place}_PASSWORD", HOSTILE)
        scheme = "redis" if place == "REDIS" else "postgresql"
        monkeypatch.setenv(f"RELAIS_{place}_URL", f"{scheme}://someone@host:7000/0")
    settings = Settings()
    for url in (settings.need("database_url"), settings.need("owner_url")):
        address = make_url(url)
        assert (address.username, address.password, address.host) == ("someone", HOSTILE, "host")
    url = settings.need("redis_url")
    with redis.Redis.from_url(url) as client:
        told = client.connection_pool.connection_kwargs
    assert (told["username"], told["password"], told["host"], told["port"]) == ("someone", HOSTILE, "host", 7000)
    assert (parse_url(url)["userid"], parse_url(url)["password"]) == ("someone", HOSTILE)
    assert Settings(**settings.values()) == settings, "putting it there again changes nothing"


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("redis://h:1/0", "redis://:a%2Fb@h:1/0"),
        ("redis://h", "redis://:a%2Fb@h"),
        ("redis://u:old@h/0", "redis://u:a%2Fb@h/0"),
        ("postgresql://u@h1:1,h2:2/d?x=y@z", "postgresql://u:a%2Fb@h1:1,h2:2/d?x=y@z"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_password_goes_where_it_belongs(url: str, becomes: str) -> None:
    assert with_password(url, "a/b") == becomes


def test_a_journal_takes_a_hostile_password(postgres: object, run: object) -> None:
    """The whole way, with a role of PostgreSQL that has it."""
    from config.embedded.postgres import Postgres

    assert isinstance(postgres, Postgres)
    assert callable(run)

    async def through() -> None:
        owner = await asyncpg.connect(postgres.database_url("postgres"))
        try:
            await owner.execute("CREATE ROLE hostile LOGIN PASSWORD '" + HOSTILE.replace("'", "''") + "'")
            url = with_password(f"postgresql://hostile@127.0.0.1:{postgres.port}/postgres", HOSTILE)
            await (await asyncpg.connect(url)).close()
        finally:
            await owner.execute("DROP ROLE IF EXISTS hostile")
            await owner.close()

    run(through())
