"""Cursors: where a page of a list ends, so that the next one begins there, whatever was written meanwhile.

A cursor is opaque, and signed for its page and filter: one of another page, or one that somebody made up, is refused,
never misread. The key is random, in the journal, and the same for all its consoles: a link that a colleague sends
works, and goes on working when a console starts again. A cursor is a position, no right to anything.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.errors import Fault, Malformed
from orders.refusals import NotDone
from orders.sentences import Sentence

T = TypeVar("T")

MAKE: Final = text("INSERT INTO console_secrets (name, secret) VALUES ('cursors', :secret) ON CONFLICT DO NOTHING")
READ: Final = text("SELECT secret FROM console_secrets WHERE name = 'cursors'")


@dataclass(slots=True)
class Cursors:
    """Signs cursors and reads them, once the journal has given its key."""

    engine: AsyncEngine
    key: bytes | None = None

    async def fetch_key(self) -> None:
        """Read the journal's key, made when there is none. Raises what the journal raises."""
        async with self.engine.connect() as connection:
            found = (await connection.execute(READ)).scalar()
            if found is None:
                await connection.execute(MAKE, {"secret": secrets.token_bytes(32)})
                found = (await connection.execute(READ)).scalar_one()
        self.key = bytes(found)

    def sign(self, page: str, values: Sequence[Any]) -> str:
        """A cursor at `values`, which JSON can write (ids and times as text); `page` names the page and its filter."""
        return str(self._signer(page).dumps(list(values)))

    def read(self, page: str, cursor: str | None, *kinds: Callable[[Any], Any]) -> tuple[Any, ...] | None:
        """What was signed for this very page, each value of its kind; None for no cursor. Raises Malformed."""
        if not cursor:
            return None
        try:
            return tuple(kind(value) for kind, value in zip(kinds, self._signer(page).loads(cursor), strict=True))
        except (BadData, ValueError):
            raise Malformed([Fault("after", None, Sentence(NotDone.NO_PLACE))]) from None

    def cut(
        self, page: str, rows: Sequence[T], most: int, place: Callable[[T], Sequence[Any]]
    ) -> tuple[Sequence[T], str | None]:
        """The first `most` rows, and the cursor to what follows; None when nothing does."""
        return rows[:most], self.sign(page, place(rows[most - 1])) if len(rows) > most else None

    def _signer(self, page: str) -> URLSafeSerializer:
        if self.key is None:
            raise ConnectionError("the journal has not been reached since this console started")
        how = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        return URLSafeSerializer(self.key, salt=page.encode(), signer_kwargs=how)
