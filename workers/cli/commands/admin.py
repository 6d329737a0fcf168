"""`relais admin`: what is needed rarely, out of the way of what is needed every day. Imported as they are used, too."""

from __future__ import annotations

from typing import Final

import typer

from workers.cli.lazy import group_of

COMMANDS: Final = {
    "Install": {
        "migrate": ("servers.servers:migrate", "Bring the journal's tables to the newest revision."),
        "secrets": ("servers.secrets:secrets", "Make the secrets of an installation, and the ACL file of its Redis."),
        "roles": (
            "servers.secrets:roles",
            "Print the SQL that makes the journal's roles, for who runs your PostgreSQL.",
        ),
        "acl": ("servers.secrets:acl", "Print the ACL file for a Redis of yours, from the passwords in DIR."),
    },
    "Stores": {
        "space": ("servers.space:space", "Show what takes space: disks, the journal's tables, Redis."),
        "queue": ("recovery.queue:queue", "The messages that wait in Redis."),
        "spill": ("intake.spill:spill", "Orders taken while PostgreSQL was away."),
        "seal": ("trust.seal:seal", "Seal what is journalled, now."),
    },
}

admin = typer.Typer(
    cls=group_of(COMMANDS),
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What is needed rarely: migrations, secrets, seals, stores.",
)
