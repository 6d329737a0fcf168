"""What an answer means, by the profile's rules first, then by the table that every connector has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from aiohttp import ClientResponse
from pydantic_core import from_json

from config.retry_after import pause_asked
from workers.erp.attempts import Tried
from workers.erp.failures import TABLE, Failure, Met, Unfit, of_status, printable
from workers.erp.port import Kind
from workers.erp.rest.profile import AnswerRule
from workers.erp.transport import any_body

MOST_BYTES: Final = 8 * 1024 * 1024  # of an answer: a page of some hundred orders

_MEANS: Final = {
    "refused": Failure(Kind.REFUSED, "the ERP refuses the order"),
    "transient": Failure(Kind.TRANSIENT, "the ERP did not take it, no fault of the order"),
    "throttled": Failure(Kind.THROTTLED, "the ERP asks for a pause"),
    "unknown": Failure(Kind.UNKNOWN, "the ERP may have taken it"),
    "duplicate": Failure(Kind.UNKNOWN, "the ERP has it already"),
}


async def judged(rules: Sequence[AnswerRule], response: ClientResponse) -> tuple[Tried, Any]:
    """What came of a request, and what the answer says in JSON where all is well. Raises Unfit."""
    raw, status = await any_body(response, MOST_BYTES), response.status
    said, is_json = _parsed(raw)
    asked = pause_asked(response.headers.get("Retry-After"))
    for rule in rules:
        if status in rule.status and _holds(rule, said, raw):
            failure = _MEANS[rule.means]
            words = rule.words.of(said) if rule.words else None
            told = words if isinstance(words, str) and words else failure.says
            return Tried(failure.kind, printable(f"{status}: {told}"), status, None, asked, failure, answer=raw), None
    if status // 100 == 2:
        if raw and not (is_json and response.content_type.endswith("json")):
            raise Unfit(Met.WRONG_TYPE, response.content_type[:100], raw)
        return Tried(Kind.ACCEPTED, "", status, answer=raw), said
    failure = of_status(status)
    if failure.kind is Kind.REFUSED:  # by no rule of the profile's
        failure = TABLE[Met.WORDLESS]
    return Tried(failure.kind, f"{status}: {failure.says}", status, None, asked, failure, answer=raw), None


def _parsed(raw: bytes) -> tuple[Any, bool]:
    try:
        return from_json(raw), True
    except ValueError:
        return None, False


def _holds(rule: AnswerRule, said: Any, raw: bytes) -> bool:
    if rule.contains is not None and rule.contains.encode() not in raw:
        return False
    return rule.when is None or bool(rule.when.of(said))
