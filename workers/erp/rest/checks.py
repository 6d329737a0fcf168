"""What would go wrong with an ERP by its profile: who we are, and whether each question is answered as it says.

Every question is asked that changes nothing: the probe, the look-ups of a customer and an article that there are not,
the search for an order that never was, and where the profile can list the orders of the last day, some of them read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

from workers.erp.attempts import Tried
from workers.erp.checks.finding import CheckFinding, CheckVerdict, find_nothing, list_lately, unmade, within
from workers.erp.failures import TABLE, Met
from workers.erp.port import Erp
from workers.erp.rest.calls import RestCalls
from workers.erp.rest.described import Described
from workers.erp.rest.look_ups import LookUps

CREDENTIALS: Final = "credentials"
SERVICE: Final = "service"


async def look(
    erp: Erp, profile: Described, calls: RestCalls, look_ups: LookUps, budget: float
) -> AsyncIterator[CheckFinding]:
    """Each finding, a look of at most `budget` seconds each; where the probe fails there is no other."""
    probed = await calls.once(profile.probe, {}, _until(budget))
    if not probed.well:
        yield _not_let_in(probed.tried)
        return
    yield CheckFinding(CREDENTIALS, CheckVerdict.OK, "it lets us in")
    place = profile.profile.probe.records
    if not place.of(probed.said):
        yield CheckFinding(SERVICE, CheckVerdict.WOULD_FAIL, f"it answers the probe with nothing at {place.said}")
    else:
        yield CheckFinding(SERVICE, CheckVerdict.OK, "it answers the probe as the profile says")
    for kind in profile.look_ups:
        name = f"look-up of {'customers' if kind == 'customer' else 'articles'}"
        yield await within(budget, name, _looked_up(name, look_ups, kind, budget))
    yield await find_nothing(erp, budget)
    if erp.capabilities.can_list:
        yield await list_lately(erp, budget)
    yield unmade("orders")


def _not_let_in(tried: Tried) -> CheckFinding:
    if tried.status in (401, 403) or tried.failure is TABLE[Met.NO_CREDENTIALS]:
        return CheckFinding(CREDENTIALS, CheckVerdict.WOULD_FAIL, tried.detail)
    return CheckFinding(SERVICE, CheckVerdict.WOULD_FAIL, f"the probe: {tried.detail}")


async def _looked_up(name: str, look_ups: LookUps, kind: str, budget: float) -> CheckFinding:
    """Whether the ERP says that it has nothing under a code that was made up just now."""
    code = f"relais-{uuid4().hex[:8]}"
    found = await look_ups.ask(kind, code, _until(budget))
    if found is None:
        return CheckFinding(name, CheckVerdict.WOULD_FAIL, f"it says that it has {code}, which was made up")
    if found.failure is not None:
        return CheckFinding(name, CheckVerdict.WOULD_FAIL, found.detail)
    return CheckFinding(name, CheckVerdict.OK, "it answers, and lacks one that was made up")


def _until(budget: float) -> float:
    return asyncio.get_running_loop().time() + budget
