"""The pages of acts: shown, reasoned, set going once, watched, stopped.

What an act touches is read anew when it is confirmed; where it is not what the person saw, nothing is done and the
page says what changed. The id in the form makes what is sent twice one act, whichever console gets it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from orders.errors import Forbidden, NotFound, NotSo
from orders.refusals import NotDone
from orders.schema.tables.acts import ActState
from orders.sentences import Sentence
from workers.console import fields
from workers.console.access.guard import Viewer
from workers.console.access.people import Person
from workers.console.acts import backend_pages, forms, summary, table
from workers.console.acts.act import Act, Chosen, Preview
from workers.console.acts.runner import Runner
from workers.console.i18n import N_
from workers.console.rendering import page, words_of
from workers.console.state import AppState, ConsoleState
from workers.operations import acting_as

router = APIRouter()
router.include_router(backend_pages.router)
PAGE_ACTS = 50  # acts of a page


@dataclass(frozen=True, slots=True)
class Subject:
    """An act, and what it is about: the fields that choose it, with what the choice added, and the choice."""

    act: Act
    fields: dict[str, str]
    chosen: Chosen


@router.get("/acts")
async def get_acts(request: Request, who: Viewer, state: AppState, after: str | None = None) -> Response:
    """What was done through the console, the newest first."""
    before = state.cursors.read("acts", after, datetime.fromisoformat, UUID)
    found = await table.newest(state.engine, PAGE_ACTS + 1, before)
    shown, more = state.cursors.cut(
        "acts", found, PAGE_ACTS, lambda row: [row["started_at"].isoformat(), str(row["id"])]
    )
    words, runner = words_of(request), _runner(request)
    acts = [
        {**row, "title": runner.title(row), "about": summary.about(row, words), "pill": summary.state_of(row, words)}
        for row in shown
    ]
    return page(request, "acts/acts.html", acts=acts, more=more and f"/acts?after={more}")


@router.get("/acts/{kind}")
async def get_form(request: Request, kind: str, who: Viewer, state: AppState) -> Response:
    """What an act would touch, and the form that does it."""
    subject = _subject(_act(request, kind, who), request.query_params.multi_items())
    preview = await _look(request, state, subject, who)
    return _form(request, subject, preview, forms.ActForm())


@router.post("/acts/{kind}")
async def post_act(request: Request, kind: str, who: Viewer, state: AppState) -> Response:
    """Do it, once."""
    form = await request.form()
    typed = forms.read_form(form)
    subject = _subject(_act(request, kind, who), form.multi_items())
    if await _is_known(state, typed.number, subject, who):
        return await _after(request, typed.number, subject.act)
    preview = await _look(request, state, subject, who)
    if preview.hindered is not None or preview.sees != typed.sees:
        if await _is_known(state, typed.number, subject, who):  # it was the first click that changed it
            return await _after(request, typed.number, subject.act)
        return _form(request, subject, preview, typed, status=409)
    if faults := _faults(request, subject, preview, typed):
        return _form(request, subject, preview, typed, status=422, faults=faults)
    reason, runner = fields.reason(typed.because), _runner(request)
    begun = await table.begin(state.engine, typed.number, subject.act, subject.chosen, subject.fields, reason, who)
    if begun:
        runner.start(typed.number, subject.act, subject.chosen, reason, who.name, preview.sees)
    else:
        await _is_known(state, typed.number, subject, who)
    return await _after(request, typed.number, subject.act)


@router.get("/act/{number}")
async def get_act(request: Request, number: UUID, who: Viewer, state: AppState) -> Response:
    """How far an act is, and what came of it."""
    row = await table.needed(state.engine, number)
    left = await table.operations_of(state.engine, row)
    return page(request, "acts/act.html", **_told(request, row), operations=left)


@router.get("/act/{number}/progress")
async def get_progress(request: Request, number: UUID, who: Viewer, state: AppState) -> Response:
    """The part of that page which changes; when the act is over, the whole page is loaded anew."""
    row = await table.needed(state.engine, number)
    answer = page(request, "acts/progress.html", **_told(request, row))
    if row["state"] != "running":
        answer.headers["HX-Refresh"] = "true"
    return answer


@router.post("/act/{number}/stop")
async def post_stop(request: Request, number: UUID, who: Viewer, state: AppState) -> Response:
    """Ask an act to stop at its next batch; one that is over stays as it is."""
    row = await table.needed(state.engine, number)
    act = _act(request, row["kind"], who)
    if not act.long:
        raise NotSo(Sentence(NotDone.ONE_STEP))
    await table.ask_to_stop(state.engine, number, who.name)
    _runner(request).stop(number, who.name)
    return _to(number)


def _runner(request: Request) -> Runner:
    runner: Runner = request.app.state.acts
    return runner


def _act(request: Request, kind: str, who: Person) -> Act:
    act = _runner(request).kinds.get(kind)
    if act is None:
        raise NotFound(Sentence(NotDone.NO_ACT))
    if not who.role.covers(act.role):
        raise Forbidden(Sentence(NotDone.TAKES_ANOTHER_ROLE, role=act.role.value, who=who.name, has=who.role.value))
    return act


def _subject(act: Act, pairs: Any) -> Subject:
    given = fields.sent(pairs, forms.RESERVED)
    chosen = json.loads(json.dumps(act.choose(given), default=str))
    added = {name: value for name, value in chosen.items() if name not in given and isinstance(value, str)}
    return Subject(act, {**given, **added}, chosen)


async def _look(request: Request, state: ConsoleState, subject: Subject, who: Person) -> Preview:
    with acting_as(who.name):
        return await subject.act.preview(state, subject.chosen, words_of(request))


async def _is_known(state: ConsoleState, number: UUID, subject: Subject, who: Person) -> bool:
    """Whether this very act was begun before. Raises NotSo when another one was under this id."""
    row = await table.find(state.engine, number)
    if row is None:
        return False
    if (row["kind"], row["chosen"], row["operator"]) != (subject.act.kind, subject.chosen, who.name):
        raise NotSo(Sentence(NotDone.FORM_USED))
    return True


def _faults(request: Request, subject: Subject, preview: Preview, typed: forms.ActForm) -> dict[str, str]:
    """What is wrong with what was typed, by field."""
    words, faults = words_of(request), {}
    try:
        fields.reason(typed.because)
    except ValueError:
        rule = words.gettext(N_("Write one line of {least} to {most} characters."))
        faults["because"] = rule.format(least=fields.LEAST_REASON, most=fields.MOST_REASON)
    wanted = forms.wanted(preview, subject.chosen)
    if subject.act.danger and not forms.confirmed(typed.confirm, wanted):
        faults["confirm"] = words.gettext(N_("Type {what} here to go ahead.")).format(what=wanted)
    return faults


def _form(
    request: Request,
    subject: Subject,
    preview: Preview,
    typed: forms.ActForm,
    *,
    status: int = 200,
    faults: dict[str, str] | None = None,
) -> Response:
    words = words_of(request)
    sample = [[summary.said(row.get(key), words) for key, _ in preview.columns] for row in preview.sample]
    return page(
        request,
        "acts/form.html",
        status=status,
        act=subject.act,
        fields=subject.fields,
        preview=preview,
        typed=typed,
        faults=faults or {},
        wanted=forms.wanted(preview, subject.chosen),
        back=summary.back(subject.fields),
        saw=forms.saw(preview),
        changed=status == 409,
        changes=forms.changes(typed.saw, preview) if status == 409 else [],
        sample=sample,
        headings=[words.gettext(heading) for _, heading in preview.columns],
        least=fields.LEAST_REASON,
        most=fields.MOST_REASON,
    )


def _told(request: Request, row: dict[str, Any]) -> dict[str, Any]:
    words, runner = words_of(request), _runner(request)
    act = runner.kinds.get(row["kind"])
    return {
        "row": row,
        "act": act,
        "title": runner.title(row),
        "about": summary.about(row, words),
        "left": summary.left(row),
        "pill": summary.state_of(row, words),
        "headline": summary.headline(row, words),
        "outcome": summary.outcome(act, row, words),
    }


async def _after(request: Request, number: UUID, act: Act) -> Response:
    """Where one sees what came of it, for each click alike: the page that an act leads to once done, else its own."""
    row = None if act.long else await _runner(request).over(number)
    if row is None or not act.after or row["state"] != ActState.DONE:
        return _to(number)
    came = {name: quote(str(value)) for name, value in row["outcome"].items()}
    return RedirectResponse(act.after.format(did=number, **came), status_code=303)


def _to(number: UUID) -> Response:
    return RedirectResponse(f"/act/{number}", status_code=303)
