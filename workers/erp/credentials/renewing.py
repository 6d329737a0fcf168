"""Something that is handed out for a time: had before it is needed, renewed before it ends, by one at a time.

Whoever hands it out and refuses is not asked again for a while: two hundred orders must not become two hundred wrong
passwords, which would lock the account.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Final, NamedTuple

from workers.erp.credentials.shown import Shown, TokenAsk
from workers.erp.failures import Met, Unfit

EARLY: Final = 30.0  # seconds before its end at which it is renewed, or a quarter of its life where that is shorter
REST: Final = 5.0  # seconds that nobody is asked who refused
FRESH: Final = 1.0  # seconds for which a 401 to something new does not make another


class Had(NamedTuple):
    """What was handed out: how it is shown, and for how many seconds it holds, None where it is not said."""

    shown: Shown
    lasts: float | None


class Renewing(ABC):
    """One of these; `_obtain` says how it is had."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._had: Shown | None = None
        self._since = self._ends = 0.0
        self._refusal = ""
        self._rests = 0.0

    async def shown(self, ask: TokenAsk, until: float, refused: Shown | None = None) -> Shown:
        """What is held, renewed where its end is near or it was `refused`. Raises Unfit."""
        if (held := self._held(refused)) is not None:
            return held
        try:
            async with asyncio.timeout_at(until), self._one_at_a_time:
                if (held := self._held(refused)) is not None:
                    return held
                return await self._renewed(ask, until)
        except TimeoutError:
            raise Unfit(Met.NO_CREDENTIALS, "none was handed out in time") from None

    def _held(self, refused: Shown | None) -> Shown | None:
        """What is held, unless it is to be renewed."""
        now = asyncio.get_running_loop().time()
        if self._had is None or now >= self._ends:
            return None
        if refused is not None and refused.serial == self._had.serial and now - self._since > FRESH:
            return None
        return self._had

    async def _renewed(self, ask: TokenAsk, until: float) -> Shown:
        now = asyncio.get_running_loop().time()
        if now < self._rests:
            raise Unfit(Met.NO_CREDENTIALS, self._refusal)
        serial = 1 if self._had is None else self._had.serial + 1
        try:
            had = await self._obtain(ask, until)
        except Unfit as error:
            if error.met is Met.HELD:
                raise
            self._refusal, self._rests, self._ends = error.detail, now + REST, 0.0
            raise
        self._had = Shown(had.shown.headers, had.shown.secrets, serial)
        self._since = now
        self._ends = float("inf") if had.lasts is None else now + had.lasts - min(EARLY, had.lasts / 4)
        return self._had

    @abstractmethod
    async def _obtain(self, ask: TokenAsk, until: float) -> Had:
        """Another one. Raises Unfit."""
