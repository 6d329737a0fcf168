"""The two steps of a login by the identity provider: there, and back."""

from __future__ import annotations

import logging
from hmac import compare_digest
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import text

from orders.errors import NotFound, Unauthorised
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console.access.addresses import address_of
from workers.console.access.forms import enter, forget, keep, local, login_page
from workers.console.access.oidc import BACK, Begun, NotProven, Provider, ProviderAway
from workers.console.access.sessions import COOKIE
from workers.console.access.state import Access, AccessState
from workers.console.i18n import N_
from workers.console.rendering import words_of

log = logging.getLogger("relais.console")

router = APIRouter()

GOING: Final = "__Host-relais-oidc"
TIME: Final = 600.0  # seconds that somebody may take at the provider
ACCOUNT: Final = text("SELECT name FROM accounts WHERE subject = :subject AND disabled_at IS NULL")

AWAY: Final = N_("The identity provider is out of reach. A login by password still works.")
REFUSED: Final = N_("The identity provider did not vouch for you. Please try again.")
STALE: Final = N_("This login was not begun in this browser, or too long ago. Please try again.")
NOBODY: Final = N_("No account here goes by this identity. Ask for one: relais account add NAME --oidc %(subject)s")


@router.get("/login/oidc")
async def get_oidc(request: Request, access: Access, wanted: Annotated[str, Query(alias="next")] = "/") -> Response:
    """To the provider."""
    try:
        url, begun = await _provider(access).begin(local(wanted))
    except ProviderAway as error:
        return _refuse(request, AWAY, 503, wanted, why=str(error))
    answer = RedirectResponse(url, status_code=303)
    keep(answer, GOING, begun.written(), lasting=TIME)
    return answer


@router.get(BACK)
async def get_oidc_callback(
    request: Request, access: Access, state: str = "", code: str = "", error: str = ""
) -> Response:
    """Back from the provider, with a code that it takes for the proof of who this is."""
    provider, begun = _provider(access), Begun.read(request.cookies.get(GOING))
    if begun is None or not compare_digest(begun.state.encode(), state.encode()):
        return _refuse(request, STALE, 403, why="no such state")
    if error or not code:
        return _refuse(request, REFUSED, 403, begun.wanted, why="the provider answers with an error")
    try:
        subject = await provider.finish(begun, code)
    except ProviderAway as away:
        return _refuse(request, AWAY, 503, begun.wanted, why=str(away))
    except NotProven as wrong:
        return _refuse(request, REFUSED, 403, begun.wanted, why=str(wrong))
    return await _enter(request, access, subject, begun.wanted)


async def _enter(request: Request, access: AccessState, subject: str, wanted: str) -> Response:
    async with access.engine.connect() as connection:
        name = str((await connection.execute(ACCOUNT, {"subject": subject})).scalar_one_or_none() or "")
    address = address_of(request, access.settings.console.proxies)
    try:
        token = await access.sessions.begin(name, address=address)
    except Unauthorised:
        return _refuse(request, NOBODY, 403, wanted, why="no account", subject=subject.rpartition("#")[2])
    await access.logins.came(name, address)
    if old := request.cookies.get(COOKIE):
        await access.sessions.end(old)
    answer = enter(token, wanted, lasting=access.settings.console.session)
    forget(answer, GOING)
    return answer


def _provider(access: AccessState) -> Provider:
    if access.provider is None:
        raise NotFound(Sentence(NotDone.NO_PROVIDER))
    return access.provider


def _refuse(
    request: Request, sentence: str, status: int, wanted: str = "/", *, why: str, subject: str = ""
) -> Response:
    """The login page with what went wrong; what was begun is over."""
    address = address_of(request, request.app.state.access.settings.console.proxies)
    log.warning("login by the identity provider refused", extra={"address": address, "why": why})
    told = words_of(request).gettext(sentence)
    if subject:
        told = told.replace("%(subject)s", subject)
    answer = login_page(request, wanted=wanted, said=told, status=status)
    forget(answer, GOING)
    return answer
