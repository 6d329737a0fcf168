"""How the ledger is shown: for people as a table and a verdict, for scripts as one JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from workers.demo.ledger import DemoLedger
from workers.demo.traffic import Told

BALANCED: Final = "It balances: each order answered 202 is at the ERP once, or dead as expected."


def as_json(
    ledger: DemoLedger | None, told: Told, timings: Mapping[str, float], faults: Sequence[str]
) -> dict[str, Any]:
    """The ledger, None when it was never drawn up, with timings in seconds and everything that is wrong."""
    return {
        **(asdict(ledger) if ledger else {}),
        "balanced": not faults,
        "faults": list(faults),
        "sent_again_and_recognised": told.repeated,
        "references_reused_and_refused": told.conflicts,
        "tries_repeated": told.tries_again,
        "answer_ms": round(told.typical_wait() * 1000, 1),
        "timings": {name: round(seconds, 1) for name, seconds in timings.items()},
    }


def verdict(faults: Sequence[str]) -> str:
    """The last word: that it balances, or a line for everything that does not."""
    return "\n".join(["Something is wrong:", *(f"  {fault}" for fault in faults)]) if faults else BALANCED


def given_up(orders: Iterable[UUID], told: Told) -> str:
    """Which dead letters people gave up for good, by the pharmacy and its reference."""
    named = [told.orders[each].named for each in sorted(orders)]
    return "\n".join(["People gave up:", *(f"  {name}" for name in named)])


def times(timings: Mapping[str, float]) -> str:
    """How long things took."""
    shown = {
        "start": "start",
        "circuit_opened": "circuit open after",
        "worker_back": "worker back after",
        "redis_back": "Redis back after",
        "canary_back": "canary back after",
        "drained": "drained in",
        "acts": "five acts",
        "stop": "stop",
    }
    return "; ".join(f"{words} {timings[name]:.1f} s" for name, words in shown.items() if name in timings)


def table(ledger: DemoLedger, told: Told, account: str) -> RenderableType:
    """The figures, each with where it comes from; `account` is the ERP's own."""
    drawn = Table(title=Text("The ledger of the weekend", style="bold"), title_justify="left", box=None, pad_edge=False)
    drawn.add_column("orders", justify="right", style="bold")
    drawn.add_column("")
    drawn.add_column("by the account of", style="dim")
    for value, what, source, good in _lines(ledger, told, account):
        drawn.add_row(Text(f"{value:,}", style="" if good else "bold red"), what, source)
    return drawn


def _lines(ledger: DemoLedger, told: Told, account: str) -> Iterator[tuple[int, str, str, bool]]:
    """Each figure: value, name, source, and whether it is as it should be."""
    dead = sum(ledger.dead.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(ledger.dead.items()))
    yield ledger.promised, "answered 202", "front end", True
    yield ledger.accepted, "accepted", "journal", ledger.accepted == ledger.promised
    yield ledger.delivered, "delivered", "journal", ledger.delivered + dead == ledger.accepted
    yield dead, f"dead letters ({reasons})" if reasons else "dead letters", "journal", True
    yield ledger.backlog, "backlog", "journal", not ledger.backlog
    yield ledger.effects, "took effect", account, ledger.effects == ledger.delivered
    yield ledger.duplicates, "duplicates at the ERP", account, not ledger.duplicates
    yield ledger.lost, "lost", "all three", not ledger.lost
    yield ledger.altered, "altered (SHA-256)", "all three", not ledger.altered
    yield ledger.attempts_of_the_outage, "attempts that the outage cost", "journal", not ledger.attempts_of_the_outage
    yield told.repeated, "sent again, and told their first id", "front end", True
    yield told.conflicts, "reference used for another order: 409", "front end", True
