"""Where an intake keeps what comes now, as it says itself.

An answer that does not come in time says nothing: such an intake may well take orders. That nobody listens there, or
somebody else, is known.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from config.errors import first_line

ANSWER_TIMEOUT: Final = 2.0  # seconds
READY: Final = ("journal", "spill")
MODES: Final = (*READY, "refusing")


@dataclass(frozen=True, slots=True)
class IntakeAnswer:
    """What the intake at `url` says: `mode` is journal, spill or refusing, `since` when; its journal last answered it
    at `journal_answered_at`. Where it says nothing, `mode` is None and `error` tells why; `silent` means that it only
    did not answer in time.
    """

    url: str
    mode: str | None
    since: datetime | None = None
    journal_answered_at: datetime | None = None
    error: str | None = None
    silent: bool = False

    @property
    def ready(self) -> bool | None:
        """Whether it takes orders; None when that is not known."""
        return None if self.silent else self.mode in READY


async def ask_intake(url: str) -> IntakeAnswer:
    """Ask it where it keeps what comes now; raises nothing that it or the way to it can do."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            said = json.loads(await _readyz(url))
        if said["mode"] is None:
            return IntakeAnswer(url, None, error="it does not know yet which store takes orders", silent=True)
        since, answered = (_moment(said.get(name)) for name in ("since", "journal_answered_at"))
        return IntakeAnswer(url, MODES[MODES.index(said["mode"])], since, answered)
    except TimeoutError:
        return IntakeAnswer(url, None, error=f"no answer within {ANSWER_TIMEOUT:g} s", silent=True)
    except OSError as error:
        return IntakeAnswer(url, None, error=first_line(error))
    except (ValueError, KeyError, TypeError):
        return IntakeAnswer(url, None, error="what answers there is no intake of Relais")


async def _readyz(url: str) -> bytes:
    place = urlsplit(url)
    secured = place.scheme == "https"
    port = place.port or (443 if secured else 80)
    reader, writer = await asyncio.open_connection(place.hostname, port, ssl=secured or None)
    try:
        writer.write(f"GET {place.path}/readyz HTTP/1.0\r\nHost: {place.netloc}\r\n\r\n".encode())
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return body
    finally:
        writer.close()


def _moment(said: Any) -> datetime | None:
    return None if said is None else datetime.fromisoformat(said)
