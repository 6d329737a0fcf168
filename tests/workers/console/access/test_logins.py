"""A flood of logins: each refused, few looked at, rows bounded, and nobody locked out by a stranger."""

import asyncio
import io
import json
from unittest import mock

import pytest
from argon2 import PasswordHasher
from sqlalchemy import text

from config.settings import Settings
from orders.errors import Throttled
from tests.cli import CommandLine, environment
from tests.workers.console.site import serving
from workers.console.access import accounts
from workers.console.access.login_throttle import Logins
from workers.console.access.passwords import HASHES_AT_ONCE, WAITING, Passwords, fault_of
from workers.console.access.people import Role

PASSWORD = "nine slow bicycles at dusk"
HASH = Passwords().hash(PASSWORD)
CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_so_many_failed_logins_are_each_refused(settings: Settings, number: int) -> None:
    async def flood() -> None:
        async with serving(settings) as site:
            logins: Logins = site.app.state.access.logins
            logins.passwords._hasher, logins.passwords._nobodys = CHEAP, CHEAP.hash("nobody's")
            await accounts.add(site.owner, "jeanne", Role.OPERATOR, password=CHEAP.hash(PASSWORD))
            assert await logins.check("jeanne", "192.0.2.1", PASSWORD) is not None  # where she sits
            looked, throttled = 0, 0

            async def fail(which: int) -> None:
                nonlocal looked, throttled
                try:
                    name = "jeanne" if which % 2 else f"x{which}"
                    assert await logins.check(name, "198.51.100.9", f"guess {which}") is None
                    looked += 1
                except Throttled as error:
                    assert 0 < error.retry_after <= 900
                    throttled += 1

            for begin in range(0, number, 50):
                await asyncio.gather(*(fail(which) for which in range(begin, min(begin + 50, number))))
            assert looked + throttled == number
            assert looked <= 60
            with pytest.raises(Throttled):  # the right password does not get past either
                await logins.check("jeanne", "198.51.100.9", PASSWORD)
            assert await logins.check("jeanne", "192.0.2.1", PASSWORD) is not None
            assert await logins.check("jeanne", "203.0.113.5", PASSWORD) is not None
            async with logins.engine.connect() as connection:
                rows = (await connection.execute(text("SELECT count(*) FROM console_logins"))).scalar_one()
            assert rows <= 2 * looked + 6

    asyncio.run(flood())


def test_a_botnet_locks_nobody_out_where_they_were_before(settings: Settings) -> None:
    async def flood() -> None:
        async with serving(settings) as site:
            logins: Logins = site.app.state.access.logins
            logins.passwords._hasher, logins.passwords._nobodys = CHEAP, CHEAP.hash("nobody's")
            await accounts.add(site.owner, "jeanne", Role.OPERATOR, password=CHEAP.hash(PASSWORD))
            await logins.came("jeanne", "192.0.2.1")
            for each in range(53):
                try:
                    await logins.check("jeanne", f"198.51.100.{each}", "guess")
                except Throttled:
                    break
            with pytest.raises(Throttled):
                await logins.check("jeanne", "203.0.113.5", PASSWORD)
            assert await logins.check("jeanne", "192.0.2.1", PASSWORD) is not None

    asyncio.run(flood())


def test_so_many_hashes_are_made_at_once_and_the_rest_told_to_come_again() -> None:
    async def many() -> None:
        passwords = Passwords()
        found = await asyncio.gather(*(passwords.fits(HASH, "x") for _ in range(25)), return_exceptions=True)
        assert sum(each is False for each in found) == HASHES_AT_ONCE + WAITING
        assert sum(isinstance(each, Throttled) for each in found) == 25 - HASHES_AT_ONCE - WAITING
        assert await passwords.fits(HASH, PASSWORD)
        passwords.close()

    asyncio.run(many())


@pytest.mark.parametrize("password", ["short", "x" * 257, "password1234", "jeanne-jeanne", "aaaaaaaaaaaaaaaa"])
def test_what_is_easily_guessed_is_no_password(password: str) -> None:
    assert fault_of(password, "jeanne") is not None
    assert fault_of(PASSWORD, "jeanne") is None


def test_accounts_at_the_command_line(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    relais = CommandLine(capsys, environment(settings) | {"RELAIS_OPERATOR": "root"})
    issuer = {"RELAIS_CONSOLE_OIDC_ISSUER": "https://id.test"}

    def typed(*words: str, password: str = PASSWORD, **env: str) -> int:
        with mock.patch("sys.stdin", io.StringIO(password + "\n")):
            done = relais("account", *words, "--password-file", "-", **env)
        assert password not in done.out + done.err
        return done.code

    assert typed("add", "jeanne", "--role", "viewer") == 0
    for code, words in (
        (1, ("jeanne", "--role", "viewer")),
        (2, ("Jeanne", "--role", "viewer")),
        (2, ("relais", "--role", "viewer")),
        (2, ("client x", "--role", "viewer")),
        (2, ("jean\u0435", "--role", "viewer")),
        (2, ("p", "--role", "king")),
    ):
        assert typed("add", *words) == code, words
    assert typed("add", "paul", "--role", "viewer", password="paul-paul-paul") == 2
    assert relais("account", "add", "zoe", "--role", "approver", "--oidc", "7").code == 2
    assert relais("account", "add", "zoe", "--role", "approver", "--oidc", "7", **issuer).code == 0
    assert relais("account", "add", "eve", "--role", "viewer", "--oidc", "7", **issuer).code == 1
    assert relais("account", "role", "jeanne", "operator").code == 0
    assert typed("password", "jeanne", password="four grey herons on a wall") == 0
    for act in ("disable", "enable", "logout"):
        assert relais("account", act, "jeanne").code == 0
        assert relais("account", act, "nobody-there").code == 1
    found = json.loads(relais("account", "list", "--json").out)
    assert [(row["name"], row["role"], row["password"], row["subject"]) for row in found] == [
        ("jeanne", "operator", True, None),
        ("zoe", "approver", False, "https://id.test#7"),
    ]

    async def told() -> list[str]:
        async with serving(settings) as site, site.owner.connect() as connection:
            rows = await connection.execute(text("SELECT act, operator FROM operations ORDER BY id"))
            found = rows.all()
        assert {row.operator for row in found} == {"root"}
        return [row.act for row in found]

    assert asyncio.run(told()) == [
        "account add",
        "account add",
        "account role",
        "account password",
        "account disable",
        "account enable",
        "account logout",
    ]
