"""Tasks that are cancelled and waited for, though a library may swallow what cancels them.

A cancellation that comes as an answer does may be lost in a client library (asyncio's own `wait_for` does so up to
Python 3.11, https://github.com/python/cpython/issues/86296): a task that looks again and again would then go on for
ever, and whoever waits for its end with it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

AGAIN: Final = 2.0  # seconds that the end of one may take; then it is cancelled again


async def ended(*tasks: asyncio.Future[Any] | None) -> None:
    """Cancel them, and return when all have ended; what they raise is nobody's. Those that are None are left out."""
    given = {each for each in tasks if each is not None}
    going = {each for each in given if not each.done()}
    while going:
        for each in going:
            each.cancel()
        _, going = await asyncio.wait(going, timeout=AGAIN)
    for each in given:
        if not each.cancelled():
            each.exception()
