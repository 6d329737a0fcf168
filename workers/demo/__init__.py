"""`relais demo`: the weekend of 19 October 2024 in about a minute, with nothing in it that is not real.

It runs a whole `relais up` of its own, hands orders over HTTP as 1,800 pharmacies would, takes the ERP away, kills
what can be killed, and gives the ERP back. At the end the journal, the ERP's own file and what the front end was told
are laid side by side. Importing this package is cheap: the command line does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

ORDERS: Final = 5400
SECONDS: Final = 66.0
LONGEST_PLAY: Final = 148.0  # s


def run(
    *,
    orders: int = ORDERS,
    seconds: float = SECONDS,
    data_dir: Path | None = None,
    keep: bool = False,
    as_json: bool = False,
) -> int:
    """Play the weekend and return an exit code: 0 the ledger balances, 1 it does not or an act failed, 2 could not
    be played, 130 interrupted.

    About `orders` orders in about `seconds` s. `data_dir` must be new or empty and stays; without one a temporary
    directory is used, which goes unless `keep`. With `as_json` the ledger is one JSON document on stdout and the
    story goes to stderr.
    """
    from workers.demo.play import play
    from workers.demo.simulated import SimulatedStory
    from workers.demo.stage import DemoInstallation

    return play(
        DemoInstallation, SimulatedStory, orders=orders, seconds=seconds, data_dir=data_dir, keep=keep, as_json=as_json
    )
