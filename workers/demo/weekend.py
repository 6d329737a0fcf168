"""The weekend as data: five acts, the hours that each stands for, and its share of the demo's time and orders.

The hours are those of the press: a wholesaler's ordering was attacked on Saturday and came back on Sunday evening.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final


@dataclass(frozen=True, slots=True)
class Scene:
    """One act: what it is called, what happens, from when to when, and its shares (each adds up to 1)."""

    title: str
    sentence: str
    begins: datetime
    ends: datetime
    time: float
    orders: float

    def clock(self, fraction: float) -> datetime:
        """The story's time when this much of the act has passed, 1 being all of it."""
        return self.begins + (self.ends - self.begins) * fraction


def _october(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2024, 10, day, hour, minute)


MORNING: Final = Scene(
    "Saturday morning",
    "1,800 pharmacies order, and the ERP takes what it is sent.",
    _october(19, 8, 30),
    _october(19, 11, 40),
    time=0.17,
    orders=0.15,
)
ATTACK: Final = Scene(
    "The attack",
    "The ERP refuses every connection. The intake goes on.",
    _october(19, 11, 40),
    _october(19, 19),
    time=0.23,
    orders=0.30,
)
WORKER: Final = Scene(
    "The worker dies",
    "SIGKILL to all its processes at once. No pharmacy notices.",
    _october(19, 19),
    _october(20, 9),
    time=0.14,
    orders=0.18,
)
REDIS: Final = Scene(
    "Redis forgets",
    "Its files are deleted, then SIGKILL. The journal has it all.",
    _october(20, 9),
    _october(20, 20),
    time=0.17,
    orders=0.21,
)
RETURN: Final = Scene(
    "Sunday evening",
    "The ERP is back, and slow. All that waits is due: one canary, then more and more.",
    _october(20, 20),
    _october(20, 21, 30),
    time=0.29,
    orders=0.16,
)

ACTS: Final = (MORNING, ATTACK, WORKER, REDIS, RETURN)


def when(moment: datetime) -> str:
    """`Sat 19 Oct 11:40`, in English whatever the locale."""
    days, months = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), {10: "Oct"}
    return f"{days[moment.weekday()]} {moment.day} {months[moment.month]} {moment:%H:%M}"
