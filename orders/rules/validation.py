"""Is an order fit to be forwarded? Asked by the worker, of orders that were accepted, against lists that change.

Unfit is not malformed: the order is in the journal, was answered 202 and stays; it becomes a dead letter with
every reason at once, so that a person can settle it in one go. Pure: the time and the lists are handed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from orders.errors import PAST, Fault
from orders.identifiers import is_finess, looks_like_finess
from orders.model import Line, Order
from orders.refusals import NotDone
from orders.rules.catalogue import Catalogue, Register
from orders.rules.staleness import Policy, stale
from orders.sentences import Code, Sentence, joined
from orders.states import Reason

MOST_TOLD: Final = 20  # faults of one order that are told by code


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an order is not to be forwarded: every fault, at least one, and the dead letter's reason."""

    reason: Reason
    faults: tuple[Fault, ...]

    def sentence(self) -> Sentence | None:
        """The faults as one sentence, MOST_TOLD of them at most."""
        told = [Sentence(NotDone.FIELD, field=each.field, what=each.message) for each in self.faults[:MOST_TOLD]]
        rest = len(self.faults) - len(told)
        return joined([*told, Sentence(Code.MORE_FAULTS, count=rest)] if rest else told)


def validate(
    order: Order,
    *,
    now: datetime,
    catalogue: Catalogue | None = None,
    register: Register | None = None,
    since: datetime | None = None,
    policy: Policy | None = None,
) -> Verdict | None:
    """None when the order is fit at `now` (an aware time); a list that is None is not checked against.

    `since` is when it was fresh; without it, or without a policy, it is never stale. INVALID outranks EXPIRED, and
    that STALE: what is wrong with the content is what a person has to see first, and a replay of the mended order
    would still find it expired.
    """
    invalid = [*_pharmacy(order.pharmacy, register), *_unfit(order.lines, catalogue)]
    expired = [*_expired(order.valid_until, now)]
    aged = None if since is None or policy is None else stale(order, since, now, policy, catalogue)
    faults = (*invalid, *expired, *([] if aged is None else [aged]))
    if not faults:
        return None
    return Verdict(Reason.INVALID if invalid else Reason.EXPIRED if expired else Reason.STALE, faults)


def _pharmacy(code: str, register: Register | None) -> Iterator[Fault]:
    if register is None or code in register:
        return
    wrong = looks_like_finess(code) and not is_finess(code)
    yield Fault("pharmacy", None, Sentence(NotDone.WRONG_FINESS if wrong else NotDone.NOT_REGISTERED))


def _unfit(lines: tuple[Line, ...], catalogue: Catalogue | None) -> Iterator[Fault]:
    if catalogue is None:
        return
    for number, line in enumerate(lines, 1):
        known = catalogue.get(line.product)
        if known is None:
            yield _at(number, "product", Sentence(NotDone.NOT_IN_CATALOGUE))
            continue
        if known.withdrawn:
            yield _at(number, "product", Sentence(NotDone.WITHDRAWN))
        if known.max_quantity is not None and line.quantity > known.max_quantity:
            yield _at(number, "quantity", Sentence(NotDone.MOST_QUANTITY, most=known.max_quantity))


def _expired(valid_until: datetime | None, now: datetime) -> Iterator[Fault]:
    if valid_until is not None and now > valid_until:
        yield Fault(PAST.field, None, Sentence(NotDone.PAST))


def _at(number: int, name: str, message: Sentence) -> Fault:
    return Fault(f"lines.{number}.{name}", number, message)
