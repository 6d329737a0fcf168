"""What was read from Tryton, for as long as it is believed."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable
from typing import Final, Generic, TypeVar

KEPT: Final = 300.0  # seconds: a price that was changed holds for new orders after that

Key = TypeVar("Key", bound=Hashable)
Of = TypeVar("Of")


class ReadCache(Generic[Key, Of]):
    """What was read, and when."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[float, Of]] = {}

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """Those that have to be asked for, each once."""
        old = time.monotonic() - KEPT
        return [key for key in dict.fromkeys(keys) if key not in self._known or self._known[key][0] <= old]

    def keep(self, key: Key, found: Of) -> None:
        """It was read now."""
        self._known[key] = time.monotonic(), found

    def get(self, key: Key) -> Of | None:
        """What was read last, None where nothing was."""
        return self._known[key][1] if key in self._known else None
