"""A log-in that opens a session, which every request names until the ERP ends it with a 401."""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import ClientResponse

from workers.erp.credentials.options import SessionOptions
from workers.erp.credentials.renewing import Had, Renewing
from workers.erp.credentials.shown import Shown, TokenAsk, secret_in
from workers.erp.credentials.tokens import FORM, read_json
from workers.erp.failures import Met, Unfit

TOKEN: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,4096}")  # RFC 6265, 4.1.1: fits a cookie


class SessionLogin(Renewing):
    """The session of one user."""

    def __init__(self, options: SessionOptions) -> None:
        super().__init__()
        self._options = options

    async def _obtain(self, ask: TokenAsk, until: float) -> Had:
        own, password = self._options, secret_in(self._options.password_file)
        asked = {own.user_field: own.user, own.password_field: password, **own.fields}
        body, kind = (urlencode(asked), FORM) if own.form else (json.dumps(asked), "application/json")
        session = await ask(own.login, body.encode(), kind, {}, until, self._session_in)
        return Had(Shown(self._headers(session), (session, password)), own.lasts)

    def _headers(self, session: str) -> dict[str, str]:
        own = self._options
        if own.header is None:
            return {"Cookie": f"{own.cookie}={session}"}
        return {own.header: f"{own.prefix}{session}"}

    async def _session_in(self, response: ClientResponse) -> str:
        """Raises Unfit, which tells nothing of the answer but its status."""
        if response.status // 100 != 2:
            raise Unfit(Met.NO_CREDENTIALS, f"{response.status} to the log-in of {self._options.user}")
        if self._options.cookie is not None:
            morsel = response.cookies.get(self._options.cookie)
            found: Any = None if morsel is None else morsel.value
        else:
            found = _at(str(self._options.token), await read_json(response))
        if not isinstance(found, str) or not TOKEN.fullmatch(found):
            raise Unfit(Met.NO_CREDENTIALS, "its answer bears no session")
        return found


def _at(place: str, found: Any) -> Any:
    """What stands at `place`, names or numbers with dots between them; None where there is nothing."""
    try:
        for name in place.split("."):
            found = found[int(name)] if isinstance(found, list) else found[name]
    except (ValueError, LookupError, TypeError):
        return None
    return found
