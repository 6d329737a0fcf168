"""One thing that was looked at, and whether it would go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable
from uuid import uuid4

from workers.erp.port import Erp, Kind


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
