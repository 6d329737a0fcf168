"""What SAP says where it does not do as it was asked: a status, and an envelope with code, message and details.

A change set is one unit of work, which SAP rolls back whenever it answers 4xx for it: the order is certainly not
taken. Of a 5xx nobody can say. Where each of these comes from stands in docs/odata.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from config.retry_after import pause_asked
from workers.erp.attempts import Tried
from workers.erp.failures import TABLE, Failure, Met, of_status, printable
from workers.erp.port import Kind

NO_LOGIN: Final = Failure(Kind.TRANSIENT, "SAP refuses the log-in, no fault of the order")
NO_TOKEN: Final = Failure(Kind.TRANSIENT, "SAP does not believe the token that it gave")
LOCKED: Final = Failure(Kind.TRANSIENT, "SAP has locked what the order needs")
CHANGED: Final = Failure(Kind.TRANSIENT, "SAP has changed it meanwhile")
PAUSE: Final = Failure(Kind.THROTTLED, "SAP asks for a pause")
INSIDE: Final = Failure(Kind.UNKNOWN, "SAP failed inside")
STATUSES: Final[Mapping[int, Failure]] = {
    401: NO_LOGIN,
    409: CHANGED,
    412: CHANGED,
    423: LOCKED,
    428: CHANGED,
    429: PAUSE,
    500: INSIDE,
}
LOCKS: Final = frozenset({"V1/042", "VL/046", "MC/601", "M3/023", "M3/024", "M3/682", "M3/897", "F2/042"})
LOCKED_WORDS: Final = re.compile(
    r"(locked|blocked|(being )?processed) by (the )?(other |another )?user|currently (locked|being processed)"
    r"|durch (den )?Benutzer .*gesperrt|verrouillée? par|en cours de traitement par",
    re.IGNORECASE,
)
FRAMEWORK: Final = ("/IWFND/", "/IWBEP/CM_")  # SAP Gateway did not understand the request, whichever order is in it
MOST_DETAILS: Final = 20


class SapFault(NamedTuple):
    """SAP's error: its codes, `CLASS/NUMBER` of the first, and its words, without repeating them."""

    codes: tuple[str, ...]
    words: str


def failed(status: int, headers: Mapping[str, str], body: bytes) -> Tried:
    """What an answer that is no success says of what was asked; names of `headers` are in lower case."""
    told = read(body)
    failure = _failure(status, headers, told)
    says = failure.says if told is None else f"{failure.says}: {told.words}"
    asked = pause_asked(headers.get("retry-after"))
    return Tried(failure.kind, printable(f"{status}: {says}"), status, retry_after=asked, failure=failure, answer=body)


def read(body: bytes) -> SapFault | None:
    """The envelope in a body, of OData V2 or V4; None where there is none."""
    try:
        error = from_json(body)["error"]
        found = [*_details(error)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return SapFault(tuple(code for code, _ in found), "; ".join(dict.fromkeys(words for _, words in found)))


def _details(error: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Code and words of the error, then of what it says of the error in particular; warnings are left out."""
    inner = error.get("innererror") or {}
    more = error.get("details") or (inner.get("errordetails") if isinstance(inner, Mapping) else None) or ()
    yield str(error.get("code", "")), _words(error["message"])
    for each in more[:MOST_DETAILS]:
        if each.get("severity", "error") == "error":
            yield str(each.get("code", "")), _words(each["message"])


def _words(message: str | Mapping[str, str]) -> str:
    return (message if isinstance(message, str) else str(message["value"])).strip()


def _failure(status: int, headers: Mapping[str, str], told: SapFault | None) -> Failure:
    if status == 403 and headers.get("x-csrf-token", "").lower() == "required":
        return NO_TOKEN
    if status == 503 and "retry-after" in headers:
        return PAUSE
    if told is not None and 400 <= status < 500 and _locked(told):
        return LOCKED
    failure = STATUSES.get(status) or of_status(status)
    if failure.kind is not Kind.REFUSED:
        return failure
    if told is None:  # SAP refuses an order in words
        return TABLE[Met.WORDLESS]
    return TABLE["403"] if told.codes[0].startswith(FRAMEWORK) else failure


def _locked(told: SapFault) -> bool:
    return not LOCKS.isdisjoint(told.codes) or LOCKED_WORDS.search(told.words) is not None
