"""Passwords of accounts at the command line: typed without being seen, or read from a file; never an argument.

An act that takes two people takes two accounts of the console: each proves who they are as at its login, counted and
throttled with it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from workers.cli.failure import BAD, CommandFailed
from workers.cli.session import on_journal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from config.settings import Settings
    from workers.console.access.login_throttle import ProvenLogin
    from workers.console.access.people import Role

HELP: Final = "Read the password from its first line; - is stdin."
Secret = Annotated[Path | None, typer.Option("--password-file", metavar="FILE|-", help=HELP)]
Own = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE|-", envvar="RELAIS_OPERATOR_PASSWORD_FILE", help=HELP),
]
PLACE: Final = "command line"  # where such a login comes from, as far as tries are counted


def proven(ctx: typer.Context, least: Role, file: Path | None) -> str:
    """The account that the operator has, once its password was right. Failure when it is not, or has a lesser role."""
    from workers.console.access.people import Role
    from workers.operations import folded, operator

    name = folded(operator())
    password = read(file, f"Password of {name}: ")
    found = on_journal(ctx, lambda engine, settings: _checked(engine, settings, name, password))
    if found is None:
        said = "name and password do not go together, or the account is disabled or has none"
        raise CommandFailed(f"{name}: {said} (RELAIS_OPERATOR names the account of the console)", BAD)
    if not Role(found.role).covers(least):
        raise CommandFailed(f"this takes the role {least}; {found.name} is {found.role}", BAD)
    return found.name


async def _checked(engine: AsyncEngine, settings: Settings, name: str, password: str) -> ProvenLogin | None:
    from orders.errors import Throttled
    from workers.console.access.login_throttle import Logins

    logins = Logins(engine, settings)
    try:
        return await logins.check(name, PLACE, password)
    except Throttled as error:
        wait = max(1, round(error.retry_after))
        raise CommandFailed(f"too many tries: no password is looked at for {wait} s", BAD) from None
    finally:
        logins.passwords.close()


def read(file: Path | None, prompt: str = "Password: ", *, twice: bool = False) -> str:
    """The password that the file holds, else that is typed. Failure where nobody can be asked."""
    if file is not None:
        return _first_line(file)
    from getpass import getpass

    if not sys.stdin.isatty():
        raise CommandFailed("nobody can be asked here: say --password-file FILE, or - for stdin")
    typed = getpass(prompt)
    if twice and getpass("Again: ") != typed:
        raise CommandFailed("the two are not the same")
    return typed


def _first_line(file: Path) -> str:
    try:
        text = sys.stdin.read(4096) if str(file) == "-" else file.read_text("utf-8")
    except UnicodeDecodeError:
        raise CommandFailed(f"--password-file: {file} is not UTF-8") from None
    return text.splitlines()[0] if text else ""
