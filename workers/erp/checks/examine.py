"""Everything harmless that can be looked at before a backend's orders go: each in turn, and all in bounded time.

What cannot be looked at is not known, and no reason to stop: the ERP may be down, the journal away, no worker running.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.journal import unreachable
from orders.queries import mappings
from workers.erp.checks.address import CLOCK, compared, look_at_address
from workers.erp.checks.finding import Checkable, CheckFinding, CheckVerdict, find_nothing, within
from workers.erp.connectors import BadConnector, options_of
from workers.erp.port import Capabilities, Erp

MOST_SECONDS: Final = 10.0  # that one look may take
LAST_ORDERS: Final = 1_000  # whose codes are looked at
NAMED_CODES: Final = 5  # of those that are not mapped
SERVICE: Final = "service"
MAPPING: Final = "mapping"
JOURNAL: Final = "journal's clock"
NOW: Final = text("SELECT clock_timestamp() AS now")


async def examine(engine: AsyncEngine, settings: Settings, opened: Callable[[], Erp]) -> AsyncIterator[CheckFinding]:
    """What is found of the backend whose settings these are; `opened` is its connector, and may raise BadConnector.

    Raises MissingSetting where it has no address.
    """
    budget = min(MOST_SECONDS, settings.erp.timeout)
    try:
        erp = opened()
    except BadConnector as error:
        yield CheckFinding("settings", CheckVerdict.WOULD_FAIL, str(error))
        return
    yield CheckFinding("settings", CheckVerdict.OK, f"the connector {settings.erp.kind} takes them")
    reached = True
    async for finding in look_at_address(settings, budget, getattr(options_of(settings), "tls", None)):
        reached = finding.verdict is CheckVerdict.OK or finding.name == CLOCK
        yield finding
    try:
        async for finding in _ask(erp, budget) if reached else _unasked():
            yield finding
    finally:
        await erp.close()
    for finding in _promises(erp.capabilities):
        yield finding
    for name, look in ((JOURNAL, _journals_clock), (MAPPING, _coverage)):
        yield await within(budget, name, _if_there(name, look(engine, settings, erp.capabilities)))


async def _ask(erp: Erp, budget: float) -> AsyncIterator[CheckFinding]:
    """What the connector finds out by itself; else whether its ERP is fit, and lacks an order that nobody sent."""
    if isinstance(erp, Checkable):
        async for finding in erp.check(budget=budget):
            yield finding
        return
    yield await within(budget, SERVICE, _probed(erp))
    if erp.capabilities.can_find:
        yield await find_nothing(erp, budget)


async def _unasked() -> AsyncIterator[CheckFinding]:
    yield CheckFinding(SERVICE, CheckVerdict.NOT_KNOWN, "it was not asked, since it cannot be reached")


async def _probed(erp: Erp) -> CheckFinding:
    if await erp.probe():
        return CheckFinding(SERVICE, CheckVerdict.OK, "fit to receive")
    return CheckFinding(SERVICE, CheckVerdict.WOULD_FAIL, "it does not say that it is fit to receive")


def _promises(can: Capabilities) -> list[CheckFinding]:
    """What the connector and the settings say of duplicates, and of answers that come late or never."""
    once = "exactly once: the ERP refuses a second order of one reference"
    twice = "at most one duplicate, detected: the ERP itself refuses no second order of one reference"
    believed = f"believed after {can.absent_after:g} s" if can.absent_after else "believed at once"
    late = CheckFinding("decision", CheckVerdict.OK, "told at once")
    if can.ack_within is not None:
        late = CheckFinding("decision", CheckVerdict.OK, f"overdue after {can.ack_within:g} s")
    elif can.asynchronous:
        why = "one that never comes raises no alert: set RELAIS_ERP_ACK_WITHIN"
        late = CheckFinding("decision", CheckVerdict.NOT_KNOWN, why)
    return [
        CheckFinding("duplicates", CheckVerdict.OK, once if can.unique_reference else twice),
        CheckFinding("not found", CheckVerdict.OK, believed),
        late,
    ]


async def _if_there(name: str, look: Awaitable[CheckFinding]) -> CheckFinding:
    """What is found where the journal answers."""
    try:
        return await look
    except Exception as error:
        if not unreachable(error):
            raise
        return CheckFinding(name, CheckVerdict.NOT_KNOWN, "the journal is out of reach")


async def _journals_clock(engine: AsyncEngine, settings: Settings, _: Capabilities) -> CheckFinding:
    async with engine.connect() as connection:
        before = datetime.now(UTC)
        theirs: datetime = (await connection.execute(NOW)).scalar_one()
        ours = before + (datetime.now(UTC) - before) / 2
    return compared(JOURNAL, (theirs - ours).total_seconds(), settings)


async def _coverage(engine: AsyncEngine, settings: Settings, can: Capabilities) -> CheckFinding:
    if not can.mapped:
        return CheckFinding(MAPPING, CheckVerdict.OK, "none is needed: it gets orders as they are")
    found = await mappings.missing_in_last(engine, settings.erp.backend, LAST_ORDERS, NAMED_CODES)
    if not found.codes:
        return CheckFinding(MAPPING, CheckVerdict.OK, f"every code of its last {found.looked:,} orders is mapped")
    named = ", ".join(f"{each['kind']} {each['code']}" for each in found.listed)
    orders = f"{found.concerned:,} of its last {found.looked:,} orders"
    told = f"{found.codes:,} codes of {orders} are not mapped"
    return CheckFinding(MAPPING, CheckVerdict.WOULD_FAIL, f"{told}: {named}")
