"""When a child that we run counts as ready: it answers over HTTP, or its log says so."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import aiohttp

from config.embedded.service import Ready

ANYWAY: Final = 10.0  # s


class ReadyLine:
    """Ready once the log has said `ready` since `begin`; after ten seconds of life also if it logs too little."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = 0
        self._since = 0.0

    def begin(self) -> None:
        """Look only at what is logged from now on."""
        self._offset = self._log.stat().st_size if self._log.exists() else 0
        self._since = time.monotonic()

    async def __call__(self) -> bool:
        """True once it is ready."""
        return time.monotonic() - self._since > ANYWAY or b"ready" in self._news()

    def _news(self) -> bytes:
        size = self._log.stat().st_size
        with self._log.open("rb") as file:
            file.seek(self._offset if self._offset <= size else 0)
            return file.read()


def answers(url: str) -> Ready:
    """Ready once a GET of `url` is answered with 200."""

    async def ask() -> bool:
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    return ask
