"""What the ERP has under the names of the mapping, asked for once and kept for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from workers.erp.attempts import Tried
from workers.erp.port import Kind, Mapped
from workers.erp.rest.calls import RestCalls
from workers.erp.rest.described import Described

KEPT: Final = 300.0  # seconds
MOST_KEPT: Final = 50_000

Kept = tuple[str, str]


class LookUps:
    """The customers and articles of one ERP. What it does not have is asked for again each time."""

    def __init__(self, profile: Described, calls: RestCalls) -> None:
        self._profile, self._calls = profile, calls
        self._known: dict[Kept, tuple[float, Any]] = {}

    async def learn(self, mapped: Sequence[Mapped], until: float) -> dict[Kept, Tried]:
        """Ask for what is not known of these; of what could not be had, why."""
        asked = {("customer", each.customer) for each in mapped}
        asked |= {("article", article) for each in mapped for article in each.articles}
        now = time.monotonic()
        wanted = [
            each
            for each in sorted(asked)
            if each[0] in self._profile.look_ups and (each not in self._known or now - self._known[each][0] > KEPT)
        ]
        if len(self._known) + len(wanted) > MOST_KEPT:
            self._known.clear()
        failed = await asyncio.gather(*(self.ask(*each, until) for each in wanted))
        return {each: tried for each, tried in zip(wanted, failed, strict=True) if tried is not None}

    def get(self, kind: str, code: str) -> Any:
        """What the ERP has under a code; None where it has nothing, or is not asked."""
        found = self._known.get((kind, code))
        return None if found is None else found[1]

    async def ask(self, kind: str, code: str, until: float) -> Tried | None:
        """Ask for what the ERP has under a code; why it could not be had, without a failure where there is nothing."""
        request = self._profile.look_ups[kind]  # type: ignore[index]
        part = self._profile.profile.look_up[kind]  # type: ignore[index]
        answer = await self._calls.calmly(request, {"code": code}, until)
        if not answer.well and answer.tried.status not in (404, 410):
            return answer.tried
        found = part.found.of(answer.said) if answer.well else None
        if found is None:
            return Tried(Kind.REFUSED, f"the ERP has no {kind} {code}")
        self._known[kind, code] = time.monotonic(), found
        return None
