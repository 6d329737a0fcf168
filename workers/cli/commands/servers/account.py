"""`relais account`: who may come in to the console, and what they may there. Each act is recorded with who did it.

A password is typed twice without being seen, or comes from a file; never from the command line, which other users of
the machine can read. It is stored as argon2id alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli import completion, show
from workers.cli.failure import CommandFailed
from workers.cli.passwords import Secret, read
from workers.cli.session import Json, Why, on_journal, settings_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from config.settings import Settings
    from workers.console.access.people import Role

account = typer.Typer(no_args_is_help=True, help="Who may come in to the console.")

COLUMNS = ("name", "role", "login", "created_at", "changed_at", "disabled_at", "sessions", "seen_at")

New = Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits, dot, dash, underscore and @.")]
Name = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=completion.accounts, help="As `relais account list` shows it.")
]
ROLES = "viewer looks, operator acts, approver also lets go."


@account.command("add")
def add(
    ctx: typer.Context,
    name: New,
    role: Annotated[str, typer.Option(autocompletion=completion.roles, help=ROLES)],
    oidc: Annotated[
        str | None, typer.Option(metavar="SUBJECT", help="Comes by the identity provider, which knows them as that.")
    ] = None,
    password_file: Secret = None,
    because: Why = None,
) -> None:
    """Make an account. With --oidc it has no password, unless a file of one is given as well."""
    from workers.console.access import accounts

    accounts.check_name(name)
    is_role, subject = _role(role), _subject(settings_of(ctx), oidc)
    kept = None if oidc and password_file is None else _hash(name, password_file)

    on_journal(
        ctx, lambda engine, _: accounts.add(engine, name, is_role, password=kept, subject=subject, because=because)
    )
    show.say(f"{name} may come in to the console as {role}.")


@account.command("list")
def listed(ctx: typer.Context, as_json: Json = False) -> None:
    """Show every account, also those that are disabled."""
    from workers.console.access import accounts

    found = on_journal(ctx, lambda engine, settings: accounts.every(engine, settings.console.idle))
    show.listing(found, as_json, "Accounts of the console", COLUMNS, _row)


@account.command("role")
def role(
    ctx: typer.Context,
    name: Name,
    new: Annotated[str, typer.Argument(metavar="ROLE", autocompletion=completion.roles, help=ROLES)],
    because: Why = None,
) -> None:
    """Give an account another role; it is logged out."""
    is_role = _role(new)
    _do(
        ctx,
        lambda accounts, engine: accounts.set_role(engine, name, is_role, because),
        f"{name} is {new} from the next login on.",
    )


@account.command("password")
def password(ctx: typer.Context, name: Name, password_file: Secret = None, because: Why = None) -> None:
    """Give an account another password; it is logged out."""
    kept = _hash(name, password_file)
    _do(
        ctx,
        lambda accounts, engine: accounts.set_password(engine, name, kept, because),
        f"{name} has another password.",
    )


@account.command("disable")
def disable(ctx: typer.Context, name: Name, because: Why = None) -> None:
    """Let nobody in by an account any more, within seconds everywhere. It stays listed."""
    _do(ctx, lambda accounts, engine: accounts.disable(engine, name, because), f"{name} is disabled, and logged out.")


@account.command("enable")
def enable(ctx: typer.Context, name: Name, because: Why = None) -> None:
    """Let an account in again."""
    _do(ctx, lambda accounts, engine: accounts.enable(engine, name, because), f"{name} may come in again.")


@account.command("logout")
def logout(ctx: typer.Context, name: Name, because: Why = None) -> None:
    """End the sessions of an account, within seconds everywhere."""
    _do(ctx, lambda accounts, engine: accounts.logout(engine, name, because), f"{name} is logged out everywhere.")


def _do(ctx: typer.Context, act: Callable[[Any, AsyncEngine], Awaitable[object]], told: str) -> None:
    """Do it, with the module of accounts, and say so."""
    from workers.console.access import accounts

    on_journal(ctx, lambda engine, _: act(accounts, engine))
    show.say(told)


def _role(said: str) -> Role:
    from workers.console.access.people import Role

    if said not in (known := [each.value for each in Role]):
        raise CommandFailed(f"{said} is no role: {', '.join(known)}")
    return Role(said)


def _subject(settings: Settings, said: str | None) -> str | None:
    """Who that is at the provider: its issuer and subject. Failure when there is no provider."""
    from workers.console.access.people import subject_of

    if said is None:
        return None
    if settings.console.oidc_issuer is None:
        raise CommandFailed("--oidc: RELAIS_CONSOLE_OIDC_ISSUER is not set")
    if not 0 < len(said) <= 255 or not said.isprintable():
        raise CommandFailed("--oidc: a subject has 1 to 255 characters, and none of them is a control character")
    return subject_of(settings.console.oidc_issuer, said)


def _hash(name: str, file: Path | None) -> str:
    """What is kept of the password that is asked for, or that the file holds. Failure when it is no good one."""
    from workers.console.access.passwords import Passwords, fault_of

    typed = read(file, twice=True)
    if (fault := fault_of(typed, name)) is not None:
        raise CommandFailed(fault)
    return Passwords().hash(typed)


def _row(found: dict[str, Any]) -> dict[str, Any]:
    ways = [way for way, has in (("password", found["password"]), ("oidc", found["subject"])) if has]
    return {**found, "login": ", ".join(ways)}
