"""Who did what, when and why: every act of an operator, at the console or the command line, the newest first.

The list goes down the primary key. A filter looks at LOOKED acts at a time, and says so when it found few in them.
What an operator typed is shown; what came with an order, an answer or a message is masked, as on an order's page.
An act of the console that took many steps is one line, the newest step's, with what they came to together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import text

from orders.errors import NotFound
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console import fields as read
from workers.console.access.guard import Viewer
from workers.console.i18n import NONE, Words
from workers.console.masking import in_line, said, say
from workers.console.rendering import page, words_of
from workers.console.state import AppState
from workers.erp.own_words import FOREIGN

router = APIRouter()

PAGE_ACTS: Final = 50  # acts on a page
LOOKED: Final = 500  # acts that a filter looks at for a page
FOLDED: Final = 5  # of a list, the rest is counted
CODED: Final = frozenset({"role", "state", "priority"})  # whose values are words of ours
MOST_ID: Final = 2**63 - 1
ROWS: Final = text("""
SELECT o.id, o.at, o.operator, o.act, o.reason, o.detail, whole.steps, whole.orders FROM operations o
LEFT JOIN LATERAL (
  SELECT count(*) AS steps, sum(CAST(step.detail ->> 'orders' AS bigint)) AS orders, max(step.id) AS newest
  FROM acts a JOIN operations step ON step.id = ANY(a.operations) AND step.act = o.act
  WHERE a.id = CAST(o.detail ->> 'act' AS uuid)
) whole ON true
WHERE o.id < :before AND (whole.newest IS NULL OR whole.newest <= o.id) ORDER BY o.id DESC LIMIT :most
""")
ONE: Final = text("SELECT id, at, operator, act, reason, detail, tx FROM operations WHERE id = :id")

Word = Annotated[str, Query(max_length=100)]


@router.get("/operations")
async def get_operations(
    request: Request,
    state: AppState,
    who: Viewer,
    operator: Word = "",
    act: Word = "",
    after: Annotated[str, Query(max_length=1024)] = "",
) -> Response:
    """A page of them, of one operator or one kind of act where that is asked."""
    read.gather({"operator": operator, "act": act}, {}, {"operator": read.line, "act": read.line})
    place = f"operations {operator!r} {act!r}"
    [before] = state.cursors.read(place, after, int) or [MOST_ID]
    filtered = bool(operator or act)
    async with state.engine.connect() as connection:
        most = LOOKED if filtered else PAGE_ACTS + 1
        found = [dict(row) for row in (await connection.execute(ROWS, {"before": before, "most": most})).mappings()]
    rows = [row for row in found if operator in ("", row["operator"]) and act in ("", row["act"])]
    lowest = _lowest(found, rows, most)
    older = _href(operator=operator, act=act, after=state.cursors.sign(place, [lowest])) if lowest else None
    words = words_of(request)
    return page(
        request,
        "report/operations.html",
        rows=[{**row, "facts": told(_whole(row), words)} for row in rows[:PAGE_ACTS]],
        operator=operator,
        act=act,
        older=older,
        href=_href,
        looked=len(found) if filtered else None,
        first=not after,
    )


@router.get("/operations/{number}")
async def get_operation(request: Request, state: AppState, who: Viewer, number: str) -> Response:
    """One act, with all that is written of it."""
    if not re.fullmatch(r"[0-9]{1,19}", number, re.ASCII) or int(number) > MOST_ID:
        raise NotFound(Sentence(NotDone.NO_ACT))
    async with state.engine.connect() as connection:
        row = (await connection.execute(ONE, {"id": int(number)})).mappings().one_or_none()
    if row is None:
        raise NotFound(Sentence(NotDone.NO_ACT))
    facts = told(row["detail"], words_of(request), most=None)
    return page(request, "report/operation.html", row=row, facts=facts, href=_href)


def _whole(row: Mapping[str, Any]) -> dict[str, Any]:
    """What an act was about; of one in many steps what all of them came to."""
    if (row["steps"] or 0) <= 1:
        return dict(row["detail"])
    return {**row["detail"], "orders": row["orders"], "steps": row["steps"], "ids": None}


def told(detail: Mapping[str, Any], words: Words, most: int | None = FOLDED) -> list[tuple[str, list[str], int]]:
    """What an act was about as names and their values, at most `most` of a list, and how many more there are.

    Without the console's act that it was part of, which has a page, and what narrows a choice in no way.
    """
    facts = []
    for name, value in detail.items():
        if name == "act" or (name == "ids" and not value):
            continue
        values = value if isinstance(value, list) else [value]
        values = values or [None]
        kept = values if most is None else values[:most]
        facts.append(
            (
                words.gettext(name.replace("_", " ")),
                [plain(name, each, words) for each in kept],
                len(values) - len(kept),
            )
        )
    return facts


def plain(name: str, value: object, words: Words) -> str:
    """A value of that name as it is shown."""
    if value is None or isinstance(value, bool):
        return {None: NONE, True: words.gettext("yes"), False: words.gettext("no")}[value]
    if isinstance(value, Mapping) and "code" in value:
        return say(value, words)
    if isinstance(value, Mapping):
        return (
            ", ".join(
                f"{words.gettext(inner)}{words.colon} {plain(inner, each, words)}" for inner, each in value.items()
            )
            or NONE
        )
    if isinstance(value, list):
        return ", ".join(plain(name, each, words) for each in value)
    return _masked(name, str(value), words)


def _masked(name: str, value: str, words: Words) -> str:
    """Without what a person outside may have written."""
    if name in CODED:
        return words.gettext(value)
    return in_line(said(value), words) if name in FOREIGN else value


def _lowest(found: list[dict[str, Any]], rows: list[dict[str, Any]], most: int) -> int | None:
    """Where the next page begins: below what is shown, or below what was looked at; None at the end."""
    if len(rows) > PAGE_ACTS:
        return int(rows[PAGE_ACTS - 1]["id"])
    return int(found[-1]["id"]) if len(found) == most else None


def _href(**asked: str) -> str:
    words = {name: said for name, said in asked.items() if said}
    return "/operations" + (f"?{urlencode(words)}" if words else "")
