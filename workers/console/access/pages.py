"""The pages of the room `access` that nobody needs to be logged in for: the login, its display, the way out."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from orders.errors import Forbidden, Throttled, Unauthorised
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console.access import account, first_pages, oidc_pages
from workers.console.access.addresses import address_of
from workers.console.access.forms import LOGIN, enter, forget, is_ours, keep, local, login_page, throttled
from workers.console.access.guard import Viewer, check_token
from workers.console.access.sessions import COOKIE
from workers.console.access.state import Access
from workers.console.fields import text_of
from workers.console.i18n import LOCALES
from workers.console.rendering import LANGUAGE, THEME, THEMES, words_of

router = APIRouter()
router.include_router(account.router)
router.include_router(first_pages.router)
router.include_router(oidc_pages.router)

YEAR = 365 * 86_400.0  # seconds


@router.get("/login")
async def get_login(request: Request, wanted: Annotated[str, Query(alias="next")] = "/") -> Response:
    """The form; somebody who is in already goes where they wanted to."""
    if request.state.person is not None:
        return RedirectResponse(local(wanted), status_code=303)
    return login_page(request, wanted=wanted)


@router.post("/login")
async def post_login(request: Request, access: Access) -> Response:
    """Let somebody in: a new session, whatever the browser brought along."""
    form, words = await request.form(), words_of(request)
    name, wanted = text_of(form, "name", 64).strip().lower(), text_of(form, "next", 2000)
    if not is_ours(request, form):
        expired = words.gettext("This form was not sent from this browser, or is too old. Please try again.")
        return login_page(request, wanted=wanted, name=name, said=expired, status=403)
    address = address_of(request, access.settings.console.proxies)
    try:
        proven = await access.logins.check(name, address, text_of(form, "password"))
        if proven is None:
            wrong = words.gettext("Name and password do not go together, or the account is disabled.")
            return login_page(request, wanted=wanted, name=name, said=wrong, status=403)
        token = await access.sessions.begin(proven.name, password=proven.password, address=address)
    except Throttled as error:
        answer = login_page(request, wanted=wanted, name=name, said=throttled(error, words), status=429)
        answer.headers["Retry-After"] = str(round(max(1.0, error.retry_after) + 0.5))
        return answer
    except Unauthorised:
        changed = words.gettext("The account was changed just now. Please try again.")
        return login_page(request, wanted=wanted, name=name, said=changed, status=403)
    if old := request.cookies.get(COOKIE):
        await access.sessions.end(old)
    return enter(token, wanted, lasting=access.settings.console.session)


@router.post("/logout")
async def post_logout(request: Request, access: Access, who: Viewer) -> Response:
    """End this session, here and in the journal."""
    await access.sessions.end(request.cookies[COOKIE])
    answer = RedirectResponse("/login", status_code=303)
    answer.headers["Clear-Site-Data"] = '"cache"'
    for name in (COOKIE, LOGIN):
        forget(answer, name)
    return answer


@router.post("/display")
async def post_display(request: Request) -> Response:
    """Language and colours for this browser, also before anybody is logged in."""
    form = await request.form()
    if request.state.person is not None:
        await check_token(request, request.state.person)
    elif not is_ours(request, form):
        raise Forbidden(Sentence(NotDone.FORM_OF_ANOTHER))
    back = text_of(form, "back", 2000)
    answer = RedirectResponse("/account" if request.state.person else f"/login?next={quote(local(back))}", 303)
    for cookie, field, known in ((LANGUAGE, "language", LOCALES), (THEME, "theme", THEMES[1:])):
        if (chosen := text_of(form, field, 64)) in known:
            keep(answer, cookie, chosen, lasting=YEAR)
        else:
            forget(answer, cookie)
    return answer
