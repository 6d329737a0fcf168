"""One thing that was looked at, and whether it would go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable
from uuid import uuid4

from orders.sentences import count
from workers.erp.port import Erp, Kind

DAY: Final = timedelta(days=1)
READ_AGAIN: Final = 5  # of the orders of the last day


class CheckVerdict(StrEnum):
    """What a check came to."""

    OK = "ok"
    WOULD_FAIL = "would fail"
    NOT_KNOWN = "not known"  # it could not be found out


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """What was looked at, what it came to, and what was seen: never a secret, and of an ERP's words only printable
    ones.
    """

    name: str
    verdict: CheckVerdict
    detail: str


@runtime_checkable
class Checkable(Protocol):
    """A connector that can look for itself whether it would go well: may it log in, read, create?"""

    def check(self, *, budget: float) -> AsyncIterator[CheckFinding]:
        """Each finding, as it comes; nothing is left behind at the ERP. No single look takes longer than `budget`
        seconds. Never raises for what the ERP does.
        """


async def within(
    budget: float, name: str, look: Awaitable[CheckFinding], late: CheckVerdict = CheckVerdict.NOT_KNOWN
) -> CheckFinding:
    """What is found in `budget` seconds; what takes longer comes to `late`."""
    try:
        async with asyncio.timeout(budget):
            return await look
    except TimeoutError:
        return CheckFinding(name, late, f"no answer within {budget:g} s")


async def find_nothing(erp: Erp, budget: float) -> CheckFinding:
    """Whether the ERP can be asked about an order, and lacks one whose id was made up just now."""
    nobodys = uuid4()
    told = (await erp.find([nobodys], budget=budget))[nobodys]
    if told.kind is Kind.ABSENT:
        return CheckFinding("find", CheckVerdict.OK, "it can be asked about orders, and lacks one that never was")
    if told.kind in (Kind.UNKNOWN, Kind.SUSPICIOUS):
        return CheckFinding("find", CheckVerdict.WOULD_FAIL, told.detail)
    return CheckFinding("find", CheckVerdict.WOULD_FAIL, f"it says {told.kind} of an order that never was")


async def list_lately(erp: Erp, budget: float) -> CheckFinding:
    """Whether the ERP can be asked which orders it took in the last day, and some of these can be read."""
    now = datetime.now(UTC)
    page = await erp.list(now - DAY, now, after=None, budget=budget)
    if page.failed is not None:
        return CheckFinding("list", CheckVerdict.WOULD_FAIL, page.failed.detail)
    ids = [each.id for each in page.orders[:READ_AGAIN]]
    told = await erp.find(ids, budget=budget) if ids else {}
    for each, found in told.items():
        if found.kind in (Kind.UNKNOWN, Kind.SUSPICIOUS, Kind.ABSENT):
            return CheckFinding("list", CheckVerdict.WOULD_FAIL, f"it lists order {each}, and of that: {found.detail}")
    tells = f"it tells {count(len(page.orders), 'order')} of the last day{' on the first page' if page.next else ''}"
    return CheckFinding("list", CheckVerdict.OK, f"{tells}; {len(ids) or 'none'} read")


def unmade(what: str) -> CheckFinding:
    """Whether we may make such a thing at the ERP, which is not tried."""
    return CheckFinding("creating", CheckVerdict.NOT_KNOWN, f"whether we may make {what}, only an order shows")
