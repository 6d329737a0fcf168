"""Commands that make an installation's secrets, and from them the users of its Redis and of its PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workers.cli import show

Directory = Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Where the secrets are, a file each.")]


def secrets(
    directory: Directory,
    group: Annotated[
        int | None,
        typer.Option(metavar="GID", min=0, max=2**31 - 1, help="Let this group read them; else their owner alone may."),
    ] = None,
) -> None:
    """Make the secrets of an installation, and the ACL file of its Redis.

    What is there stays; remove a file to have it renewed. The ACL file, users.acl, is written anew at every run.
    """
    from config.secret_files import ACL, make_secrets

    made = make_secrets(directory, group)
    show.say(f"Made {len(made)} in {directory}: {', '.join(made) or 'nothing was missing'}; {ACL} is written.")


def acl(directory: Directory) -> None:
    """Print the ACL file for a Redis of yours, from the passwords in DIR.

    Passwords stand in it as SHA-256. `relais admin secrets DIR` makes them.
    """
    from config.secret_files import acl_of

    typer.echo(acl_of(directory), nl=False)


def roles(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", file_okay=False, help="Where the secrets are; without, no passwords."),
    ] = None,
    database: Annotated[str, typer.Option(metavar="NAME", help="The journal's database.")] = "relais",
    single: Annotated[
        str | None, typer.Option("--single", metavar="ROLE", help="One role for all processes, called so.")
    ] = None,
) -> None:
    """Print the SQL that makes the journal's roles, for who runs your PostgreSQL.

    To be run in the journal's database, by a superuser, once `relais admin migrate` has made the tables and after each
    upgrade. `relais admin migrate` does the same where the owner may make roles. Passwords stand in it as SCRAM hashes.
    """
    from config.journal_roles import PROCESSES, passwords_in, role_of
    from orders.schema.roles import JournalRole, script

    if single is not None:
        wanted = [JournalRole(single)]
    else:
        known = passwords_in(directory) if directory is not None else {}
        wanted = [JournalRole(role_of(database, each), known.get(each), (each,)) for each in PROCESSES]
    typer.echo(script(database, wanted))
