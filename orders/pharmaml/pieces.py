"""What takes a while is done in pieces of a few tenths of a millisecond, and others have their turn between them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import count
from typing import Final, TypeVar, cast

T = TypeVar("T")
Item = TypeVar("Item")
Pieces = Generator[None, None, T]  # yields between two pieces
Turn = Callable[[], AbstractAsyncContextManager[None]]

AT_ONCE: Final = 50  # lines of a message
SOON: Final = 8  # pieces that are done without waiting for a turn: a message of 16 KiB


def each(do: Callable[[Item], T], items: Sequence[Item]) -> Pieces[list[T]]:
    """What comes of each item, in pieces of AT_ONCE."""
    found: list[T] = []
    for start in range(0, len(items), AT_ONCE):
        yield
        found += map(do, items[start : start + AT_ONCE])
    return found


def whole(work: Pieces[T]) -> T:
    """The result of what is done in pieces, without a break."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast("T", end.value)


async def in_turns(work: Pieces[T], turn: Turn) -> T:
    """The result of what is done in pieces: SOON of them at once, each further one in a turn."""
    for done in count():
        async with turn() if done >= SOON else nullcontext():
            try:
                next(work)
            except StopIteration as end:
                return cast("T", end.value)
    raise AssertionError("there is no last number")
