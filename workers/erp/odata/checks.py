"""What would go wrong with an SAP: log-in, rights, token, and whether the service has each field that is sent or read.

What SAP lets us make is not tried: it has no way to make a sales order and take it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final
from xml.etree import ElementTree

from workers.erp.attempts import Tried
from workers.erp.checks.finding import CheckFinding, CheckVerdict, find_nothing, list_lately, unmade
from workers.erp.failures import TABLE, Met, printable
from workers.erp.odata.options import OdataOptions
from workers.erp.odata.sales_orders import ENTITIES
from workers.erp.odata.session import OdataSession
from workers.erp.port import Erp

CREDENTIALS: Final = "credentials"
RIGHTS: Final = "rights"
SERVICE: Final = "service"
ITEMS: Final = "A_SalesOrderItem"
SCHEDULES: Final = "A_SalesOrderScheduleLine"
TEXTS: Final = "A_SalesOrderText"
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {  # what the connector sends or reads of each set of entities
    ENTITIES: (
        "SalesOrder",
        "SalesOrderType",
        "SalesOrganization",
        "DistributionChannel",
        "OrganizationDivision",
        "SoldToParty",
        "PurchaseOrderByCustomer",
        "PurchaseOrderByShipToParty",
        "PriceListType",
        "CreationDate",
        "to_Item",
    ),
    ITEMS: (
        "SalesOrderItem",
        "HigherLevelItem",
        "Material",
        "MaterialByCustomer",
        "OriginallyRequestedMaterial",
        "RequestedQuantity",
        "RequestedQuantityUnit",
        "ProductionPlant",
        "SalesDocumentRjcnReason",
        "to_ScheduleLine",
    ),
    SCHEDULES: (
        "ScheduleLine",
        "RequestedDeliveryDate",
        "ConfirmedDeliveryDate",
        "ConfdOrderQtyByMatlAvailCheck",
    ),
    TEXTS: ("Language", "LongTextID", "LongText"),
}


async def look(erp: Erp, session: OdataSession, own: OdataOptions, budget: float) -> AsyncIterator[CheckFinding]:
    """Each finding, a call of at most `budget` seconds each; where we are not let in there is no other."""
    entered = await session.probe(_until(budget))
    for each in _let_in(entered, own):
        yield each
    if entered is not None:
        return
    token = "SAP gave one" if session.has_token else "SAP gave none, and is shown none"
    yield CheckFinding("token", CheckVerdict.OK, token)
    yield _described(await session.described(_until(budget)), own)
    yield await find_nothing(erp, budget)
    yield await list_lately(erp, budget)
    yield unmade("sales orders")


def _let_in(entered: Tried | None, own: OdataOptions) -> Iterator[CheckFinding]:
    """What the first question of a session says of us."""
    if entered is None:
        yield CheckFinding(CREDENTIALS, CheckVerdict.OK, "SAP lets us in")
        yield CheckFinding(RIGHTS, CheckVerdict.OK, "we may read sales orders")
    elif entered.status == 401 or entered.failure is TABLE[Met.NO_CREDENTIALS]:
        yield CheckFinding(CREDENTIALS, CheckVerdict.WOULD_FAIL, entered.detail)
    elif entered.status == 403:
        yield CheckFinding(RIGHTS, CheckVerdict.WOULD_FAIL, f"we may not read sales orders: {entered.detail}")
    else:
        yield CheckFinding(SERVICE, CheckVerdict.WOULD_FAIL, f"{own.service}: {entered.detail}")


def _described(told: bytes | Tried, own: OdataOptions) -> CheckFinding:
    """Whether the service has all that it is sent and asked for."""
    if isinstance(told, Tried):
        return CheckFinding(SERVICE, CheckVerdict.NOT_KNOWN, f"it does not describe itself: {told.detail}")
    try:
        sets = described(told)
    except (ElementTree.ParseError, ValueError, KeyError) as error:
        why = printable(f"what it says of itself cannot be read: {type(error).__name__}")
        return CheckFinding(SERVICE, CheckVerdict.NOT_KNOWN, why)
    lacking = [
        f"{name}.{field}" if name in sets else name
        for name, fields in needed(own).items()
        for field in (fields if name in sets else [""])
        if field not in sets.get(name, ())
    ]
    if not lacking:
        return CheckFinding(SERVICE, CheckVerdict.OK, "it has every field that is sent and read")
    told_of = f"it lacks {', '.join(lacking)}; `without` may name some of them (docs/odata.md)"
    return CheckFinding(SERVICE, CheckVerdict.WOULD_FAIL, told_of)


def needed(own: OdataOptions) -> dict[str, list[str]]:
    """The fields of each set of entities that are sent or read, by these settings."""
    fields_left_out = {*own.without, *(() if own.unit else ("RequestedQuantityUnit",))}
    sets_left_out = {*(() if own.note_id else (TEXTS,)), *((SCHEDULES,) if "to_ScheduleLine" in own.without else ())}
    wanted = {
        name: [field for field in fields if field not in fields_left_out]
        for name, fields in NEEDED.items()
        if name not in sets_left_out
    }
    if own.note_id:
        wanted[ENTITIES].append("to_Text")
    return wanted


def described(told: bytes) -> dict[str, frozenset[str]]:
    """The fields of each set of entities, as the service describes itself. Raises ParseError, ValueError, KeyError."""
    if b"<!DOCTYPE" in told:
        raise ValueError("a document type")
    root = ElementTree.fromstring(told)
    types = {
        each.attrib["Name"]: frozenset(field.attrib.get("Name", "") for field in each)
        for each in root.iterfind(".//{*}EntityType")
    }
    return {
        each.attrib["Name"]: types[each.attrib["EntityType"].rpartition(".")[2]]
        for each in root.iterfind(".//{*}EntitySet")
    }


def _until(budget: float) -> float:
    return asyncio.get_running_loop().time() + budget
