"""The calls on sales orders that the connector makes: make many, find by reference, page through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit
from uuid import UUID

from pydantic_core import from_json

from workers.erp.attempts import Tried
from workers.erp.failures import TABLE, Met, printable
from workers.erp.odata import sales_orders
from workers.erp.odata.batching import Change, Part, Query
from workers.erp.odata.errors import failed
from workers.erp.odata.options import OdataOptions
from workers.erp.odata.sales_orders import SalesOrder, listed
from workers.erp.odata.session import OdataSession
from workers.erp.port import Listed, Submission

MOST_ASKED: Final = 20  # references in one query, of which a $batch has several
MOST_QUERIES: Final = 5
MOST_LISTED: Final = 500  # sales orders in a page
MOST_PAGES: Final = 50  # that one query is answered with
DAY: Final = timedelta(days=1)  # SAP's days are of its own time zone

Of = TypeVar("Of")
Page = tuple[list[Of], str | None]  # and the path of those that follow


class Made(NamedTuple):
    """What SAP answered to each order, None where it went no further, and the sales orders that it then had."""

    answers: list[Part | None]
    found: list[SalesOrder]


class SalesOrderCalls:
    """The sales orders of one service. Every method's `until` is a time of the running loop."""

    def __init__(self, session: OdataSession, own: OdataOptions, timeout: float) -> None:
        """No call takes longer than `timeout` seconds."""
        self._session, self._own, self._timeout = session, own, timeout

    async def make(self, orders: Sequence[Submission], until: float) -> Made | Tried:
        """Make a sales order of each, and read what is there then, in one call; or how all of it failed."""
        changes = [Change(sales_orders.ENTITIES, sales_orders.values(each, self._own)) for each in orders]
        queries = [Query(each) for each in self._queries([each.id for each in orders])]
        told = await self._batch([*changes, *queries], until)
        if isinstance(told, Tried):
            return told
        answers: list[Part | None] = [*told[: len(changes)], *[None] * (len(changes) - len(told))]
        read = await self._all(told[len(changes) :], until)
        return Made(answers, [] if isinstance(read, Tried) else read)

    async def of(self, ids: Sequence[UUID], until: float) -> list[SalesOrder] | Tried:
        """The sales orders that bear these ids, or why they could not be read."""
        queries = self._queries(ids)
        found: list[SalesOrder] = []
        for start in range(0, len(queries), MOST_QUERIES):
            some = queries[start : start + MOST_QUERIES]
            told = await self._batch([Query(each) for each in some], until)
            if not isinstance(told, Tried) and len(told) < len(some):
                told = _unreadable(f"{len(told)} answers for {len(some)} queries")
            read = told if isinstance(told, Tried) else await self._all(told, until)
            if isinstance(read, Tried):
                return read
            found += read
        return found

    async def page(
        self, since: datetime, end: datetime, after: str | None, until: float
    ) -> Page[Listed | None] | Tried:
        """Some sales orders of these days in the turn of their numbers, and how to ask for those that follow."""
        told = await self._batch([Query(after or self._listing(since, end, ""))], until)
        if isinstance(told, Tried):
            return told
        rows = _rows(told[0], lambda row: (row["SalesOrder"], listed(row))) if told else _unreadable("no answer")
        if isinstance(rows, Tried):
            return rows
        read, more = rows
        if more is None and len(read) == MOST_LISTED:
            more = self._listing(since, end, str(read[-1][0]))
        return [each for _, each in read], None if more == after else more

    async def _batch(self, operations: Sequence[Change | Query], until: float) -> list[Part] | Tried:
        return await self._session.batch(operations, min(until, asyncio.get_running_loop().time() + self._timeout))

    def _queries(self, ids: Sequence[UUID]) -> list[str]:
        parts = (ids[start : start + MOST_ASKED] for start in range(0, len(ids), MOST_ASKED))
        return [
            _path(
                sales_orders.selection(self._own),
                " or ".join(f"PurchaseOrderByCustomer eq '{sales_orders.reference(each)}'" for each in part),
            )
            for part in parts
        ]

    def _listing(self, since: datetime, end: datetime, beyond: str) -> str:
        days = (
            f"CreationDate ge {sales_orders.as_day(since - DAY)} and CreationDate le {sales_orders.as_day(end + DAY)}"
            f" and SalesOrganization eq '{self._own.sales_organization}'"
        )
        place = f" and SalesOrder gt '{beyond}'" if beyond else ""
        options = f"$select=SalesOrder,PurchaseOrderByCustomer,CreationDate&$orderby=SalesOrder&$top={MOST_LISTED}"
        return _path(options, days + place)

    async def _all(self, parts: Sequence[Part], until: float) -> list[SalesOrder] | Tried:
        """What queries were answered with, further pages too where SAP cuts them."""
        found: list[SalesOrder] = []
        for _ in range(MOST_PAGES):
            following = []
            for part in parts:
                rows = _rows(part, lambda row: sales_orders.read(row, self._own))
                if isinstance(rows, Tried):
                    return rows
                found += rows[0]
                following += [] if rows[1] is None else [Query(rows[1])]
            if not following:
                return found
            told = await self._batch(following, until)
            if isinstance(told, Tried) or len(told) < len(following):
                return told if isinstance(told, Tried) else _unreadable("a page is missing")
            parts = told
        return _unreadable(f"over {MOST_PAGES} pages")


def _rows(part: Part, read: Callable[[Mapping[str, Any]], Of]) -> Page[Of] | Tried:
    """What a query is answered with."""
    if part.status != 200:
        return failed(part.status, part.headers, part.body)
    try:
        told = from_json(part.body)["d"]
        rows = told if isinstance(told, list) else told["results"]
        more = None if isinstance(told, list) else told.get("__next")
        return [read(row) for row in rows], None if more is None else _following(more)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        return _unreadable(printable(f"{type(error).__name__}: {error}"))


def _following(link: str) -> str:
    """The path that a `__next` leads to, in the very service that was asked, whatever host it names."""
    found = urlsplit(link)
    if found.path.rpartition("/")[2] != sales_orders.ENTITIES:
        raise ValueError("the next page is of something else")
    return f"{sales_orders.ENTITIES}?{found.query}"


def _path(options: str, clause: str) -> str:
    return f"{sales_orders.ENTITIES}?{options}&$filter={quote(clause, safe='')}"


def _unreadable(why: str) -> Tried:
    failure = TABLE[Met.UNPARSABLE]
    return Tried(failure.kind, f"{failure.says}: {why}", 200, failure=failure)
