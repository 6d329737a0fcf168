"""Tryton's JSON-RPC over one session: log in, call, and what each error says of what was asked.

A method runs in one transaction, which Tryton rolls back whenever it answers with an error. So an error in Tryton's
own words is certainly not taken; one that it did not foresee may have come with the commit, and is not certain.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aiohttp import ClientResponse
from pydantic_core import from_json

from config.retry_after import pause_asked
from config.settings import Settings
from workers.erp.attempts import Tried
from workers.erp.failures import TABLE, Failure, Met, Unfit, of_status, printable
from workers.erp.port import Barrier, Kind
from workers.erp.transport import ErpTransport, json_body
from workers.erp.tryton.options import TrytonOptions

MOST_BYTES: Final = 8 * 1024 * 1024  # of an answer: 100 sales of some hundred lines
LOGIN: Final = "common.db.login"

NO_LOGIN: Final = Failure(Kind.TRANSIENT, "Tryton refuses the log-in, no fault of the order")
ERRORS: Final[Mapping[str, Failure]] = {
    "UserError": Failure(Kind.REFUSED, "Tryton refuses the order"),
    "UserWarning": Failure(Kind.REFUSED, "Tryton asks a person whether it may go on"),
    "ConcurrencyException": Failure(Kind.TRANSIENT, "the sale was changed meanwhile"),
    "LoginException": NO_LOGIN,
    "RateLimitException": Failure(Kind.THROTTLED, "Tryton asks for a pause"),
}
INSIDE: Final = Failure(Kind.UNKNOWN, "Tryton failed inside")
STATUSES: Final[Mapping[int, Failure]] = {
    401: NO_LOGIN,
    409: Failure(Kind.TRANSIENT, "the sale was changed meanwhile"),
    500: INSIDE,
    504: Failure(Kind.UNKNOWN, "Tryton took longer than it allows itself"),
}


class RpcAnswer(NamedTuple):
    """What a method returned, or how it failed."""

    result: Any = None
    failed: Tried | None = None


class TrytonRpc:
    """One session of one process. Belongs to the event loop on which it is first used."""

    def __init__(self, settings: Settings, own: TrytonOptions, barrier: Barrier) -> None:
        """Nothing connects yet. Raises MissingSetting when `erp_url` is not set."""
        self._own, self._path = own, f"/{own.database}/rpc/"
        self._transport = ErpTransport(settings, barrier.is_open)
        self._session: str | None = None
        self._one_at_a_time = asyncio.Lock()
        self._context = {"company": own.company}

    async def call(
        self, method: str, *parameters: object, until: float, context: Mapping[str, object] | None = None
    ) -> RpcAnswer:
        """What `method` returns by the loop's time `until`, called with a context beside the company; a session that
        ended is begun anew, once.
        """
        said = [*parameters, {**self._context, **(context or {})}]
        for fresh in (False, True):
            session = await self._logged_in(self._session if fresh else None, until)
            if isinstance(session, Tried):
                break
            answer = await self._post(method, said, session, until)
            if answer.failed is None or answer.failed.failure is not NO_LOGIN:
                return answer
        return RpcAnswer(failed=session if isinstance(session, Tried) else answer.failed)

    async def close(self) -> None:
        """Let go of the connections; the session ends by itself."""
        await self._transport.close()

    async def _logged_in(self, ended: str | None, until: float) -> str | Tried:
        """The session, another one than the one that `ended`; one log-in at a time."""
        async with self._one_at_a_time:
            if self._session is not None and self._session != ended:
                return self._session
            self._session = None
            try:
                password = self._own.password_file.read_text(encoding="utf-8").rstrip("\n")
            except (OSError, UnicodeDecodeError) as error:
                return Tried(Kind.TRANSIENT, f"the file of Tryton's password cannot be read: {error}", failure=NO_LOGIN)
            user = self._own.user
            answer = await self._post(LOGIN, [user, {"password": password}], None, until)
            if answer.failed is not None:
                return answer.failed._replace(kind=Kind.TRANSIENT)  # nothing but a log-in was asked for
            number, token, *_ = answer.result
            self._session = base64.b64encode(f"{user}:{number}:{token}".encode()).decode()
            return self._session

    async def _post(self, method: str, parameters: list[object], session: str | None, until: float) -> RpcAnswer:
        told: list[object] = []

        async def read(response: ClientResponse) -> Tried:
            tried, result = await _read(response)
            told.append(result)
            return tried

        body = json.dumps({"id": 1, "method": method, "params": parameters}).encode()
        headers = {} if session is None else {"Authorization": f"Session {session}"}
        tried = await self._transport.post(self._path, body, until, read, headers)
        return RpcAnswer(told[0]) if tried.kind is Kind.ACCEPTED else RpcAnswer(failed=tried)


async def _read(response: ClientResponse) -> tuple[Tried, object]:
    """Raises Unfit."""
    if response.status != 200:
        failure = STATUSES.get(response.status) or of_status(response.status)
        if failure.kind is Kind.REFUSED:  # of no order: Tryton refuses one in words, with a 200
            failure = TABLE[Met.WORDLESS]
        asked = pause_asked(response.headers.get("Retry-After"))
        says = f"{response.status}: {failure.says}"
        return Tried(failure.kind, says, response.status, retry_after=asked, failure=failure), None
    try:
        said = from_json(await json_body(response, MOST_BYTES))
    except ValueError as error:
        raise Unfit(Met.UNPARSABLE, printable(str(error))) from None
    if not isinstance(said, dict) or not {"result", "error"} & said.keys():
        raise Unfit(Met.UNPARSABLE, "neither a result nor an error")
    if "error" in said:
        return _error(said["error"]), None
    return Tried(Kind.ACCEPTED, status=200), said["result"]


def _error(said: object) -> Tried:
    """Tryton's error, `[name, [words, …]]` where it foresaw it and `[words, traceback]` where it did not."""
    name, words = (said[0], said[1:]) if isinstance(said, list) and said else ("", ())
    failure = ERRORS.get(str(name))
    if failure is None:
        return Tried(INSIDE.kind, printable(f"{INSIDE.says}: {name}"), 200, failure=INSIDE)
    first = words[0] if words else ""
    own = first[0] if isinstance(first, list) and first else first
    if name == "UserWarning" and isinstance(first, list) and len(first) > 1:
        own = first[1]
    return Tried(failure.kind, printable(f"{failure.says}: {own}"), 200, failure=failure)
