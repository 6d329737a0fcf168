"""The guard at every page: who comes in is known before the page runs, and no form counts without its token.

A route says whom it wants by the type of a parameter (`who: Viewer`, `Operator`); one that says nothing
is open to everybody, which a test allows the login alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from orders.errors import Forbidden, Unauthorised
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console.access.people import Person, Role
from workers.console.access.sessions import COOKIE, Unasked
from workers.console.security_headers import SAFE

FIELD: Final = "csrf"
HEADER: Final = "x-csrf-token"  # for requests that are no forms


class Doorkeeper:
    """An ASGI middleware: puts the `Person`, or None, into `request.state.person`.

    Where the journal alone knows whose session it is and cannot be asked, `request.state.unasked` is what went wrong.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Around `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] == "http" and not scope["path"].startswith("/static/"):
            token = HTTPConnection(scope).cookies.get(COOKIE)
            state = scope.setdefault("state", {})
            state["person"] = state["unasked"] = None
            try:
                state["person"] = await scope["app"].state.access.sessions.find(token)
            except Unasked as error:
                state["unasked"] = error
        await self._app(scope, receive, send)


def at_least(role: Role) -> Callable[[Request], Awaitable[Person]]:
    """A dependency: the person, who has this role; raises Unauthorised, Forbidden and Unasked."""

    async def let_in(request: Request) -> Person:
        person: Person | None = getattr(request.state, "person", None)
        if person is None:
            raise getattr(request.state, "unasked", None) or Unauthorised("nobody is logged in")
        if request.method not in SAFE:
            await check_token(request, person)
        if not person.role.covers(role):
            roles = {"role": role.value, "has": person.role.value}
            raise Forbidden(Sentence(NotDone.TAKES_ANOTHER_ROLE, who=person.name, **roles))
        return person

    return let_in


async def check_token(request: Request, person: Person) -> None:
    """Raise Forbidden unless the form, or the header, bears the token of this session."""
    brought = request.headers.get(HEADER)
    if brought is None:
        brought = str((await request.form()).get(FIELD, ""))
    if not compare_digest(brought.encode(), person.csrf.encode()):
        raise Forbidden(Sentence(NotDone.FORM_OF_ANOTHER))


Viewer = Annotated[Person, Depends(at_least(Role.VIEWER))]
Operator = Annotated[Person, Depends(at_least(Role.OPERATOR))]
