"""Commands that make an installation's secrets, and the ACL of its Redis from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workers.cli import show

Directory = Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Where the secrets are, a file each.")]


def secrets(
    directory: Directory,
    group: Annotated[
        int | None, typer.Option(metavar="GID", min=0, help="Let this group read them; else their owner alone may.")
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
