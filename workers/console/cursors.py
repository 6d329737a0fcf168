"""Cursors: where a page of a list ends, so that the next one begins there, whatever was written meanwhile.

A cursor is opaque, and bound to its page and filter by an HMAC: one of another page, or one that somebody made up, is
refused, never misread. The key is random, in the journal, and the same for all its consoles: a link that a colleague
sends works, and goes on working when a console starts again. A cursor is a position, no right to anything.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.errors import Fault, Malformed

if TYPE_CHECKING:
    from workers.console.state import ConsoleState

LONGEST: Final = 1024  # characters of a cursor
MARK: Final = 16  # bytes of the HMAC

MAKE: Final = text("INSERT INTO console_secrets (name, secret) VALUES ('cursors', :secret) ON CONFLICT DO NOTHING")
READ: Final = text("SELECT secret FROM console_secrets WHERE name = 'cursors'")


async def secret_of(engine: AsyncEngine) -> bytes:
    """The journal's key for cursors, made when there is none. Raises what the journal raises."""
    async with engine.connect() as connection:
        found = (await connection.execute(READ)).scalar()
        if found is None:
            await connection.execute(MAKE, {"secret": secrets.token_bytes(32)})
            found = (await connection.execute(READ)).scalar_one()
    return bytes(found)


def seal(desk: ConsoleState, page: str, values: Sequence[Any]) -> str:
    """A cursor at `values`, which JSON can write (ids and times as text); `page` names the page and its filter."""
    said = json.dumps(list(values), separators=(",", ":"), ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(_mark(desk, page, said) + said).decode().rstrip("=")


def open(desk: ConsoleState, page: str, text: str) -> list[Any]:
    """What was sealed for this very page. Raises Malformed for anything else."""
    whole = _bytes(text)
    said = whole[MARK:]
    if not hmac.compare_digest(whole[:MARK], _mark(desk, page, said)):
        raise Malformed([Fault("after", None, "is no place in this list: begin at its first page")])
    return list(json.loads(said))


def _bytes(text: str) -> bytes:
    """Empty for what is none of our writing at all."""
    if len(text) > LONGEST:
        return b""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return b""


def _mark(desk: ConsoleState, page: str, said: bytes) -> bytes:
    if desk.secret is None:
        raise ConnectionError("the journal has not been reached since this console started")
    return hmac.digest(desk.secret, page.encode() + b"\0" + said, "sha256")[:MARK]
