"""`relais erp-sim`: an ERP to try Relais against, with an option for every knob of its dial.

What a knob does and which values it takes is the dial's to say (`workers.erp.sim.dial`): its options are made of it.
"""

from __future__ import annotations

from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli.failure import CommandFailed, listening_on
from workers.cli.session import settings_of
from workers.erp.sim.dial import Dial

if TYPE_CHECKING:
    from workers.erp.sim.telling import Signer

NAMES = {
    "refuse_products": "--refuse-product",
    "refuse_lines": "--refuse-line",
    "substitutes": "--substitute",
    "idempotent": "--idempotent/--no-idempotent",
}
PAIRS = {"refuse_lines": "PRODUCT=REASON", "substitutes": "PRODUCT=OTHER"}  # knobs that are said a pair at a time


def erp_sim(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="RELAIS_ERP_SIM_PORT when left out.")] = None,
    control_port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 is any free one.")] = 0,
    file: Annotated[
        Path | None, typer.Option(help="What it took, a JSON line for each; erp-sim.jsonl in the data directory.")
    ] = None,
    sign_key: Annotated[
        Path | None, typer.Option(dir_okay=False, exists=True, help="Sign receipts with this Ed25519 key (PEM).")
    ] = None,
    sign_as: Annotated[str | None, typer.Option(metavar="ID", help="Its id; made from the key if unset.")] = None,
    **knobs: Any,
) -> None:
    """Simulate an ERP that can be made to misbehave.

    The dial is also turned while it runs: GET and PUT /_dial on the control port.
    """
    from pydantic import ValidationError

    from config.errors import plain
    from config.telemetry import logs
    from workers.erp.sim import run_sim

    settings = settings_of(ctx, "erp-sim")
    logs.begin(settings)
    try:
        dial = Dial.model_validate({name: _said(name, value) for name, value in knobs.items() if value is not None})
    except ValidationError as error:
        found = error.errors(include_url=False)
        faults = [f"--{str(each['loc'][0]).replace('_', '-')}: {plain(each['msg'])}" for each in found]
        raise CommandFailed("; ".join(faults)) from None
    number, book = settings.erp.sim_port if port is None else port, file or settings.files.data_dir / "erp-sim.jsonl"
    signer = _signer(sign_key, sign_as) if sign_key else None
    with listening_on(host, number, f" or write {book}"):
        run_sim(host, number, book, dial, control_port, signer)


def _signer(file: Path, key_id: str | None) -> Signer:
    from orders.access.receipt_keys import fingerprint
    from workers.erp.keyfile import read_private
    from workers.erp.sim.telling import Signer

    try:
        private = read_private(file)
    except ValueError as error:
        raise CommandFailed(f"{file} holds no Ed25519 key in PEM: {error}") from None
    return Signer(private, key_id or fingerprint(private.public_key().public_bytes_raw()))


def _said(name: str, value: Any) -> Any:
    """What the dial is told of an option; pairs as a table. Raises CommandFailed for what is no pair."""
    if name not in PAIRS:
        return value
    pairs = [pair.partition("=") for pair in value]
    if not all(key and other for key, _, other in pairs):
        raise CommandFailed(f"{NAMES[name]}: must be {PAIRS[name]}")
    return {key: other for key, _, other in pairs}


def _option(name: str) -> Parameter:
    """A knob of the dial as typer has it."""
    field = Dial.model_fields[name]
    kind: Any = list[str] if name == "refuse_products" or name in PAIRS else field.annotation
    does = field.description or ""
    told = f"{does[:1].upper()}{does[1:]}."
    option = typer.Option(NAMES.get(name, f"--{name.replace('_', '-')}"), help=told, metavar=PAIRS.get(name))
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])


*_own, _ = signature(erp_sim, eval_str=True).parameters.values()
erp_sim.__signature__ = Signature([*_own, *map(_option, Dial.model_fields)])  # type: ignore[attr-defined]
