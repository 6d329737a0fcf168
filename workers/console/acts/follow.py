"""Work of an act that goes on beside it: followed until it is done, and cut short where it is when it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from orders.sentences import Sentence, sentence_of
from workers.console.acts.act import Running, Stopped

T = TypeVar("T")

LOOK_EVERY: Final = 0.5  # seconds between two looks at how far it is


@dataclass(slots=True)
class Reached:
    """How far the work is, on whichever thread: `done` of about `total`, and what there is to say of it."""

    done: int = 0
    total: int | None = None
    note: Sentence | None = None

    def at(self, done: int, total: int, note: str = "") -> None:
        """To be called by the work."""
        self.done, self.total, self.note = done, total or None, sentence_of(note or None)


async def followed(work: Coroutine[Any, Any, T], reached: Reached, running: Running) -> T:
    """Do it and tell how far it is; ends it, and raises Stopped, when somebody asked to stop before it was done."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await running.at(reached.done, reached.total, reached.note)
            await asyncio.wait({task}, timeout=LOOK_EVERY)
        done = task.result()
        with suppress(Stopped):  # it is done: nobody can stop it any more
            await running.at(reached.done, reached.total, reached.note)
        return done
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
