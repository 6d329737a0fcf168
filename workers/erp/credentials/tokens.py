"""Access tokens by client credentials (RFC 6749, 4.4), requested as Authlib writes it over our own transport."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote_plus

from aiohttp import ClientResponse
from pydantic_core import from_json

from workers.erp.credentials.options import OAuth2Options
from workers.erp.credentials.renewing import Had, Renewing
from workers.erp.credentials.shown import Shown, TokenAsk, secret_in
from workers.erp.failures import Met, Unfit

FORM: Final = "application/x-www-form-urlencoded"
MOST_BYTES: Final = 64 * 1024  # of an answer; a token with many claims has some kilobytes
CODE: Final = re.compile(r"[a-z_]{1,40}")  # of an error, as RFC 6749, 5.2 has them: nothing else of it is told
TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")


class ClientToken(Renewing):
    """The token of one client."""

    def __init__(self, options: OAuth2Options) -> None:
        from authlib.oauth2.auth import ClientAuth  # takes a while to import, and few need it: not amid a batch
        from authlib.oauth2.rfc6749.parameters import prepare_token_request

        super().__init__()
        self._options, self._client_auth, self._prepared = options, ClientAuth, prepare_token_request

    async def _obtain(self, ask: TokenAsk, until: float) -> Had:
        secret = secret_in(self._options.client_secret_file)
        url, headers, body = self._request(secret)
        token, lasts = await ask(url, body.encode(), FORM, headers, until, _token_in)
        return Had(Shown({"Authorization": f"Bearer {token}"}, (token, secret)), lasts)

    def _request(self, secret: str) -> tuple[str, dict[str, str], str]:
        """URL, headers and form of the request for a token."""
        own = self._options
        form = self._prepared("client_credentials", "", scope=own.scope, **own.parameters)
        client_id = own.client_id
        if own.client_auth == "basic":  # RFC 6749, 2.3.1 has both form-encoded first, which Authlib leaves out
            client_id, secret = quote_plus(client_id), quote_plus(secret)
        auth = self._client_auth(client_id, secret, f"client_secret_{own.client_auth}")
        url, headers, body = auth.prepare("POST", own.token_url, {}, form)
        return str(url), dict(headers), str(body)


async def _token_in(response: ClientResponse) -> tuple[str, float | None]:
    """The token, and for how many seconds it holds (RFC 6749, 5.1). Raises Unfit, which tells nothing of the answer but
    the code of an error.
    """
    told = await read_json(response)
    if not isinstance(told, dict):
        raise Unfit(Met.NO_CREDENTIALS, f"{response.status}, and no JSON of a token")
    code = told.get("error")
    if response.status != 200 or code is not None:
        says = code if isinstance(code, str) and CODE.fullmatch(code) else "no token"
        raise Unfit(Met.NO_CREDENTIALS, f"{response.status}: {says}")
    token, kind, lasts = (told.get(name) for name in ("access_token", "token_type", "expires_in"))
    if not isinstance(token, str) or not TOKEN.fullmatch(token) or str(kind).lower() != "bearer":
        raise Unfit(Met.NO_CREDENTIALS, "its answer has no bearer token")
    if lasts is not None and not (isinstance(lasts, int | float | str) and _seconds(lasts) > 0):
        raise Unfit(Met.NO_CREDENTIALS, "its token does not say for how long it holds")
    return token, None if lasts is None else _seconds(lasts)


async def read_json(response: ClientResponse) -> Any:
    """What an answer of MOST_BYTES at most says; None where it is no JSON. Raises Unfit."""
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > MOST_BYTES:
            raise Unfit(Met.NO_CREDENTIALS, f"an answer of over {MOST_BYTES} bytes")
    try:
        return from_json(bytes(raw))
    except ValueError:
        return None


def _seconds(told: float | str) -> float:
    """Zero for what is no number: some servers write it as a text."""
    try:
        return float(told)
    except ValueError:
        return 0.0
