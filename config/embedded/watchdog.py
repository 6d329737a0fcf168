"""The watchdog at the other end of the leash: ends what a supervisor started when the supervisor is gone.

It reads marks from a pipe whose writing end only the supervisor holds. The end of that pipe means that the
supervisor is dead, by whatever death; then everything still marked is ended, the last started first.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import TextIO

from config.embedded.marks import Mark, end


def main() -> None:
    """Guard the marks that come over stdin; signals meant for the supervisor's terminal do not count here."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    end_all(read_marks(sys.stdin))


def read_marks(pipe: TextIO) -> list[Mark]:
    """The marks that are still held when the pipe ends; a line cut short by the supervisor's death is no news."""
    held: dict[int, Mark] = {}
    for line in pipe:
        try:
            news = json.loads(line)
        except ValueError:
            continue
        if "drop" in news:
            held.pop(news["drop"], None)
        else:
            mark = Mark.from_json(news["hold"])
            held[mark.pid] = mark
    return list(held.values())


def end_all(marks: list[Mark]) -> None:
    """End every marked process, highest rank first, each before the next."""
    for mark in sorted(marks, key=lambda each: each.rank, reverse=True):
        end(mark)


if __name__ == "__main__":
    main()
