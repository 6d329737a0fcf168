"""A soak in figures, as JSON; `python -m tests.soak.report RUN.json` writes docs/recovery-times.md from it."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tests.machines.tools import ROOT
from tests.soak.checker import Verdict, lines_of
from tests.soak.recovery import Inflicted, rows, table
from workers.erp.sim.book import read_effects

PAPER: Final = """# Recovery times

How long it takes, after a fault of each kind, until an order is answered 202 again and until one is with the ERP
again. `make soak` makes this table: two intakes, two workers, PostgreSQL, Valkey and the ERP's simulator as real
processes on one machine, with wires between them that can be cut. Front ends hand over orders all the while; faults
come by chance, at times three at once. Afterwards the front ends' own logs are compared with the ledger and the ERP's
own file.

This run: {seconds:g} s, seed {seed}, {machine}: {faults} faults of {kinds} kinds, {orders} orders; {lost} lost,
{doubled} doubled, {altered} altered, {stuck} stuck; of what else it looks at, {others} found wrong.
Times are from the end of the fault; for what kills, also from its
beginning. An order goes to an intake by chance: while one of two is struck, the other one takes what it is given.
Settings are the defaults, but for what tests shorten, as `RELAIS_ERP_TIMEOUT=2`, `RELAIS_LEASE=10` and
`RELAIS_CLAIM_PATIENCE=2`. The times are those of a machine that is shared with others.

{table}"""


def report(
    seed: str, seconds: float, done: Sequence[Inflicted], book: Path, logs: Path, verdict: Verdict
) -> dict[str, Any]:
    """The run in figures."""
    taken = sorted(
        line["at"] for line in lines_of(logs) if line["status"] in (200, 202) and line.get("kept") != "spool"
    )
    delivered = sorted(datetime.fromisoformat(effect["received_at"]).timestamp() for effect in read_effects(book))
    found = rows(done, taken, delivered)
    return {
        "seed": seed,
        "seconds": seconds,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        **{name: len(getattr(verdict, name)) for name in ("lost", "doubled", "altered", "stuck")},
        "faults": len(done),
        "kinds": len(found),
        "figures": verdict.figures,
        "wrong": verdict.faults,
        "rows": [asdict(row) for row in found],
        "table": table(found),
        "done": [asdict(each) for each in done],
    }


def paper(run: dict[str, Any]) -> str:
    """The document."""
    others = len(run["wrong"]) - sum(run[name] for name in ("lost", "doubled", "altered", "stuck"))
    return PAPER.format(**run, others=others, orders=f"{run['figures']['orders']:,}")


if __name__ == "__main__":
    (ROOT / "docs" / "recovery-times.md").write_text(paper(json.loads(Path(sys.argv[1]).read_text())))
