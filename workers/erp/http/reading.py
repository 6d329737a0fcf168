"""The answers to a find and a list, and whatever is no success of the contract's, off the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from aiohttp import ClientResponse

from config.retry_after import pause_asked
from workers.erp.attempts import Tried
from workers.erp.failures import of_status
from workers.erp.http.answers import keeping, read_found, read_refusal
from workers.erp.http.listing import read_page
from workers.erp.port import Kind
from workers.erp.transport import any_body, json_body


async def found_in(ids: Sequence[UUID], response: ClientResponse) -> Tried:
    """What the ERP says of orders that were asked about. Raises Unfit."""
    if response.status == 200:
        with keeping(await json_body(response)) as raw:
            return Tried(Kind.ACCEPTED, status=200, found=read_found(raw, ids))
    return await refused_or_failed(response)


async def page_in(since: datetime, until: datetime, after: str | None, response: ClientResponse) -> Tried:
    """What the ERP says of the orders that it holds. Raises Unfit."""
    if response.status == 200:
        return Tried(Kind.ACCEPTED, status=200, page=read_page(await json_body(response), since, until, after))
    return await refused_or_failed(response)


async def refused_or_failed(response: ClientResponse) -> Tried:
    """What an answer means that is no success of the contract's. Raises Unfit."""
    status, failure = response.status, of_status(response.status)
    if failure.kind is Kind.REFUSED:
        return Tried(Kind.REFUSED, read_refusal(await any_body(response)), status)
    asked = pause_asked(response.headers.get("Retry-After"))
    return Tried(failure.kind, f"{status}: {failure.says}", status, retry_after=asked, failure=failure)
