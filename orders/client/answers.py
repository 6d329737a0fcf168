"""What an answer of the intake means for an order.

There are three meanings: it is kept; the intake definitely refuses it, in a problem document (RFC 9457) of its own;
or the intake is away. Whatever is neither of the first two is the third, whoever said it: a 503, the page of a proxy
in between or its problem document, an answer that cannot be read. An order that met that one is sent again, and the
intake knows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

from config.retry_after import pause_asked
from orders.errors import Conflict, Fault, Forbidden, Malformed, RelaisError, Unauthorised

OURS: Final = "urn:relais:problem:"
NOT_ABOUT_THE_BODY: Final = (401, 404, 405, 407, 429, 503)


@dataclass(frozen=True, slots=True)
class Kept:
    """Where an order is safe: in Relais (`journal` or `spill`), with its id there, or in the spool, with its number.

    `repeated` is true when this very order was there before; `why` says what kept one in the spool from Relais.
    """

    where: Literal["journal", "spill", "spool"]
    repeated: bool
    id: UUID | None = None
    number: int | None = None
    why: str | None = field(default=None, compare=False)


class Away(Exception):
    """The intake takes nothing now: why, and how many seconds it asks to be left alone, None if it does not say.

    `suspect` when what was sent may be the reason: its size, or an order that something in between lets not through.
    """

    def __init__(
        self, why: str, retry_after: float | None = None, *, suspect: bool = False, too_large: bool = False
    ) -> None:
        super().__init__(why)
        self.retry_after, self.suspect, self.too_large = retry_after, suspect, too_large


class Unsendable(RelaisError):
    """An order that does not get as far as the intake, though others do."""


Outcome = Kept | RelaisError


def kind_of(outcome: Outcome) -> str:
    """The word for an outcome: accepted, repeated, conflict, forbidden, unsendable or malformed."""
    if isinstance(outcome, Kept):
        return "repeated" if outcome.repeated else "accepted"
    kinds: dict[type[RelaisError], str] = {Conflict: "conflict", Forbidden: "forbidden", Unsendable: "unsendable"}
    return kinds.get(type(outcome), "malformed")


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> RelaisError | Away:
    """What an answer that is no success means. Only a problem document of the intake can refuse an order for good."""
    problem = _problem(headers, body)
    said = str(problem.get("detail") or problem.get("title") or f"it answered {status}")[:500]
    match status, str(problem.get("type")).removeprefix(OURS):
        case 401, "unauthorised":
            return Unauthorised(said)
        case 403, "forbidden":
            return Forbidden(said)
        case 409, "conflict":
            return Conflict(str(problem["first"]))
        case (413, "too-large") | (422, "malformed"):
            return _malformed(problem)
    suspect = status >= 400 and status not in NOT_ABOUT_THE_BODY
    asked = pause_asked(headers.get("Retry-After"))
    return Away(f"it answered {status}", asked, suspect=suspect, too_large=status == 413)


def for_all(status: int, error: RelaisError | Away) -> RelaisError | Away:
    """What refuses a whole batch is the key, or it is not about its orders."""
    if isinstance(error, Unauthorised | Forbidden | Away):
        return error
    return Away(f"it refused the batch: {error}", suspect=True, too_large=status == 413)


def answer_of(line: bytes, orders: int) -> tuple[int, Outcome | Away]:
    """One line of a batch's answer: the order's index, and what became of it."""
    said = json.loads(line)
    index = int(said["line"]) - 1
    if not 0 <= index < orders:
        raise ValueError("an answer to no order")
    return index, _outcome(said)


def _outcome(said: dict[str, Any]) -> Outcome | Away:
    match said["status"]:
        case "accepted" | "repeated" as status:
            return kept_by({"repeated": status == "repeated", **said})
        case "conflict":
            return Conflict(str(said["first"]))
        case "malformed":
            return _malformed(said)
        case "forbidden":
            return Forbidden(str(said["detail"])[:500])
    return Away(str(said.get("detail", said["status"]))[:500], pause_asked(str(said.get("retry_after", ""))))


def kept_by(said: dict[str, Any]) -> Kept:
    """Where an order is kept, by the answer that says so. Raises KeyError, TypeError and ValueError."""
    return Kept("spill" if said.get("kept") == "spill" else "journal", bool(said["repeated"]), UUID(said["id"]))


def _malformed(said: dict[str, Any]) -> Malformed:
    faults = [Fault(str(each["field"]), each.get("line"), str(each["message"])) for each in said.get("faults") or ()]
    return Malformed(faults or [Fault("body", None, str(said.get("detail") or said.get("title")))])


def _problem(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The intake's problem document in an answer, nothing when it is none."""
    if not headers.get("Content-Type", "").startswith("application/problem+json"):
        return {}
    found = json.loads(body)
    return found if isinstance(found, dict) and str(found.get("type")).startswith(OURS) else {}


@contextmanager
def legible() -> Iterator[None]:
    """Inside, what cannot be read becomes Away, however odd it is."""
    try:
        yield
    except (Away, RelaisError):
        raise
    except Exception as error:
        raise Away("its answer is not that of the intake of Relais", suspect=True) from error
