"""`relais key`: the keys that sign a backend's receipts. Each act is recorded with who did it.

Only public keys are registered. `generate` makes a pair for whoever signs; its private half is for the signer alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.durations import span
from workers.cli import show
from workers.cli.commands.intake.client_rights import Overlap
from workers.cli.completion import backends
from workers.cli.failure import CommandFailed
from workers.cli.session import Because, Json, Why, on_journal, recording

key = typer.Typer(no_args_is_help=True, help="The keys that sign a backend's receipts.")

COLUMNS = ("backend", "key_id", "in_force", "added_at", "expires_at", "revoked_at", "why", "public")

Backend = Annotated[
    str, typer.Argument(metavar="BACKEND", autocompletion=backends, help="As `relais status` names it.")
]
File = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="The public key: PEM, or base64 of its 32 bytes.")
]
KeyId = Annotated[str | None, typer.Option("--id", help="The kid of its signatures; made from the key if unset.")]


@key.command("add")
def add(ctx: typer.Context, backend: Backend, file: File, key_id: KeyId = None, because: Why = None) -> None:
    """Register a public key of a backend; receipts may be signed with it from now on."""
    from orders.access import receipt_keys

    public = receipt_keys.read_public(file.read_bytes())
    name = key_id or receipt_keys.fingerprint(public)
    also = recording("key add", {"backend": backend, "key": name}, because)
    added = on_journal(ctx, lambda engine, _: receipt_keys.add(engine, backend, public, name, also))
    show.say(f"{backend} signs with the key {added}.")


@key.command("rotate")
def rotate(
    ctx: typer.Context,
    backend: Backend,
    file: File,
    key_id: KeyId = None,
    overlap: Overlap = "24h",  # type: ignore[assignment] # typer parses a default as it does what is typed
    because: Why = None,
) -> None:
    """Register a new public key; those in force end after the overlap."""
    from orders.access import receipt_keys

    public = receipt_keys.read_public(file.read_bytes())
    name = key_id or receipt_keys.fingerprint(public)
    detail = {"backend": backend, "key": name, "overlap": overlap.total_seconds()}
    also = recording("key rotate", detail, because)
    _, ending = on_journal(ctx, lambda engine, _: receipt_keys.rotate(engine, backend, public, name, overlap, also))
    others, left = ", ".join(ending) or "no other", span(overlap.total_seconds())
    show.say(f"{backend} signs with the key {name}; {others} ends within {left}.")


@key.command("revoke")
def revoke(
    ctx: typer.Context,
    backend: Backend,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `relais key list` shows it.")],
    because: Because,
) -> None:
    """Put a key out of force for good, within seconds everywhere: a receipt signed with it is evidence."""
    from orders.access import receipt_keys

    also = recording("key revoke", {"backend": backend, "key": key_id}, because)
    on_journal(ctx, lambda engine, _: receipt_keys.revoke(engine, backend, key_id, because, also))
    show.say(f"The key {key_id} of {backend} is out of force.")


@key.command("list")
def listed(
    ctx: typer.Context,
    backend: Annotated[
        str | None, typer.Argument(metavar="BACKEND", autocompletion=backends, help="Every backend's if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show every key, in force or out of it."""
    from orders.access import receipt_keys

    found = on_journal(ctx, lambda engine, _: receipt_keys.every(engine, backend))
    show.listing(found, as_json, "Keys of receipts", COLUMNS)


@key.command("generate")
def generate(
    ctx: typer.Context, file: Annotated[Path, typer.Argument(help="For the private key; FILE.pub is the public one.")]
) -> None:
    """Make a pair of keys for a signer, in PEM. The private one is readable by its owner only."""
    from workers.erp.keyfile import generate as make

    public = file.with_name(f"{file.name}.pub")
    if file.exists() or public.exists():
        raise CommandFailed(f"{file} or {public} is there already")
    make(file)
    show.say(f"{file} is for the signer alone; {public} is for `relais key add BACKEND {public}`.")
