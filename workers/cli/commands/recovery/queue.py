"""`relais admin queue`: what waits in Redis, and dropping it. Nothing of an order is in it but ids."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli import show
from workers.cli.failure import BAD, CommandFailed
from workers.cli.session import Because, Json, Yes, confirm, on_journal, settings_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from workers.queue.inspect import QueueHead

queue = typer.Typer(no_args_is_help=True, help="The messages that wait in Redis.")

COLUMNS = ("queue", "waiting", "task", "about", "size", "fault")
Name = Annotated[str, typer.Argument(metavar="QUEUE", help="As `relais admin queue head` shows it.")]


@queue.command("head")
def head(ctx: typer.Context, as_json: Json = False) -> None:
    """Show every queue, and the message that a worker takes next.

    Exit 1 when no worker can take it: it may end the one that tries.
    """
    from workers.queue import inspect

    settings = settings_of(ctx)
    try:
        with inspect.redis_of(settings) as redis:
            found = inspect.heads(redis, settings)
    except inspect.RedisAway as error:
        raise CommandFailed(f"Redis is out of reach: {error}") from None
    if as_json:
        show.document([_document(each) for each in found])
    else:
        show.table("Queues, with the next message of each", [asdict(each) for each in found], COLUMNS)
    if any(each.fault for each in found):
        raise typer.Exit(BAD)


@queue.command("drop")
def drop(
    ctx: typer.Context,
    name: Name,
    because: Because,
    everything: Annotated[bool, typer.Option("--all", help="Every message, not the next alone.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Drop the next message of a queue. No order is lost: the journal sends again what it named.

    Exit 1 when a worker took it meanwhile.
    """
    from workers.queue import inspect

    settings = settings_of(ctx)
    try:
        with inspect.redis_of(settings) as redis:
            found = inspect.head(redis, inspect.known(settings, name))
            if not as_json:
                show.table("The next message", [asdict(found)], COLUMNS)
            if found.waiting:
                confirm(f"Drop {f'all {found.waiting:,}' if everything else 'the next'} of {name}?", yes)
            dropped = on_journal(ctx, lambda engine, _: _drop(engine, redis, found, everything, because))
    except inspect.RedisAway as error:
        raise CommandFailed(f"Redis is out of reach: {error}") from None
    if as_json:
        show.document({"queue": name, "dropped": dropped})
    else:
        show.say(f"{show.count(dropped, 'message')} dropped from {name}; no order is lost, the journal sends it again.")
    if found.waiting and not dropped:
        raise typer.Exit(BAD)


async def _drop(engine: AsyncEngine, redis: Any, found: QueueHead, everything: bool, because: str) -> int:
    """Drop and record it in one transaction of the journal's: when Redis does not answer, nothing is recorded."""
    from orders.journal import transactional
    from workers.operations import record
    from workers.queue import inspect

    async with transactional(engine).begin() as connection:
        gone = inspect.clear(redis, found.queue) if everything else int(inspect.drop(redis, found))
        detail = {"queue": found.queue, "messages": gone, "next": _document(found)}
        await record(connection, "queue drop", because, detail)
    return gone


def _document(found: QueueHead) -> dict[str, Any]:
    """The head for scripts; of a message that no worker can take also what it is, as far as it can be shown."""
    from workers.queue.inspect import MOST_SHOWN

    told = {name: value for name, value in asdict(found).items() if name != "raw"}
    return {**told, "raw": found.raw[:MOST_SHOWN].decode("utf-8", "backslashreplace") if found.fault else None}
