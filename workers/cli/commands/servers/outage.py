"""`relais outage on|off`: an outage to try, of the ERP that `relais up` simulates. No real ERP can be reached by it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from workers.cli import show
from workers.cli.failure import CommandFailed
from workers.cli.session import settings_of

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT = 10.0  # s
TOLD = {
    "on": "The simulated ERP is down: orders are taken in and wait. `relais status --watch` shows it; `relais outage "
    "off` ends it.",
    "off": "The simulated ERP is up again. A canary goes first, then the backlog; `relais drain` watches it go.",
}


def outage(
    ctx: typer.Context,
    way: Annotated[
        Literal["on", "off"], typer.Argument(metavar="on|off", case_sensitive=False, help="Begin it, or end it.")
    ],
) -> None:
    """Take down the ERP that `relais up` simulates, or bring it back."""
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    dial = Request(
        f"{_control(settings_of(ctx).files.data_dir)}/_dial", json.dumps({"down": way == "on"}).encode(), method="PATCH"
    )
    try:
        urlopen(dial, timeout=TIMEOUT).close()
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise CommandFailed(f"the simulator does not answer: {getattr(reason, 'strerror', None) or reason}") from None
    show.say(TOLD[way])


def _control(data_dir: Path) -> str:
    """Where the simulator of the `relais up` on this data directory is steered. Failure where there is none."""
    from config.settings import ENDPOINTS

    try:
        offered = json.loads((data_dir / ENDPOINTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CommandFailed(f"no `relais up` runs on {data_dir}; --data-dir names another") from None
    if not offered.get("erp_control_url"):
        raise CommandFailed("the ERP is none that `relais up` simulates: RELAIS_ERP_URL or RELAIS_BACKENDS is set")
    return str(offered["erp_control_url"])
