"""The steps of an order that workers and dispatcher log, and the acts of operators: a line each, and no free text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from config.telemetry import order_log
from config.telemetry.order_log import Field
from workers.delivery.retry_policy import Disposition
from workers.erp.port import Kind, Outcome


def tell_settled(
    dispositions: Mapping[UUID, Disposition],
    outcomes: Mapping[UUID, Outcome],
    requests: Mapping[UUID, str | None],
    backend: str,
) -> None:
    """A line for each order that was settled: what its attempt came to, and what becomes of it. None was made of
    those that were never sent.
    """
    if order_log.wanted():
        rows = [_settled(i, each, outcomes.get(i), requests.get(i), backend) for i, each in dispositions.items()]
        order_log.say("settle", [row for row in rows if row["outcome"] != Kind.UNSENT])


def _settled(
    order_id: UUID, becomes: Disposition, outcome: Outcome | None, request: str | None, backend: str
) -> dict[str, Field]:
    return {
        "order": order_id,
        "request": request,
        "backend": backend,
        "state": becomes.state,
        "outcome": outcome.kind if outcome else None,
        "status": outcome.status if outcome else None,
        "reason": becomes.reason,
        "attempts": becomes.attempts,
        "ms": _milliseconds(outcome),
    }


def _milliseconds(outcome: Outcome | None) -> int | None:
    if outcome is None or outcome.started is None or outcome.ended is None:
        return None
    return round((outcome.ended - outcome.started).total_seconds() * 1000)


def tell_rows(event: str, rows: Iterable[Sequence[Any]], backend: str) -> None:
    """A line for each (order_id, request_id, state) that the dispatcher changed by itself."""
    if order_log.wanted():
        order_log.say(
            event, [{"order": row[0], "request": row[1], "backend": backend, "state": row[2]} for row in rows]
        )
