"""What one request shows of who we are, and the file that a secret is read from."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeVar

from aiohttp import ClientResponse

from workers.erp.failures import Met, Unfit

BLANK: Final = "***"
SHORTEST: Final = 4  # characters of a secret that is looked for in what an ERP says


@dataclass(frozen=True, slots=True)
class Shown:
    """Headers of a request, and the secrets in them; `serial` tells one token from the next."""

    headers: Mapping[str, str]
    secrets: tuple[str, ...] = field(default=(), repr=False)
    serial: int = 0

    def blanked(self, words: str) -> str:
        """Words of the ERP's in which no secret of ours is left."""
        for secret in self._written():
            words = words.replace(secret, BLANK)
        return words

    def blanked_bytes(self, answer: bytes) -> bytes:
        """As `blanked`, an answer as it came."""
        for secret in self._written():
            answer = answer.replace(secret.encode(), BLANK.encode())
        return answer

    def _written(self) -> set[str]:
        """Each secret as it stands in a text and in JSON."""
        secrets = [each for each in self.secrets if len(each) >= SHORTEST]
        return {*secrets, *(json.dumps(each)[1:-1] for each in secrets)}


ANONYMOUS: Final = Shown({})


def bearing(token: str) -> Shown:
    """A bearer token (RFC 6750, 2.1)."""
    return Shown({"Authorization": f"Bearer {token}"}, (token,))


Told = TypeVar("Told")


class TokenAsk(Protocol):
    """A request to who hands out tokens, a POST to a URL or to a path of the ERP's, by the loop's time `until`: what
    `read` makes of the answer.
    """

    def __call__(
        self,
        url: str,
        body: bytes,
        content_type: str,
        headers: Mapping[str, str],
        until: float,
        read: Callable[[ClientResponse], Awaitable[Told]],
    ) -> Awaitable[Told]:
        """Raises Unfit."""


def secret_in(file: Path) -> str:
    """What a secret's file holds now, without the newline at its end. Raises Unfit, which names the file alone."""
    try:
        secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise Unfit(Met.NO_CREDENTIALS, f"{file} is not UTF-8") from None
    except OSError as error:
        raise Unfit(Met.NO_CREDENTIALS, f"{file} cannot be read: {error.strerror}") from None
    if not secret or not secret.isprintable():
        raise Unfit(Met.NO_CREDENTIALS, f"{file} is empty, or no single line")
    return secret
