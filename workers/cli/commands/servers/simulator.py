"""`relais erp-sim`: an ERP to try Relais against, with an option for every knob of its dial.

What a knob does and which values it takes is the dial's to say (`workers.erp.sim.dial`); a test keeps the two alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from workers.cli.failure import CommandFailed, listening_on
from workers.cli.session import settings_of

if TYPE_CHECKING:
    from workers.erp.sim.telling import Signer

Tamper = Literal["none", "digest", "quantity", "reference", "signature", "unsigned", "other_key", "other_order", "time"]


def erp_sim(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="RELAIS_ERP_SIM_PORT when left out.")] = None,
    control_port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 is any free one.")] = 0,
    file: Annotated[
        Path | None, typer.Option(help="What it took, a JSON line for each; erp-sim.jsonl in the data directory.")
    ] = None,
    down: Annotated[bool, typer.Option("--down", help="Refuse connections.")] = False,
    hanging: Annotated[bool, typer.Option("--hanging", help="Accept connections and never answer.")] = False,
    latency_ms: Annotated[float | None, typer.Option(help="Median time before an answer, milliseconds.")] = None,
    latency_sigma: Annotated[float | None, typer.Option(help="Spread of it, log-normal.")] = None,
    error_rate: Annotated[float | None, typer.Option(help="Share of requests answered with an error.")] = None,
    error_status: Annotated[int | None, typer.Option(help="HTTP status of those answers.")] = None,
    throttle: Annotated[float | None, typer.Option(help="Orders a second beyond which 429 is answered.")] = None,
    limit: Annotated[float | None, typer.Option(help="Orders in hand beyond which 503 is answered.")] = None,
    limit_drift: Annotated[float | None, typer.Option(help="Share of the limit by which it swings.")] = None,
    limit_period: Annotated[float | None, typer.Option(help="Time of one such swing, seconds.")] = None,
    retry_after: Annotated[int | None, typer.Option(help="Retry-After of a 429, seconds.")] = None,
    garbage: Annotated[
        Literal["none", "html", "truncated", "oversized", "wrong_type"] | None,
        typer.Option(help="Spoil every answer."),
    ] = None,
    die_before_answer: Annotated[
        float | None, typer.Option(help="Share of orders taken before the connection breaks.")
    ] = None,
    confirm_later: Annotated[float | None, typer.Option(help="Answer 202, decide after so many seconds.")] = None,
    idempotent: Annotated[bool, typer.Option("--idempotent/--no-idempotent", help="Honour Idempotency-Key.")] = True,
    refuse_products: Annotated[
        list[str] | None, typer.Option("--refuse-product", help="Refuse orders with this CIP13; may be repeated.")
    ] = None,
    refuse_rate: Annotated[float | None, typer.Option(help="Share of orders refused, always the same.")] = None,
    shortage_rate: Annotated[float | None, typer.Option(help="Share of lines accepted in part.")] = None,
    tamper: Annotated[Tamper | None, typer.Option(help="Falsify receipts.")] = None,
    tamper_rate: Annotated[float | None, typer.Option(help="Share of orders lied about, always the same.")] = None,
    sign_key: Annotated[
        Path | None, typer.Option(dir_okay=False, exists=True, help="Sign receipts with this Ed25519 key (PEM).")
    ] = None,
    sign_as: Annotated[str | None, typer.Option(metavar="ID", help="Its id; made from the key if unset.")] = None,
) -> None:
    """Simulate an ERP that can be made to misbehave.

    The dial is also turned while it runs: GET and PUT /_dial on the control port.
    """
    from pydantic import ValidationError

    from config.telemetry import logs
    from workers.erp.sim import Dial, run_sim

    settings = settings_of(ctx)
    logs.begin(settings)
    knobs = {name: value for name, value in ctx.params.items() if name in Dial.model_fields and value is not None}
    try:
        dial = Dial.model_validate(knobs)
    except ValidationError as error:
        found = error.errors(include_url=False)
        faults = [f"--{str(each['loc'][0]).replace('_', '-')}: {each['msg']}" for each in found]
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
