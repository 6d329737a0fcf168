"""The simulated ERP's answer to the question which orders it holds (docs/erp-contract.md): page by page, in the turn
in which it took them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from workers.erp.sim.book import Book
from workers.erp.sim.reply import Reply, as_json

MOST_LISTED: Final = 1000  # orders in a page
TOLD: Final = ("id", "digest", "reference", "received_at")


def list_orders(book: Book, wanted: dict[str, Any]) -> Reply:
    """A page of what the book holds; `next` is the number of its last effect."""
    try:
        since, until = (datetime.fromisoformat(wanted[name]) for name in ("since", "until"))
        after = None if wanted.get("after") is None else int(wanted["after"])
        effects, last = book.listed(since, until, after, min(int(wanted["limit"]), MOST_LISTED))
    except (KeyError, TypeError, ValueError):
        return as_json(400, {"error": "since and until must be times, limit a number, after what next was"})
    orders = [{name: effect[name] for name in TOLD} for effect in effects]
    return as_json(200, {"orders": orders, "next": None if last is None else str(last)})
