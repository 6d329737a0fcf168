"""What an error has to say, for a person and for a log."""

from __future__ import annotations

import os
import re
from typing import Final

ASYNCIO: Final = "Connect call failed"  # how it begins what the operating system says better


def said(error: BaseException) -> BaseException:
    """What the driver itself raised, without SQLAlchemy's frame around it, its statement and parameters."""
    original: BaseException | None = getattr(error, "orig", None)
    return error if original is None else original.__cause__ or original


def first_line(error: BaseException) -> str:
    """The first line of what an error has to say, its class where it says nothing."""
    own = said(error)
    if isinstance(own, OSError) and own.errno and str(own.strerror).startswith(ASYNCIO):
        return os.strerror(own.errno)
    return (str(own).splitlines() or [type(own).__name__])[0]


def plain(message: str) -> str:
    """What pydantic says of a value, without its own words: `must be a valid integer`."""
    message = message.replace("Value error, ", "").replace("Input should be", "must be")
    return re.sub(r"(must be a valid [^,]+), .*", r"\1", message)
