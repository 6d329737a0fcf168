"""What an error has to say, for a person and for a log."""

from __future__ import annotations


def said(error: BaseException) -> BaseException:
    """What the driver itself raised, without SQLAlchemy's frame around it, its statement and parameters."""
    original: BaseException | None = getattr(error, "orig", None)
    return error if original is None else original.__cause__ or original


def first_line(error: BaseException) -> str:
    """The first line of what an error has to say, its class where it says nothing."""
    own = said(error)
    return (str(own).splitlines() or [type(own).__name__])[0]
