"""The steps of an order that intake logs: that it was taken, or not, and that its pharmacy took it back."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from config.telemetry import order_log
from config.telemetry.order_log import Field
from orders.errors import RelaisError
from orders.intake.entries import Accepted, Entry


def tell_accepted(entries: Sequence[Entry], answers: Sequence[Accepted | RelaisError]) -> None:
    """A line for each entry of a group that was answered: where it is kept, or the order that has its place."""
    if order_log.wanted():
        order_log.say("accept", [_accepted(*each) for each in zip(entries, answers, strict=True)])


def _accepted(each: Entry, answer: Accepted | RelaisError) -> dict[str, Field]:
    known: dict[str, Field] = {"request": each.request_id, "client": each.client, "backend": each.backend}
    if isinstance(answer, Accepted):
        return {"order": answer.id, **known, "outcome": "repeated" if answer.repeated else answer.kept}
    return {"order": getattr(answer, "first", None), **known, "outcome": type(answer).__name__.lower()}


def tell_cancelled(order_id: UUID, request_id: str | None, client: str) -> None:
    """A line for an order that was taken back; `request_id` is of the request that had brought it."""
    order_log.say("cancel", [{"order": order_id, "request": request_id, "client": client, "outcome": "cancelled"}])
