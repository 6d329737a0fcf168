"""What an error has to say, for a person and for a log."""

from __future__ import annotations

import os
import re
from typing import Final

ASYNCIO: Final = "Connect call failed"  # how it begins what the operating system says better
NUMBERED: Final = re.compile(r"Err(?:or|no) (\d+)\b")  # an error of the operating system, in a library's words
REDIS: Final = re.compile(r"Error -?\d+ connecting to \S+\. (.+)\.")  # as redis-py has it


def said(error: BaseException) -> BaseException:
    """What the driver itself raised, without SQLAlchemy's frame around it, its statement and parameters."""
    original: BaseException | None = getattr(error, "orig", None)
    return error if original is None else original.__cause__ or original


def first_line(error: BaseException) -> str:
    """The first line of what an error has to say, its class where it says nothing. Of a connection that came to nothing
    what the operating system says, without the words of the library that tried.
    """
    own = said(error)
    first = (str(own).splitlines() or [type(own).__name__])[0]
    if ASYNCIO in first and (numbered := NUMBERED.search(first)):
        return os.strerror(int(numbered[1]))
    redis = REDIS.fullmatch(first)
    return redis[1] if redis else first


def plain(message: str) -> str:
    """What pydantic says of a value, without its own words: `must be a valid integer`."""
    message = message.replace("Value error, ", "").replace("Input should be", "must be")
    return re.sub(r"(must be a valid [^,]+), .*", r"\1", message)
