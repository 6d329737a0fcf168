"""What templates see: plain data of an order, its mapped names, what the ERP has under them; times by their parts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from workers.erp.port import Submission
from workers.erp.rest.records import PARTS


def seen(submission: Submission, found: Callable[[str, str], Any]) -> dict[str, Any]:
    """Of an order, with what was `found` of a kind under a code."""
    assert submission.order is not None
    order = submission.order.model_dump(mode="json")
    mapped = submission.mapped
    articles = mapped.articles if mapped else (None,) * len(order["lines"])
    lines = [
        {**line, "number": number, "article": article, "found": found("article", article) if article else None}
        for number, (line, article) in enumerate(zip(order.pop("lines"), articles, strict=True), 1)
    ]
    names = {name: mapped and getattr(mapped, name) for name in ("customer", "price_list", "warehouse")}
    customer = found("customer", mapped.customer) if mapped else None
    return {
        "order": {**order, "id": str(submission.id)},
        "lines": lines,
        "mapped": names,
        "customer": customer,
        "today": date.today().isoformat(),
    }


def told(when: datetime) -> dict[str, Any]:
    """A time: `iso`, and its parts, in UTC."""
    then = when.astimezone(UTC)
    parts = {name: getattr(then, name) for name in PARTS}
    return {"iso": then.isoformat(timespec="microseconds").replace("+00:00", "Z"), **parts}
