"""`relais erp`: the ERP of a backend, and the profiles by which the connector `rest` speaks to one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workers.cli import show
from workers.cli.completion import backends
from workers.cli.failure import BAD, CommandFailed
from workers.cli.session import Json, of_backend, on_journal, settings_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from config.settings import Settings
    from orders.model import Order
    from workers.erp.checks.finding import CheckFinding
    from workers.erp.port import ErpReceipt
    from workers.erp.rest.trial import MadeRequest

erp = typer.Typer(no_args_is_help=True, help="The ERP of a backend, and the profiles by which one is spoken to.")
profile = typer.Typer(no_args_is_help=True, help="The profiles of the connector `rest`.")
erp.add_typer(profile, name="profile")

STYLES: Final = {"ok": "green", "would fail": "bold red", "not known": "yellow"}

Named = Annotated[str, typer.Argument(metavar="FILE", help="A profile, or the name of one that comes with Relais.")]


@erp.command()
def check(
    ctx: typer.Context,
    backend: Annotated[
        str | None, typer.Argument(autocompletion=backends, help="RELAIS_BACKEND when left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Try everything harmless on a backend's ERP, and tell what would go wrong.

    Address, certificate, credentials, rights, clocks, what is promised of duplicates and late answers, and the
    mapping of the last orders; no order is sent. A line a finding: ok, would fail, or not known. Exit 1 if anything
    would fail.
    """
    of = of_backend(settings_of(ctx), backend)
    found = on_journal(ctx, lambda engine, _: _examine(engine, of, as_json))
    sound = not any(each.verdict == "would fail" for each in found)
    if as_json:
        findings = [asdict(each) for each in found]
        show.document({"backend": of.erp.backend, "kind": of.erp.kind, "sound": sound, "findings": findings})
    if not sound:
        raise typer.Exit(BAD)


async def _examine(engine: AsyncEngine, settings: Settings, as_json: bool) -> list[CheckFinding]:
    """All findings, each shown as it comes."""
    from workers.erp.checks.examine import examine
    from workers.erp.connectors import open_erp
    from workers.trust.key_cache import ReceiptKeyCache

    found = []
    keys = ReceiptKeyCache(engine, settings.erp.backend)
    async for each in examine(engine, settings, lambda: open_erp(settings, keys)):
        found.append(each)
        if not as_json:
            show.line(f"{each.verdict:<10} {each.name}: {each.detail}", STYLES[each.verdict])
    return found


@profile.command("list")
def listed() -> None:
    """The profiles that come with Relais, and what each was proven against."""
    from workers.erp.rest.loading import load, shipped

    profiles = {name: load(name).profile for name in shipped()}
    rows = [{"profile": name, "about": each.about, "proven": each.proven} for name, each in profiles.items()]
    show.table("Profiles", rows, ("profile", "about", "proven"))


@profile.command("show")
def shown(name: Annotated[str, typer.Argument(metavar="NAME", help="Of one that comes with Relais.")]) -> None:
    """Print a profile that comes with Relais, to begin one's own from."""
    from workers.erp.rest.loading import SHIPPED, shipped

    if name not in shipped():
        raise CommandFailed(f"there is no profile {name}; there are {', '.join(shipped())}", BAD)
    typer.echo((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"), nl=False)


@profile.command("check")
def checked(
    ctx: typer.Context,
    file: Named,
    order: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Of this order, as JSON.")
    ] = None,
) -> None:
    """Validate a profile, and show the very requests that an order makes by it, and the receipt that its example is.

    Nothing is sent, and no secret is read. The first fault is named by its file, its key and, in a template, its line.
    """
    from workers.erp.rest.described import BadProfile
    from workers.erp.rest.loading import load
    from workers.erp.rest.trial import shown_receipt, tried_out

    try:
        described = load(file)
        made, receipt = tried_out(described, _order(order)), shown_receipt(described)
    except BadProfile as error:
        raise CommandFailed(str(error), BAD) from None
    url = str(settings_of(ctx).erp.url or "https://erp.example").rstrip("/")
    typer.echo("\n\n".join([*(_written(each, url, described.profile.auth) for each in made), _read(receipt)]))


def _read(receipt: ErpReceipt) -> str:
    """What is read of the example of a record; of each line, what it says."""
    told = [
        ", ".join(
            f"{name.replace('_', ' ')} {said}" for name, said in asdict(line).items() if said or name == "accepted"
        )
        for line in receipt.lines
    ]
    return "\n".join(["# record.example, as a receipt", f"reference {receipt.reference}", *told])


def _order(file: Path | None) -> Order | None:
    """Raises CommandFailed."""
    from orders.errors import RelaisError
    from orders.model import parse

    if file is None:
        return None
    try:
        return parse(file.read_bytes())
    except RelaisError as error:
        raise CommandFailed(f"{file}: {error}", BAD) from None


def _blanked(auth: dict[str, Any]) -> dict[str, str]:
    match auth.get("scheme"):
        case "api-key":
            return {auth.get("header", "X-API-Key"): f"{auth.get('prefix', '')}***"}
        case "session":
            return {auth.get("header", "Cookie"): f"{auth.get('prefix', '')}***"}
        case "basic":
            return {"Authorization": "Basic ***"}
        case "bearer" | "oauth2":
            return {"Authorization": "Bearer ***"}
        case _:
            return {}


def _written(made: MadeRequest, url: str, auth: dict[str, Any]) -> str:
    """As it would go, with what shows who we are blanked."""
    headers = {**made.headers, **_blanked(auth)}
    if made.body is not None:
        headers["Content-Type"] = "application/json"
    lines = [
        f"# {made.key}",
        f"{made.method} {url}{made.path}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if made.body is not None:
        lines += ["", json.dumps(json.loads(made.body), ensure_ascii=False, indent=2)]
    return "\n".join(lines)
