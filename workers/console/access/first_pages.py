"""The page behind the link of `relais up`: the first account chooses its password there, once, on this very machine."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from orders.errors import NotFound, Throttled
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console.access.accounts import set_password
from workers.console.access.addresses import UNKNOWN, address_of
from workers.console.access.first import PATH
from workers.console.access.forms import HOME, door_page, enter, is_ours, throttled
from workers.console.access.passwords import fault_of
from workers.console.access.state import Access, AccessState
from workers.console.fields import text_of
from workers.console.rendering import words_of
from workers.operations import acting_as

router = APIRouter(prefix=PATH)


@router.get("")
async def get_first(
    request: Request, access: Access, name: Annotated[str, Query()] = "", secret: Annotated[str, Query()] = ""
) -> Response:
    """The form: a password, twice."""
    _from_here(request, access)
    return _page(request, name, secret)


@router.post("")
async def post_first(request: Request, access: Access) -> Response:
    """Take the password in place of the link's secret, and let its person in."""
    address, form, words = _from_here(request, access), await request.form(), words_of(request)
    name, secret, new = text_of(form, "name", 64), text_of(form, "secret", 64), text_of(form, "new")
    if not is_ours(request, form):
        expired = words.gettext("This form was not sent from this browser, or is too old. Please try again.")
        return _page(request, name, secret, expired, 403)
    if new != text_of(form, "again"):
        return _page(request, name, secret, words.gettext("The two new passwords are not the same."), 422)
    if (fault := fault_of(new, name)) is not None:
        return _page(request, name, secret, words.gettext(fault), 422)
    try:
        proven = await access.logins.check(name, address, secret)
        if proven is None:
            used = words.gettext("This link was used already, or is not of this installation. Log in instead.")
            return _page(request, name, secret, used, 403)
        kept = await access.logins.passwords.hashed(new)
    except Throttled as error:
        return _page(request, name, secret, throttled(error, words), 429)
    with acting_as(proven.name):
        await set_password(access.engine, proven.name, kept)
    token = await access.sessions.begin(proven.name, password=kept, address=address)
    return enter(token, HOME, lasting=access.settings.console.session)


def _from_here(request: Request, access: AccessState) -> str:
    """The address, which is this machine's. Raises NotFound for any other: there is nothing for it here."""
    address = address_of(request, access.settings.console.proxies)
    if address == UNKNOWN or not ip_address(address.partition("/")[0]).is_loopback:
        raise NotFound(Sentence(NotDone.NO_PAGE))
    return address


def _page(request: Request, name: str, secret: str, said: str | None = None, status: int = 200) -> HTMLResponse:
    return door_page(request, "access/first.html", HOME, status=status, name=name, secret=secret, said=said)
