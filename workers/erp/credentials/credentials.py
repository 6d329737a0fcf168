"""Who we are, by the scheme that a connector's settings name."""

from __future__ import annotations

from base64 import b64encode
from typing import Protocol

from workers.erp.credentials.options import ApiKeyOptions, AuthOptions, BasicOptions, BearerOptions, OAuth2Options
from workers.erp.credentials.sessions import SessionLogin
from workers.erp.credentials.shown import ANONYMOUS, Shown, TokenAsk, bearing, secret_in
from workers.erp.credentials.tokens import ClientToken


class Credentials(Protocol):
    """What requests to one ERP show. Belongs to one event loop."""

    async def shown(self, ask: TokenAsk, until: float, refused: Shown | None = None) -> Shown:
        """What a request shows that is sent by the loop's time `until`; something else than what was `refused` with a
        401 where such is to be had, else the same again. Raises Unfit.
        """


class Fixed:
    """What does not change while the process runs."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    async def shown(self, ask: TokenAsk, until: float, refused: Shown | None = None) -> Shown:
        """Always the same."""
        return self._shown


class Bearer:
    """A token that somebody renews in its file."""

    def __init__(self, options: BearerOptions) -> None:
        self._file = options.token_file

    async def shown(self, ask: TokenAsk, until: float, refused: Shown | None = None) -> Shown:
        """What the file holds now."""
        return bearing(secret_in(self._file))


class Basic:
    """User and password."""

    def __init__(self, options: BasicOptions) -> None:
        self._options = options

    async def shown(self, ask: TokenAsk, until: float, refused: Shown | None = None) -> Shown:
        """With the password that the file holds now."""
        password = secret_in(self._options.password_file)
        pair = b64encode(f"{self._options.user}:{password}".encode()).decode()
        return Shown({"Authorization": f"Basic {pair}"}, (password, pair))


class ApiKey:
    """A key in a header."""

    def __init__(self, options: ApiKeyOptions) -> None:
        self._options = options

    async def shown(self, ask: TokenAsk, until: float, refused: Shown | None = None) -> Shown:
        """With the key that the file holds now."""
        key = secret_in(self._options.key_file)
        return Shown({self._options.header: f"{self._options.prefix}{key}"}, (key,))


def open_credentials(options: AuthOptions | None) -> Credentials:
    """The credentials that the settings describe; nothing is read or asked yet."""
    match options:
        case None:
            return Fixed(ANONYMOUS)
        case BearerOptions():
            return Bearer(options)
        case BasicOptions():
            return Basic(options)
        case ApiKeyOptions():
            return ApiKey(options)
        case OAuth2Options():
            return ClientToken(options)
        case _:
            return SessionLogin(options)
