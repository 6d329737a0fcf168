"""`relais webhook`: where clients want to hear of their orders. Each act is recorded with who did it.

A secret is shown once, when it is made, on stdout and nowhere else. Of a URL, which may hold a secret of its own,
only the host is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from workers.cli import show
from workers.cli.completion import clients
from workers.cli.failure import BAD, CommandFailed
from workers.cli.session import MOST_ROWS, Because, Json, Why, Yes, confirm, on_journal, recording, settings_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from config.settings import Settings
    from workers.webhooks.retry_policy import Answer

webhook = typer.Typer(no_args_is_help=True, help="Where clients are told of their orders.")

COLUMNS = ("client", "url", "standing", "failing_since", "disabled_at", "why", "waiting", "oldest", "secrets")

Client = Annotated[str, typer.Argument(autocompletion=clients, help="A client's name, as in `relais client list`.")]
Url = Annotated[str, typer.Argument(help="https://…; without credentials.")]


@webhook.command("add")
def add(ctx: typer.Context, client: Client, url: Url, because: Why = None, as_json: Json = False) -> None:
    """Tell a client of its orders at a URL. The secret that signs what is told is shown this once."""
    from orders.webhooks import endpoints

    also = recording("webhook add", {"client": client, "host": _checked(ctx, url)}, because)
    _show_secret(client, on_journal(ctx, lambda engine, _: endpoints.add(engine, client, url, also)), as_json)


@webhook.command("move")
def move(ctx: typer.Context, client: Client, url: Url, because: Why = None) -> None:
    """Tell a client at another URL, with the same secret."""
    from orders.webhooks import endpoints

    also = recording("webhook move", {"client": client, "host": _checked(ctx, url)}, because)
    on_journal(ctx, lambda engine, _: endpoints.move(engine, client, url, also))
    show.say(f"{client} is told at the new URL; `relais webhook enable {client}` tries it at once.")


@webhook.command("rotate")
def rotate(
    ctx: typer.Context,
    client: Client,
    finish: Annotated[bool, typer.Option("--finish", help="The receiver has the new one: drop the old.")] = False,
    because: Why = None,
    as_json: Json = False,
) -> None:
    """Make a new secret, shown this once; the old one signs as well until `rotate --finish`."""
    from orders.webhooks import endpoints

    also = recording("webhook rotate", {"client": client, "finished": finish}, because)
    if finish:
        on_journal(ctx, lambda engine, _: endpoints.finish_rotation(engine, client, also))
        show.say(f"Only the newest secret of {client} signs now.")
    else:
        _show_secret(client, on_journal(ctx, lambda engine, _: endpoints.rotate(engine, client, also)), as_json)


@webhook.command("enable")
def enable(ctx: typer.Context, client: Client, because: Why = None) -> None:
    """Try again now, a webhook that is disabled or failing: all that it was not told is due."""
    from orders.webhooks import endpoints

    also = recording("webhook enable", {"client": client}, because)
    on_journal(ctx, lambda engine, _: endpoints.enable(engine, client, also))
    show.say(f"The webhook of {client} is enabled, and what it was not told is due.")


@webhook.command("disable")
def disable(ctx: typer.Context, client: Client, because: Because) -> None:
    """Tell a client nothing until its webhook is enabled; what it is to be told waits."""
    from orders.webhooks import endpoints

    also = recording("webhook disable", {"client": client}, because)
    on_journal(ctx, lambda engine, _: endpoints.disable(engine, client, because, also))
    show.say(f"The webhook of {client} is disabled; its notices wait.")


@webhook.command("remove")
def remove(ctx: typer.Context, client: Client, because: Why = None, yes: Yes = False) -> None:
    """Tell a client nothing of its orders from now on.

    What it was not told stays in the journal, and is told if it has a webhook again.
    """
    from orders.webhooks import endpoints

    confirm(f"Remove the webhook of {client}? Its secret is gone with it.", yes)
    also = recording("webhook remove", {"client": client}, because)
    on_journal(ctx, lambda engine, _: endpoints.remove(engine, client, also))
    show.say(f"The webhook of {client} is removed.")


@webhook.command("list")
def listed(ctx: typer.Context, as_json: Json = False) -> None:
    """Show every webhook: fit, failing or disabled, why, and how much waits to be told."""
    from orders.queries import webhooks as webhook_queries

    found = on_journal(ctx, lambda engine, _: webhook_queries.every(engine))
    if as_json:
        show.document(found)
        return
    show.table("Webhooks", found, COLUMNS)
    for row in found:
        if row["standing"] == "disabled":
            show.line(f"{row['client']} is told nothing: `relais webhook enable {row['client']}`", "red")


@webhook.command("notices")
def notices(
    ctx: typer.Context,
    client: Annotated[str | None, typer.Argument(help="The client; or say --waiting.")] = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Of every client: how many, the oldest, why.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """Show what is still to be told, the oldest first."""
    if (client is None) is not waiting:
        raise CommandFailed("name a client, or say --waiting")
    from orders.queries import webhooks as webhook_queries

    if client is None:
        found = on_journal(ctx, lambda engine, _: webhook_queries.waiting(engine))
        show.listing(found, as_json, "To be told", ("client", "notices", "oldest", "failed", "error"))
    else:
        found = on_journal(ctx, lambda engine, _: webhook_queries.notices(engine, client, limit))
        headings = ("order_id", "state", "at", "due_at", "attempts", "error")
        show.listing(found, as_json, f"To be told to {client}", headings)


@webhook.command("test")
def test(ctx: typer.Context, client: Client, because: Why = None, as_json: Json = False) -> None:
    """Send a signed event of the type relais.test now, and say what was answered. Exit 1 unless it was taken."""

    async def act(engine: AsyncEngine, settings: Settings) -> Answer:
        from orders.webhooks import endpoints
        from workers.webhooks.sender import try_out

        url, secrets = await endpoints.target(engine, client)
        answer = await try_out(client, url, secrets, settings.webhooks.timeout)
        async with engine.connect() as connection:
            await recording("webhook test", {"client": client, "answer": answer.says}, because)(connection)
        return answer

    answer = on_journal(ctx, act)
    report = {"client": client, "told": answer.told, "status": answer.status, "answer": answer.says}
    show.answer(report, as_json, f"The webhook of {client}: {answer.says}", "green" if answer.told else "red")
    if not answer.told:
        raise typer.Exit(BAD)


def _show_secret(client: str, secret: str, as_json: bool) -> None:
    show.secret(f"The secret of {client}", secret, {"client": client, "secret": secret}, as_json)


def _checked(ctx: typer.Context, url: str) -> str | None:
    """The host of a URL that may be told something."""
    from yarl import URL

    from orders.webhooks import endpoints

    endpoints.check(url, plain_http=settings_of(ctx).webhooks.plain_http)
    return URL(url).host
