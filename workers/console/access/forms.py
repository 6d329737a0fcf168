"""What the login's forms and cookies have in common: their token, where they lead, what a browser keeps.

Nobody is logged in yet, so the login has a token of its own against forged forms: a random cookie, and in the form
what only the cookie yields (OWASP's signed double submit; `__Host-` keeps neighbours from setting it).
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from typing import Final, Literal
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import FormData

from orders.errors import Throttled
from workers.console.access.guard import FIELD
from workers.console.access.sessions import COOKIE, LONGEST_TOKEN, csrf_of
from workers.console.fields import text_of
from workers.console.i18n import Words
from workers.console.rendering import LANGUAGE, page

LOGIN: Final = "__Host-relais-login"
HOME: Final = "/"


def login_page(
    request: Request, *, wanted: str = HOME, name: str = "", said: str | None = None, status: int = 200
) -> HTMLResponse:
    """The page on which to log in; `said`, worded for the person, is what went wrong."""
    provider = request.app.state.access.provider is not None
    return door_page(request, "access/login.html", wanted, status=status, name=name, said=said, provider=provider)


def door_page(request: Request, template: str, wanted: str, *, status: int, **values: object) -> HTMLResponse:
    """A page for somebody who is not in yet, whose form bears a token of its own."""
    token, chosen = _brought(request) or secrets.token_urlsafe(32), request.cookies.get(LANGUAGE)
    answer = page(request, template, status=status, token=csrf_of(token), wanted=local(wanted), chosen=chosen, **values)
    keep(answer, LOGIN, token)
    return answer


def throttled(error: Throttled, words: Words) -> str:
    """What somebody reads who tried too often."""
    sentence = words.gettext("Too many tries. No password is looked at for %(wait)s.")
    return sentence % {"wait": words.duration(max(1.0, error.retry_after))}


def is_ours(request: Request, form: FormData) -> bool:
    """Whether a form of somebody who is not logged in bears the token that its cookie yields."""
    token = _brought(request)
    return token is not None and compare_digest(text_of(form, FIELD).encode(), csrf_of(token).encode())


def local(wanted: str) -> str:
    """The address, when it is a page of ours to come back to after a login; else the overview's."""
    parts = urlsplit(wanted) if wanted.isprintable() and wanted.isascii() and "\\" not in wanted else None
    bad = parts is None or parts.scheme or parts.netloc or not wanted.startswith("/") or wanted.startswith("//")
    return HOME if bad or len(wanted) > 2000 or wanted.startswith(("/login", "/logout", "/account/")) else wanted


def enter(token: str, wanted: str, *, lasting: float) -> Response:
    """Send somebody who is in now where they wanted to go; `lasting` in seconds."""
    answer = RedirectResponse(local(wanted), status_code=303)
    keep(answer, COOKIE, token, lasting=lasting)
    forget(answer, LOGIN)
    return answer


def keep(answer: Response, name: str, value: str, *, lasting: float | None = None) -> None:
    """Have the browser keep this, out of scripts' reach; until it is closed when no seconds are given."""
    site: Literal["lax"] = "lax"  # so that a link in an alert opens the page; what changes something is a POST
    age = None if lasting is None else int(lasting)
    answer.set_cookie(name, value, max_age=age, path="/", secure=True, httponly=True, samesite=site)


def forget(answer: Response, name: str) -> None:
    """Have the browser forget it."""
    answer.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")


def _brought(request: Request) -> str | None:
    token = request.cookies.get(LOGIN)
    return token if token and len(token) <= LONGEST_TOKEN and token.isascii() else None
