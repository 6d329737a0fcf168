"""One's own account: who one is, where one is logged in, another password, language and colours."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from orders.errors import Throttled
from workers.console.access.accounts import set_password
from workers.console.access.addresses import address_of
from workers.console.access.forms import enter, throttled
from workers.console.access.guard import Viewer
from workers.console.access.passwords import fault_of
from workers.console.access.people import Person
from workers.console.access.sessions import COOKIE
from workers.console.access.state import Access, AccessState
from workers.console.fields import text_of
from workers.console.rendering import LANGUAGE, page, words_of
from workers.operations import acting_as

router = APIRouter(prefix="/account")


@router.get("")
async def get_account(request: Request, access: Access, who: Viewer) -> Response:
    """The page."""
    return await _page(request, access, who)


@router.post("/sessions")
async def post_sessions(request: Request, access: Access, who: Viewer) -> Response:
    """End all sessions of this account but this."""
    await access.sessions.end_others(who.name, request.cookies[COOKIE])
    return RedirectResponse("/account", status_code=303)


@router.post("/password")
async def post_password(request: Request, access: Access, who: Viewer) -> Response:
    """Another password, for which the old one is asked as at a login. Other sessions end, this one goes on anew."""
    form, words = await request.form(), words_of(request)
    new = text_of(form, "new")
    if new != text_of(form, "again"):
        return await _page(request, access, who, words.gettext("The two new passwords are not the same."), 422)
    if (fault := fault_of(new, who.name)) is not None:
        return await _page(request, access, who, words.gettext(fault), 422)
    address = address_of(request, access.settings.console.proxies)
    try:
        proven = await access.logins.check(who.name, address, text_of(form, "old"))
        if proven is None:
            return await _page(request, access, who, words.gettext("The old password is another one."), 403)
        kept = await access.logins.passwords.hashed(new)
    except Throttled as error:
        return await _page(request, access, who, throttled(error, words), 429)
    with acting_as(who.name):
        await set_password(access.engine, who.name, kept)
    token = await access.sessions.begin(who.name, password=kept, address=address)
    return enter(token, "/account", lasting=access.settings.console.session)


async def _page(
    request: Request, access: AccessState, who: Person, wrong: str | None = None, status: int = 200
) -> Response:
    sessions = await access.sessions.of(who.name, request.cookies[COOKIE])
    chosen = request.cookies.get(LANGUAGE)
    return page(request, "access/account.html", status=status, sessions=sessions, wrong=wrong, language=chosen)
