"""What the simulated ERP has: a file with one JSON line for each effect, which is all that it remembers.

A line is written to the operating system before the order is answered, so killing the simulator loses no answered
order, and a test can compare the file with the journal. Repeated submissions, which have no effect, are counted in a
file beside it (`.repeats`); what is forgotten on purpose is moved to another (`.forgotten`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NotRequired, TypedDict
from uuid import UUID


class BookLine(TypedDict):
    """What was accepted of one line, in boxes, and why less; in whose place, and what comes later, where that is so."""

    line: int
    product: str
    accepted: int
    reason: str | None
    substitute: NotRequired[str]
    back_ordered: NotRequired[int]
    expected: NotRequired[str]


class Effect(TypedDict):
    """One order that the ERP took: `refused` says why it was refused after all, `confirm_at` when that is decided,
    `traceparent` the span of the call that brought it.
    """

    id: str
    digest: str
    received_at: str
    reference: str
    pharmacy: str
    order_reference: str
    lines: list[BookLine]
    confirm_at: NotRequired[str]
    refused: NotRequired[str]
    traceparent: NotRequired[str]


class Book:
    """The effects, in the order in which they happened. One process at a time holds a book."""

    def __init__(self, file: Path) -> None:
        """Read what the file holds; a last line that was cut off was never answered for, and is dropped.

        Raises BlockingIOError when another process holds the file.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        self._path = file
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.ids: list[str] = []
        self._repeats_fd = os.open(_beside(file, "repeats"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.repeats = sum(1 for _ in _whole_lines(_beside(file, "repeats")))
        self._first: dict[str, int] = {}
        self._forgotten = _count(_beside(file, "forgotten"))
        self._starts = array("Q", [0])
        self._times = array("d")
        for line in _whole_lines(file):
            effect: Effect = json.loads(line)
            self._note(effect["id"], len(line), datetime.fromisoformat(effect["received_at"]).timestamp())
        os.ftruncate(self._fd, self._starts[-1])

    @property
    def given(self) -> int:
        """How many effects there ever were, those forgotten too: no reference is given twice."""
        return len(self.ids) + self._forgotten

    def find(self, order_id: str) -> Effect | None:
        """The first effect of an order."""
        number = self._first.get(order_id)
        return None if number is None else self._read(number)

    def add(self, effect: Effect) -> None:
        """Write an effect down; on return it is with the operating system."""
        line = _line(effect)
        os.write(self._fd, line)
        self._note(effect["id"], len(line), datetime.fromisoformat(effect["received_at"]).timestamp())

    def repeat(self, order_id: str) -> None:
        """Count a submission that had no effect."""
        self.repeats += 1
        os.write(self._repeats_fd, json.dumps({"id": order_id, "at": stamp()}).encode() + b"\n")

    def forget(self, *, since: datetime | None = None, last: float = 0.0) -> list[str]:
        """Lose the effects from `since` on, or the `last` share of them, as a restore from backup does; their ids."""
        keep = round(len(self.ids) * (1.0 - last))
        if since is not None:
            keep = bisect_left(self._times, since.timestamp())
        lost, start = self.ids[keep:], self._starts[keep]
        with _beside(self._path, "forgotten").open("ab") as forgotten:
            forgotten.write(os.pread(self._fd, self._starts[-1] - start, start))
        os.ftruncate(self._fd, start)
        self._forgotten += len(lost)
        del self.ids[keep:], self._starts[keep + 1 :], self._times[keep:]
        self._first = {order_id: number for number, order_id in reversed(list(enumerate(self.ids)))}
        return lost

    def listed(
        self, since: datetime, until: datetime, after: int | None, limit: int
    ) -> tuple[list[Effect], int | None]:
        """Up to `limit` effects from `since` on and before `until`, after the effect number `after`; and the last
        one's number when others follow.
        """
        start = bisect_left(self._times, since.timestamp()) if after is None else max(after, -1) + 1
        end = bisect_left(self._times, until.timestamp())
        numbers = range(start, min(end, start + limit))
        more = bool(numbers) and numbers[-1] + 1 < end
        return [self._read(number) for number in numbers], numbers[-1] if more else None

    def alter(self, order_id: str, changes: Mapping[str, object]) -> Effect:
        """Change an effect, as who has got into the ERP's store can. Raises KeyError."""
        number = self._first[order_id]
        effect: Effect = {**self._read(number), **changes}  # type: ignore[typeddict-item]
        start, end = self._starts[number], self._starts[number + 1]
        line = _line(effect)
        following = os.pread(self._fd, self._starts[-1] - end, end)
        os.ftruncate(self._fd, start)
        os.write(self._fd, line + following)
        longer = len(line) - (end - start)
        self._starts[number + 1 :] = array("Q", (offset + longer for offset in self._starts[number + 1 :]))
        return effect

    def close(self) -> None:
        """Let another process have the file."""
        os.close(self._fd)
        os.close(self._repeats_fd)

    def _read(self, number: int) -> Effect:
        start, end = self._starts[number], self._starts[number + 1]
        effect: Effect = json.loads(os.pread(self._fd, end - start, start))
        return effect

    def _note(self, order_id: str, length: int, when: float) -> None:
        self._first.setdefault(order_id, len(self.ids))
        self.ids.append(order_id)
        self._starts.append(self._starts[-1] + length)
        self._times.append(when)


def planted_effect(order_id: UUID) -> Effect:
    """An effect of an order that never came over the wire."""
    return {
        "id": str(order_id),
        "digest": hashlib.sha256(order_id.bytes).hexdigest(),
        "received_at": stamp(),
        "reference": f"PLANTED-{order_id.hex[:8]}",
        "pharmacy": "nobody",
        "order_reference": "",
        "lines": [],
    }


def read_effects(file: Path) -> Iterator[Effect]:
    """The effects in a simulator's file, whether or not it is running."""
    return (json.loads(line) for line in _whole_lines(file))


def stamp(when: datetime | None = None) -> str:
    """A time, now by default, as the file has it: UTC with microseconds."""
    return (when or datetime.now(UTC)).isoformat(timespec="microseconds")


def _line(effect: Effect) -> bytes:
    return json.dumps(effect, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _whole_lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield line


def _count(file: Path) -> int:
    return sum(1 for _ in _whole_lines(file)) if file.exists() else 0


def _beside(file: Path, what: str) -> Path:
    return file.with_name(f"{file.name}.{what}")
