"""`relais admin spill`: orders that were taken while PostgreSQL was away, and what of them did not become an order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from workers.cli import show
from workers.cli.failure import CommandFailed
from workers.cli.session import MOST_ROWS, Because, Json, Yes, confirm, on_journal, settings_of

if TYPE_CHECKING:
    from redis import Redis
    from sqlalchemy.ext.asyncio import AsyncEngine

    from config.settings import Settings

spill = typer.Typer(no_args_is_help=True, help="Orders taken while PostgreSQL was away.")


@spill.command("asides")
def asides(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """Show what was spilled and did not become an order, the newest first, with the reason.

    Repeated: the same order had been accepted before, all is well. Forged: no record of ours. Unreadable: one that
    this version cannot read. Whose place another order has is a dead letter: see `relais dead list`.
    """
    from orders.queries import orders as order_queries

    found = on_journal(ctx, lambda engine, _: order_queries.asides(engine, limit))
    show.listing(found, as_json, "Set aside", ("at", "kind", "told", "order_id", "why", "size"))


@spill.command("drop")
def drop(
    ctx: typer.Context,
    because: Because,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Drop the forged records that were set aside: those in the journal, and those that stayed in Redis.

    What nobody of ours signed is no order. Was it signed with a key that the workers did not have, it is one: then
    `readmit` first.
    """
    from orders.queries import orders as order_queries
    from workers.queue import inspect

    try:
        with inspect.redis_of(settings_of(ctx)) as redis:
            kept = on_journal(ctx, lambda engine, _: order_queries.asides_by_kind(engine)).get("forged", 0)
            left = inspect.spill_aside(redis)
            if kept + left:
                forged = show.count(kept, "forged record")
                confirm(f"Drop {forged} of the journal, and {left:,} of Redis?", yes)
            dropped = on_journal(ctx, lambda engine, _: _drop(engine, redis, because))
    except inspect.RedisAway as error:
        raise CommandFailed(f"Redis is out of reach: {error}") from None
    show.answer({"dropped": dropped}, as_json, f"{show.count(dropped, 'forged record')} dropped.")


async def _drop(engine: AsyncEngine, redis: Redis, because: str) -> int:
    """Drop and record it in one transaction of the journal's; Redis comes last."""
    from orders.journal import transactional
    from orders.queries import orders as order_queries
    from workers.operations import record
    from workers.queue import inspect

    async with transactional(engine).begin() as connection:
        left = inspect.spill_aside(redis)
        dropped = await order_queries.drop_forged(connection) + left
        await record(connection, "spill drop", because, {"records": dropped})
        inspect.drop_spill_aside(redis)
    return dropped


@spill.command("readmit")
def readmit(ctx: typer.Context, because: Because, as_json: Json = False) -> None:
    """Look again at what was set aside, and journal what has a good signature.

    For when the workers had been given another RELAIS_SPILL_KEY than the intake, and after an upgrade of what an
    older version had set aside. Doing it again changes nothing.
    """

    async def act(engine: AsyncEngine, settings: Settings) -> int:
        from orders.intake.routing import open_routing
        from orders.intake.spill import SpillSigner
        from orders.journal import transactional
        from workers.intake import spill_drain
        from workers.operations import record

        if settings.queue.spill_key is None:
            raise CommandFailed("RELAIS_SPILL_KEY is not set")
        async with transactional(engine).begin() as connection:
            orders = await spill_drain.readmit(
                connection, SpillSigner.of(settings.queue.spill_key), open_routing(settings)
            )
            await record(connection, "spill readmit", because, {"orders": orders})
        return orders

    orders = on_journal(ctx, act)
    told = show.count(orders, "record that was set aside is an order", "records that were set aside are orders")
    show.answer({"orders": orders}, as_json, f"{told} now.")
