"""A page of the orders that an ERP holds, as its profile asks for it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from workers.erp import steady_clock
from workers.erp.attempts import Tried, unasked
from workers.erp.failures import TABLE, Met, Unfit
from workers.erp.port import Listed, Listing
from workers.erp.rest.calls import RestCalls
from workers.erp.rest.described import Described
from workers.erp.rest.given import told
from workers.erp.rest.records import Records

MOST_CURSOR: Final = 500  # characters


async def page(
    profile: Described,
    calls: RestCalls,
    records: Records,
    since: datetime,
    until: datetime,
    after: str | None,
    limit: float,
) -> Listing:
    """Of a profile that can list, by the loop's time `limit`; `failed` when nothing was told."""
    started, part = steady_clock.now(), profile.profile.listing
    if part is None or profile.listing is None:
        return Listing(failed=Tried(TABLE[Met.UNFORESEEN].kind, "the profile cannot list").outcome(started))
    place = None if after is None else json.loads(after)
    given = {"since": told(since), "until": told(until), "after": place, "limit": part.most}
    answer = await calls.calmly(profile.listing, given, limit)
    if not answer.well:
        return Listing(failed=unasked(answer.tried).outcome(started))
    try:
        return _read(part.records.of(answer.said), part.cursor.of, part.most, records)
    except Unfit as error:
        failure = TABLE[error.met]
        tried = Tried(failure.kind, f"{failure.says}: {error.detail}", answer.tried.status, failure=failure)
        return Listing(failed=unasked(tried).outcome(started))


def _read(found: Any, cursor: Any, most: int, records: Records) -> Listing:
    """Raises Unfit."""
    if not isinstance(found, list) or len(found) > most:
        raise Unfit(Met.UNPARSABLE, "list.records: no list, or more than were asked for")
    listed: list[Listed] = [each for each in map(records.listed, found) if each is not None]
    if len(found) < most:
        return Listing(tuple(listed))
    following = json.dumps(cursor(found[-1]))
    if following == "null" or len(following) > MOST_CURSOR:
        raise Unfit(Met.UNPARSABLE, "list.cursor: nothing to go on from")
    return Listing(tuple(listed), following)
