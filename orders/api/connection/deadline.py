"""How long a connection may go on with what it is at. A body's time grows with its bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

NEVER: Final = float("inf")
TIMES: Final = {  # seconds, by what a connection is at
    "silent": 20.0,  # the first head, from the connection's first moment
    "head": 20.0,
    "body": 20.0,  # without a byte of it
    "idle": 75.0,  # between two requests
    "busy": NEVER,
    "linger": NEVER,
}
BODY_RATE: Final = 500  # bytes a second of a body, at least
UNREAD_TIME: Final = 60.0  # seconds in which a client takes nothing of an answer


class Deadline:
    """Of one connection: what it is at, and when that has lasted too long."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is the event loop's clock."""
        self.why = "silent"
        self._now = now
        self._due = NEVER
        self._paused = 0.0  # seconds for which nothing of a body was read, since nobody wanted it
        self._stuck = NEVER  # since when the client has taken nothing

    def wait(self, why: str) -> None:
        """From now on it is at this, one of TIMES, and has so long."""
        self.why = why
        self._due = self._now() + TIMES[why]

    def put_off(self, count: int) -> None:
        """So many bytes of a body came, which buy it time."""
        self._paused = 0.0
        self._due = min(self._due + count / BODY_RATE, self._now() + TIMES["body"])

    def stuck(self) -> None:
        """The client takes nothing of what it is sent."""
        self._stuck = self._now()

    def unstuck(self) -> None:
        """It takes it again."""
        self._stuck = NEVER

    def overdue(self, now: float, *, unwanted: bool) -> str | None:
        """Why it has lasted too long, if it has. A body that is `unwanted` for now is not waited for."""
        if self._stuck + UNREAD_TIME < now and (self.why not in ("body", "linger") or self._paused > UNREAD_TIME):
            return "unread"
        if self._due >= now:
            return None
        if self.why == "body" and unwanted:
            self.wait("body")
            self._paused += TIMES["body"]
            return None
        return self.why if self.why != "linger" else None
