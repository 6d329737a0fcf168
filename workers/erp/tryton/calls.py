"""The calls on sales that the connector makes: create, find, quote and confirm, page through.

Each is one transaction of Tryton's, which refuses many for one: where it does, they are halved down to the sale that is
at fault, which is cancelled, and the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from workers.erp import steady_clock
from workers.erp.attempts import Tried
from workers.erp.port import Kind, Outcome
from workers.erp.tryton import sales
from workers.erp.tryton.rpc import RpcAnswer, TrytonRpc
from workers.erp.tryton.shipments import LineShipment, Shipments

MOST_ASKED: Final = 100  # references in one search
MOST_LISTED: Final = 500  # sales in a page
SALE: Final = "model.sale.sale"
AN_ID: Final = "________-____-____-____-____________"  # as a pattern of SQL's LIKE

Step = Literal["quote", "confirm"]
FROM: Final[Mapping[Step, str]] = {"quote": "draft", "confirm": "quotation"}

Sales = dict[UUID, list[Mapping[str, Any]]]


class SaleCalls:
    """The sales of one company. Every method's `until` is a time of the running loop."""

    def __init__(self, rpc: TrytonRpc, company: int, timeout: float, shipments: Shipments) -> None:
        """No call takes longer than `timeout` seconds."""
        self._rpc, self._company, self._timeout, self._shipments = rpc, company, timeout, shipments

    async def create(self, values: Sequence[Mapping[str, Any]], until: float) -> RpcAnswer:
        """Make all of these sales, or none: their ids, in turn."""
        return await self._call("create", list(values), until=until)

    async def of(self, ids: Sequence[UUID], until: float) -> Sales | Tried:
        """The sales of each order that has one, or why they could not be read."""
        rows: list[Mapping[str, Any]] = []
        shipped: dict[int, LineShipment] = {}
        for start in range(0, len(ids), MOST_ASKED):
            wanted = [str(each) for each in ids[start : start + MOST_ASKED]]
            domain = [["reference", "in", wanted], ["company", "=", self._company]]
            answer = await self._call("search_read", domain, 0, None, None, sales.READ, until=until)
            if answer.failed is not None:
                return answer.failed
            taken = [row for row in answer.result if row["state"] in sales.TAKEN]
            told = await self._shipments.of(taken, self._in_time(until)) if taken else {}
            if isinstance(told, Tried):
                return told
            rows, shipped = [*rows, *answer.result], shipped | told
        return sales.live(rows, shipped)

    async def page(self, since: datetime, end: datetime, after: str | None, until: float) -> RpcAnswer:
        """Up to MOST_LISTED sales that bear an order's id and were made in that time, in turn; cancelled ones not.

        `after` is the place of the last one of the page before, as `sales.place` has it.
        """
        domain: list[Any] = [
            ["create_date", ">=", sales.as_told(since)],
            ["create_date", "<", sales.as_told(end)],
            ["reference", "ilike", AN_ID],
            ["state", "!=", "cancelled"],
            ["company", "=", self._company],
            *sales.beyond(after),
        ]
        turn = [["create_date", "ASC"], ["id", "ASC"]]
        read = ["reference", "number", "create_date"]
        return await self._call("search_read", domain, 0, MOST_LISTED, turn, read, until=until)

    async def confirm(self, drafts: Sequence[int], quotations: Sequence[int], until: float) -> dict[int, Outcome]:
        """Quote the drafts, confirm them and the quotations; what became of those that got no further."""
        stopped = await self._step("quote", drafts, until)
        quoted = [*quotations, *(number for number in drafts if number not in stopped)]
        return stopped | await self._step("confirm", quoted, until)

    async def take_on(self, rows: Sequence[Mapping[str, Any]], until: float) -> dict[int, Outcome]:
        """Quote, confirm and process sales from where they stand; what became of those that got no further."""
        drafts, quotations, confirmed = ([row["id"] for row in rows if row["state"] == state] for state in sales.BEGUN)
        return await self.confirm(drafts, quotations, until) | await self._process(confirmed, until)

    async def _process(self, numbers: Sequence[int], until: float) -> dict[int, Outcome]:
        """Process confirmed sales that Tryton has not processed itself; where that fails they stay as they are."""
        answer = await self._call("process", list(numbers), until=until) if numbers else None
        if answer is None or answer.failed is None:
            return {}
        return dict.fromkeys(numbers, replace(answer.failed.outcome(steady_clock.now()), kind=Kind.UNKNOWN))

    async def _step(self, step: Step, numbers: Sequence[int], until: float) -> dict[int, Outcome]:
        """Take the sales one step on, all of them that can go; what became of the others."""
        if not numbers:
            return {}
        answer = await self._call(step, list(numbers), until=until)
        if answer.failed is None:
            return {}
        if answer.failed.kind is not Kind.REFUSED:
            return dict.fromkeys(numbers, replace(answer.failed.outcome(steady_clock.now()), kind=Kind.UNKNOWN))
        if len(numbers) > 1:
            half = len(numbers) // 2
            return await self._step(step, numbers[:half], until) | await self._step(step, numbers[half:], until)
        return await self._refused(step, numbers[0], answer.failed, until)

    async def _refused(self, step: Step, number: int, failed: Tried, until: float) -> dict[int, Outcome]:
        """Cancel the sale that is at fault; one that went on meanwhile, by a call of ours that we gave up, is none."""
        answer = await self._call("read", [number], ["state"], until=until)
        if answer.failed is not None:
            return {number: replace(answer.failed.outcome(steady_clock.now()), kind=Kind.UNKNOWN)}
        if answer.result[0]["state"] != FROM[step]:
            return {}
        await self._call("cancel", [number], until=until)  # where that fails, a later find tells of it
        return {number: failed.outcome(steady_clock.now())}

    async def _call(self, method: str, *parameters: object, until: float) -> RpcAnswer:
        return await self._rpc.call(f"{SALE}.{method}", *parameters, until=self._in_time(until))

    def _in_time(self, until: float) -> float:
        return min(until, asyncio.get_running_loop().time() + self._timeout)
