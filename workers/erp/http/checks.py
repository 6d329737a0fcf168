"""What would go wrong with an ERP that speaks our contract: its health, our credentials, a find, its signatures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from workers.erp.attempts import Tried
from workers.erp.checks.finding import CheckFinding, CheckVerdict, find_nothing, within
from workers.erp.failures import TABLE, Met
from workers.erp.port import Erp, Kind
from workers.erp.signatures import Signatures

SERVICE: Final = "service"
CREDENTIALS: Final = "credentials"

Health = Callable[[float], Awaitable[Tried]]  # what comes of asking by a time of the running loop


async def look(erp: Erp, health: Health, signatures: Signatures | None, budget: float) -> AsyncIterator[CheckFinding]:
    """Each finding, a look of at most `budget` seconds each."""
    yield await within(2 * budget, SERVICE, _health(health, budget))
    found = await find_nothing(erp, budget)
    yield _let_in(found)
    yield found
    if signatures:
        why = await signatures.lacking()
        yield CheckFinding(
            "receipts", CheckVerdict.WOULD_FAIL if why else CheckVerdict.OK, why or "they can be verified"
        )


async def _health(health: Health, budget: float) -> CheckFinding:
    tried = await health(asyncio.get_running_loop().time() + budget)
    if tried.kind is Kind.ACCEPTED:
        return CheckFinding(SERVICE, CheckVerdict.OK, "fit to receive")
    return CheckFinding(SERVICE, CheckVerdict.WOULD_FAIL, f"GET /health: {tried.detail}")


def _let_in(found: CheckFinding) -> CheckFinding:
    """What a find says of our credentials."""
    if any(f" {word}: " in found.detail for word in ("401", "403", TABLE[Met.NO_CREDENTIALS].says)):
        return CheckFinding(CREDENTIALS, CheckVerdict.WOULD_FAIL, found.detail)
    if found.verdict is not CheckVerdict.OK:
        return CheckFinding(CREDENTIALS, CheckVerdict.NOT_KNOWN, "it did not come to that")
    return CheckFinding(CREDENTIALS, CheckVerdict.OK, "it lets us ask about orders")
