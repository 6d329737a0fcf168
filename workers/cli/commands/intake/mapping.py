"""`relais mapping`: what a backend's ERP calls products and pharmacies. Importing it from CSV, looking at it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.durations import duration
from workers.cli import show
from workers.cli.completion import backends
from workers.cli.failure import BAD, UNABLE, CommandFailed
from workers.cli.session import (
    MOST_ROWS,
    UNSAID,
    BecauseActing,
    DryRun,
    Json,
    Yes,
    confirm,
    of_backend,
    on_journal,
    settings_of,
)

if TYPE_CHECKING:
    from config.settings import Settings
    from workers.cli.files.mapping_file import BadMappingFile
    from workers.mapping.importing import ImportCounts, NewTargets

mapping = typer.Typer(no_args_is_help=True, help="What a backend's ERP calls products and pharmacies.")

OfBackend = Annotated[
    str | None, typer.Option("--backend", autocompletion=backends, help="RELAIS_BACKEND when left out.")
]
Limit = Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="At most so many codes.")]
COLUMNS = ("kind", "code", "target", "price_list", "warehouse", "version", "at", "by")


@mapping.command("import")
def imported(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="CSV with product,article or pharmacy,customer[,price_list][,warehouse].",
        ),
    ],
    backend: OfBackend = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Codes of its kind that are not in the file are no longer mapped.")
    ] = False,
    because: BecauseActing = UNSAID,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Import what the ERP calls products, or pharmacies.

    Whole or not at all: every fault of the file is named by its line. Dead letters `unmapped` whose codes are all
    mapped by then are put through again in the same act.
    """
    from workers.mapping import importing

    name = of_backend(settings_of(ctx), backend).erp.backend
    targets = _read(file, as_json)
    found = on_journal(ctx, lambda engine, _: importing.preview(engine, name, targets, replace=replace))
    if not as_json:
        facts = {"backend": name, "codes": targets.kind, **_told(found)}
        show.facts(f"Import of {show.count(len(targets.targets), 'code')}", facts)
    done = None
    if not dry_run and (found.written or found.orders):
        confirm(_question(found, targets, name), yes)
        done = on_journal(
            ctx,
            lambda engine, _: importing.import_targets(engine, name, targets, because, replace=replace, seen=found),
        )
    report = {"backend": name, "kind": targets.kind, "imported": done is not None, **asdict(done or found)}
    show.answer(report, as_json, None if dry_run else _came_to(done, name))


@mapping.command("show")
def shown(
    ctx: typer.Context,
    codes: Annotated[
        list[str] | None,
        typer.Argument(metavar="CODE", help="Every version of these products and pharmacies; exit 1 if one is none."),
    ] = None,
    backend: OfBackend = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """Show what is mapped to what, and since which import."""
    from orders.queries import mappings

    name = of_backend(settings_of(ctx), backend).erp.backend
    if codes:
        wanted = list(dict.fromkeys(map(_code, codes)))
        rows = on_journal(ctx, lambda engine, _: mappings.history(engine, name, wanted))
        show.listing(rows, as_json, f"Versions of codes for {name}", COLUMNS)
        newest = {(row["kind"], row["code"]): row["target"] for row in reversed(rows)}
        mapped = {code for (_, code), target in newest.items() if target is not None}
        if lacking := [code for code in wanted if code not in mapped]:
            raise CommandFailed(f"not mapped for {name}: {', '.join(lacking)}", BAD)
        return
    rows = on_journal(ctx, lambda engine, _: mappings.current(engine, name, limit))
    show.listing(rows, as_json, f"Mapping of {name}", COLUMNS)
    counted = on_journal(ctx, lambda engine, _: mappings.counted(engine, name))
    products = show.count(counted["products"], "product")
    pharmacies = show.count(counted["pharmacies"], "pharmacy", "pharmacies")
    show.say(f"{name} has {products} and {pharmacies} mapped, as of version {counted['version']}.")


@mapping.command("coverage")
def coverage(
    ctx: typer.Context,
    backend: OfBackend = None,
    over: Annotated[
        timedelta, typer.Option(parser=duration, metavar="AGE", help="Of the orders accepted since: 90s, 15m, 6h, 2d.")
    ] = "7d",  # type: ignore[assignment] # typer parses a default as it does what is typed
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """Show which codes of the last orders are not mapped, and how many orders each is of. Exit 1 when there are any."""
    from orders.queries import mappings
    from orders.queries.mappings import MissingCodes

    of = of_backend(settings_of(ctx), backend)
    name, since, needed = of.erp.backend, datetime.now(UTC) - over, _maps(of)
    found = on_journal(ctx, lambda engine, _: mappings.missing(engine, name, since, limit))
    if not needed:
        found = MissingCodes(found.looked, 0, 0, ())
    report = {"backend": name, "since": since, "needed": needed, "orders": found.looked}
    report |= {"unmapped_orders": found.concerned, "unmapped_codes": found.codes, "codes": list(found.listed)}
    if as_json:
        show.document(report)
    elif found.codes:
        show.table(f"Not mapped for {name}, most orders first", found.listed, ("kind", "code", "orders"))
    orders = show.count(found.looked, "order")
    if not needed:
        show.say(f"The connector of {name} ({of.erp.kind}) needs no mapping: it gets {orders} as they are.")
        return
    if not found.codes:
        show.say(f"Every code of {orders} of {name} is mapped.")
        return
    raise CommandFailed(
        f"{show.count(found.codes, 'code')} of {show.count(found.concerned, 'order')}, of {orders} of {name}, "
        f"{'is' if found.codes == 1 else 'are'} not mapped",
        BAD,
    )


def _maps(settings: Settings) -> bool:
    """Whether the backend's connector asks for a mapping."""
    from workers.erp.connectors import open_erp

    return open_erp(settings).capabilities.mapped


def _read(file: Path, as_json: bool) -> NewTargets:
    """The file; every fault of it is shown."""
    from workers.cli.files.mapping_file import BadMappingFile, read_mapping_file

    try:
        targets, unused = read_mapping_file(file)
    except BadMappingFile as bad:
        _show_faults(bad, as_json)
        raise CommandFailed(str(bad), UNABLE) from None
    if unused:
        show.say(f"Not used: {', '.join(unused)}.")
    return targets


def _show_faults(bad: BadMappingFile, as_json: bool) -> None:
    if as_json:
        return show.document({"imported": False, "faults": [asdict(each) for each in bad.faults], "more": bad.more})
    for each in bad.faults:
        show.line(str(each))
    if bad.more:
        show.line("and more")
    return None


def _told(found: ImportCounts) -> dict[str, int]:
    told = {name: value for name, value in asdict(found).items() if name not in ("version", "orders")}
    return {**told, "dead letters that go again": found.orders}


def _question(found: ImportCounts, targets: NewTargets, backend: str) -> str:
    orders = show.count(found.orders, "dead letter")
    return f"Import {found.written:,} of {show.count(len(targets.targets), 'code')} for {backend}, and replay {orders}?"


def _came_to(done: ImportCounts | None, backend: str) -> str:
    if done is None:
        return f"Nothing is new: {backend} has it mapped like that."
    written, orders = show.count(done.written, "code"), show.count(done.orders, "dead letter")
    return f"{written} imported for {backend}, version {done.version}; {orders} replayed."


def _code(given: str) -> str:
    """A product's code as orders have it, where it is one."""
    from orders.identifiers import product

    try:
        return product(given)
    except ValueError:
        return given
