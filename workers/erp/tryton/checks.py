"""What would go wrong with a Tryton: log-in, rights, company, currency, and whether a reference is unique there.

The last is found out by two sales of one reference in one call, of a state that there is not: Tryton takes back all of
it, whichever of the two faults its database or its models meet first. Nothing is left but two numbers of a sequence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final
from uuid import uuid4

from workers.erp.attempts import Tried
from workers.erp.checks.finding import CheckFinding, CheckVerdict, find_nothing
from workers.erp.port import Erp, Kind
from workers.erp.tryton.options import TrytonOptions
from workers.erp.tryton.rpc import RpcAnswer, TrytonRpc

UNIQUE: Final = "relais_sale_reference"  # the index of docs/tryton.md, as PostgreSQL names it in its error
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "sale.sale": ("read", "create", "write"),
    "sale.line": ("read", "create"),
    "stock.move": ("read",),
    "product.product": ("read",),
    "party.party": ("read",),
    "company.company": ("read",),
    "currency.currency": ("read",),
}
NO_STATE: Final = "relais_check"  # of a sale

Call = Callable[..., Awaitable[RpcAnswer]]


async def look(erp: Erp, rpc: TrytonRpc, own: TrytonOptions, budget: float) -> AsyncIterator[CheckFinding]:
    """Each finding, a call of at most `budget` seconds each; after a log-in that failed there is no other."""

    async def call(method: str, *parameters: object) -> RpcAnswer:
        return await rpc.call(f"model.{method}", *parameters, until=asyncio.get_running_loop().time() + budget)

    entered = await call("res.user.get_preferences", True)
    if entered.failed is not None:
        yield _failed("credentials", entered.failed)
        return
    yield CheckFinding("credentials", CheckVerdict.OK, f"{own.user} may log in to {own.database}")
    yield _rights(await call("ir.model.access.get_access", [*NEEDED]))
    company = await call("company.company.search_read", [["id", "=", own.company]], 0, 1, None, ["currency", "party"])
    yield _company(company, own)
    yield _currency(company, own)
    if company.failed is None and company.result:
        yield await _unique(call, company.result[0]["party"], own)
    yield await find_nothing(erp, budget)


def _rights(answer: RpcAnswer) -> CheckFinding:
    if answer.failed is not None:
        return _failed("rights", answer.failed)
    lacking = [
        f"{right} {model}" for model, rights in NEEDED.items() for right in rights if not answer.result[model][right]
    ]
    if lacking:
        return CheckFinding("rights", CheckVerdict.WOULD_FAIL, f"may not {', '.join(lacking)}")
    return CheckFinding(
        "rights", CheckVerdict.OK, "may read customers, products and stock moves, and make and change sales"
    )


def _company(answer: RpcAnswer, own: TrytonOptions) -> CheckFinding:
    if answer.failed is not None:
        return _failed("company", answer.failed)
    if not answer.result:
        return CheckFinding(
            "company", CheckVerdict.WOULD_FAIL, f"there is no company {own.company}, or none for {own.user}"
        )
    return CheckFinding("company", CheckVerdict.OK, f"company {own.company} is there")


def _currency(answer: RpcAnswer, own: TrytonOptions) -> CheckFinding:
    if answer.failed is not None or not answer.result:
        return CheckFinding("currency", CheckVerdict.NOT_KNOWN, "the company was not read")
    if (theirs := answer.result[0]["currency"]) != own.currency:
        why = f"the company's is {theirs}, and sales would be made in {own.currency} at the company's prices"
        return CheckFinding("currency", CheckVerdict.WOULD_FAIL, why)
    return CheckFinding("currency", CheckVerdict.OK, f"currency {own.currency} is the company's")


async def _unique(call: Call, party: int, own: TrytonOptions) -> CheckFinding:
    """Whether the database refuses a second sale of one reference."""
    sale = {
        "company": own.company,
        "currency": own.currency,
        "party": party,
        "reference": str(uuid4()),
        "state": NO_STATE,
    }
    answer: RpcAnswer = await call("sale.sale.create", [sale, sale])
    if answer.failed is None:
        await call("sale.sale.delete", answer.result)
        return CheckFinding("reference", CheckVerdict.NOT_KNOWN, "Tryton takes sales of a state that there is not")
    if UNIQUE in answer.failed.detail:
        return CheckFinding("reference", CheckVerdict.OK, f"unique, by the index {UNIQUE}")
    if answer.failed.kind is not Kind.REFUSED:
        return CheckFinding("reference", CheckVerdict.NOT_KNOWN, answer.failed.detail)
    verdict = CheckVerdict.WOULD_FAIL if own.unique_reference else CheckVerdict.OK
    return CheckFinding("reference", verdict, f"not unique: there is no index {UNIQUE} (docs/tryton.md)")


def _failed(name: str, failed: Tried) -> CheckFinding:
    return CheckFinding(name, CheckVerdict.WOULD_FAIL, failed.detail)
