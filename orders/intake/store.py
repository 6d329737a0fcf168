"""The port to where spilled orders are kept, on disk before it answers; this room knows no Redis, a store is handed in.

It keeps records in their order, notes by which each is there once, and marks of those that were taken back. It can be
asked by every intake, so that none journals an order whose reference an earlier one in the store has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol


class SpillDown(Exception):
    """The spill cannot be trusted to keep an order: out of reach, full, or not on disk before it answers."""


@dataclass(frozen=True, slots=True)
class Note:
    """What the store remembers of a record so that it is spilled once: a name, and a signed id and digest."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One record, its order's id, and its notes: of its (pharmacy, reference), then of its Idempotency-Key."""

    id: bytes
    raw: bytes
    notes: tuple[Note, ...]


class Put(NamedTuple):
    """What a store says of records: the era, and of each the values that it found of the notes. An era lasts while
    records come; who asks in it finds that the store may hold some.
    """

    era: bytes
    found: list[list[bytes | None]]


class Cancelling(Enum):
    """What came of taking back a record: it is not there, the journal may have it, or it is marked."""

    ABSENT, TAKEN, DONE = range(3)


class Store(Protocol):
    """Where records are kept, on disk before it answers. Whatever is asked of it may raise SpillDown."""

    async def put(self, records: Sequence[Record], *, force: bool = False) -> Put:
        """Append the records, but none of which a note is there already.

        With `force` they are appended whatever is there. Raises SpillDown; the records may be there all the same.
        """
        ...

    async def known(self, names: Sequence[bytes]) -> tuple[bool, list[bytes | None]]:
        """Whether there may be any record, and the values of the notes of these names."""
        ...

    async def find(self, order_id: bytes) -> tuple[bytes | None, bytes | None]:
        """The record of an order, and what it was marked with when it was taken back."""
        ...

    async def cancel(self, order_id: bytes, mark: bytes) -> Cancelling:
        """Mark an order as taken back, unless its record was handed out by `head`."""
        ...

    async def check(self) -> None:
        """Raise SpillDown unless records would be on disk before `put` answers."""
        ...

    async def head(self, count: int) -> list[bytes]:
        """The oldest records, which cannot be taken back any more."""
        ...

    async def marks(self, ids: Sequence[bytes]) -> list[bytes | None]:
        """What each of these orders was marked with when it was taken back."""
        ...

    async def drop(
        self, records: Sequence[bytes], ids: Sequence[bytes], names: Sequence[bytes], aside: Sequence[int] = ()
    ) -> bool:
        """Drop these records, if they are still the oldest, with the notes of these names and all of these ids; those
        at these places among them are kept aside.
        """
        ...

    async def aside(self, passed: int, count: int) -> list[bytes]:
        """So many records of those kept aside, without the `passed` that were first."""
        ...

    async def take_aside(self, record: bytes) -> None:
        """Drop a record that was kept aside."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
