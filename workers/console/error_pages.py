"""What a person sees when something cannot be done: one page for all of it, with the word and what helps.

The class of the error decides the status. A journal that is out of reach is no accident of the console's: it says so
and shows what it knew last.
"""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from orders.errors import Fault, Forbidden, Malformed, NotFound, NotSo, RelaisError, Throttled, TooLate, Unauthorised
from orders.journal import unreachable
from orders.refusals import NotDone
from orders.sentences import Sentence, joined, sentence_of
from workers.console.i18n import N_
from workers.console.masking import say
from workers.console.rendering import page, words_of
from workers.console.security_headers import SAFE

log = logging.getLogger("relais.console")

STATUS: Final[dict[type[Exception], int]] = {
    NotFound: 404,
    NotSo: 409,
    TooLate: 409,
    Forbidden: 403,
    Malformed: 422,
    RequestValidationError: 422,
    Throttled: 429,
}
TITLES: Final = {
    403: N_("You may not do this"),
    404: N_("Nothing goes by that name"),
    405: N_("This page takes no such request"),
    409: N_("It is not so any more"),
    413: N_("That is too long"),
    422: N_("Something is missing or wrong"),
    429: N_("Too often"),
    500: N_("Something went wrong here"),
    503: N_("The journal is out of reach"),
}


def add_handlers(app: FastAPI) -> None:
    """Let every error become a page."""
    for kind in (RelaisError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answer)


async def answer(request: Request, error: Exception, *, nothing_done: bool = False) -> Response:
    """The page that tells of this error; `nothing_done` says for sure that the request began nothing."""
    if isinstance(error, Unauthorised):
        return _to_login(request)
    status, words = _status(error), words_of(request)
    said = [say(each, words) for each in _said(error)]
    if status == 500:
        log.error("a page failed", exc_info=error, extra={"path": request.url.path})
    title = TITLES.get(status, TITLES[500])
    looks = request.method in SAFE
    told = page(
        request,
        "failed.html",
        status=status,
        title=title,
        said=said,
        code=status,
        looks=looks,
        nothing_done=nothing_done or looks,
        intake=request.app.state.overview.poller.seen.intake,
    )
    if isinstance(error, Throttled):
        told.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return told


def _to_login(request: Request) -> Response:
    """Back to where they wanted to go, once they are logged in; a fragment takes the whole page there."""
    wanted = request.url.path if request.method == "GET" else "/"
    if request.url.query and request.method == "GET":
        wanted += f"?{request.url.query}"
    login = f"/login?next={quote(wanted, safe='')}"
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    return RedirectResponse(login, status_code=303)


def _status(error: Exception) -> int:
    if isinstance(error, HTTPException):
        return error.status_code
    found = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)
    return found or (503 if unreachable(error) else 500)


def _said(error: Exception) -> list[Sentence]:
    """What the error has to say, nothing where it would tell of our insides."""
    if isinstance(error, Malformed):
        return [of_field(fault) for fault in error.faults]
    if isinstance(error, RequestValidationError):
        places = (".".join(str(part) for part in each["loc"][1:]) for each in error.errors())
        return [of_field(Fault(place, None, Sentence(NotDone.UNFIT))) for place in places]
    told = refused(error) if isinstance(error, RelaisError) else None
    return [] if told is None else [told]


def refused(error: RelaisError) -> Sentence | None:
    """Its sentence; of malformed input all faults in one. None where it says nothing."""
    if isinstance(error, Malformed):
        return joined(of_field(fault) for fault in error.faults)
    return sentence_of(error.args[0]) if error.args and error.args[0] else None


def of_field(fault: Fault) -> Sentence:
    """What is wrong with a field, and with which."""
    return Sentence(NotDone.FIELD, field=fault.field, what=sentence_of(fault.message))
