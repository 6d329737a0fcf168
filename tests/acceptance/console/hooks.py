"""What schemathesis has to be told of the console: who is logged in, and stays so; that nothing comes back as a tag.

A session is begun in the journal whenever there is none, for what is tried may end it.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import schemathesis

from tests.acceptance.console.browsing import begin
from workers.console.access.guard import HEADER
from workers.console.access.people import Role
from workers.console.access.sessions import COOKIE, csrf_of

MARKS = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>')
ENDS = ("/login", "/logout", "/account")
session: list[str] = []


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """As an approver who is logged in, where the run is one of theirs; where it leads to is not followed."""
    kwargs["allow_redirects"] = False
    if "FUZZ_DATABASE" not in os.environ:
        return
    if not session:
        session.append(asyncio.run(begin(os.environ["FUZZ_DATABASE"], "fuzz", Role.APPROVER)))
    case.headers["Cookie"] = f"{COOKIE}={session[0]}"
    case.headers[HEADER] = csrf_of(session[0])


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Log in anew after what may have logged out."""
    if case.method != "GET" and case.path.startswith(ENDS):
        session.clear()


@schemathesis.check
def nothing_becomes_a_tag(context: Any, response: Any, case: Any) -> None:
    """What was sent is shown as text."""
    shown = response.content.decode(errors="replace")
    found = [mark for mark in MARKS if mark in shown]
    assert not found, f"{case.method} {case.path} gives back {found} as it came"


@schemathesis.check
def whoever_is_logged_in_stays_so(context: Any, response: Any, case: Any) -> None:
    """An approver's run is one of an approver: nobody is sent to log in but by what logs out."""
    if "FUZZ_DATABASE" in os.environ and not case.path.startswith(ENDS):
        sent = [*response.headers.get("location", [])]
        assert not any("/login" in each for each in sent), f"{case.method} {case.path} was sent to {sent}"
        assert response.status_code != 401, f"{case.method} {case.path} was answered 401"
