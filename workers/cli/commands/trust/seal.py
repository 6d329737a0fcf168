"""The command `seal`: close a block now, say a word on a break in the chain, or show the key that verifies seals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from workers.cli import show
from workers.cli.failure import BAD, CommandFailed
from workers.cli.session import Json, Why, on_journal, settings_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from config.settings import Settings
    from workers.proof.seal_block import Sealed


def seal(
    ctx: typer.Context,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="With --because: blocks were lost, which is no fault from then on.")
    ] = False,
    because: Why = None,
    public_key: Annotated[
        bool, typer.Option("--public-key", help="Show the keys that verify seals and anchors, and stop.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Seal what is journalled, now.

    Workers do it by themselves every minute. Exit 1 when the anchor could not be written: the worker tries again.
    """
    from workers.proof.keys import keys_of

    if acknowledge is (because is None):
        raise CommandFailed("--acknowledge and --because go together: say why blocks were lost")
    keys = keys_of(settings_of(ctx).proof.key)
    if not keys:
        raise CommandFailed("RELAIS_SEAL_KEY is not set: nothing is sealed")
    if public_key:
        rows = [{"key_id": key.id, "algorithm": "Ed25519", "public_key": key.public.hex()} for key in keys.values()]
        show.document(rows) if as_json else show.table("Keys", rows, ("key_id", "algorithm", "public_key"))
        return
    done = on_journal(ctx, lambda engine, settings: sealed(engine, settings, because))
    found = {
        "block": done.seal.block if done.seal else None,
        "rows": done.seal.rows if done.seal else 0,
        "anchored": done.anchored,
        "error": done.error,
    }
    show.document(found) if as_json else show.line(_sentence(done))
    if done.error:
        raise typer.Exit(BAD)


async def sealed(engine: AsyncEngine, settings: Settings, because: str | None) -> Sealed:
    """Seal now, with an operator's word on what was lost. Raises Failure."""
    from workers.proof.anchor import place_of
    from workers.proof.keys import keys_of
    from workers.proof.seal_block import CannotSeal, acknowledged, seal_now

    keys = keys_of(settings.proof.key)
    place = place_of(settings.proof.anchor, keys) if settings.proof.anchor else None
    why = await acknowledged(engine, because) if because is not None else None
    try:
        done = await seal_now(engine, keys, place, why=why)
    except CannotSeal as error:
        raise CommandFailed(str(error), BAD) from None
    assert done is not None
    return done


def _sentence(done: Sealed) -> str:
    told = (
        f"block {done.seal.block}: {show.count(done.seal.rows, 'row')} sealed" if done.seal else "nothing new to seal"
    )
    if done.error:
        return f"{told}; the anchor has {show.count(done.anchored or 0, 'block')}: {done.error}"
    return f"{told}; anchored" if done.anchored is not None else f"{told}; there is no anchor"
