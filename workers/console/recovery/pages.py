"""The pages of the room `recovery`: how recoveries stand, live; those that were; the forms that acts begin with.

A form here is a GET to the act's own page, which shows what it would touch before anything is done.
"""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from config.settings.routes_file import load_backends
from orders.errors import NotFound
from orders.queries import replays as replay_queries
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console import fields as read
from workers.console.access.guard import Operator, Viewer
from workers.console.acts import table
from workers.console.overview.state import Overview
from workers.console.recovery import findings, stages, views
from workers.console.recovery import queries as kept
from workers.console.recovery.cached import Lately
from workers.console.recovery.reconciling import COUNTS
from workers.console.rendering import page, words_of
from workers.console.state import AppState, ConsoleState
from workers.reconcile import runs

router = APIRouter()

PAGE: Final = 25  # rows of a list
FINDINGS: Final = 50

Number = Annotated[int, Path(ge=1, le=10**15)]


@router.get("/recovery")
async def get_recovery(
    request: Request, state: AppState, overview: Overview, who: Viewer, did: UUID | None = None
) -> Response:
    """How recoveries stand, and the newest of those that were; `did` is the act that led here."""
    act = await table.find(state.engine, did) if did else None
    title = act and request.app.state.acts.title(act)
    return await _standing(request, state, overview, "recovery/recovery.html", act=act, title=title)


@router.get("/recovery/standing")
async def get_standing(request: Request, state: AppState, overview: Overview, who: Viewer) -> Response:
    """The part of the page that moves."""
    return await _standing(request, state, overview, "recovery/standing.html")


@router.get("/recovery/replays")
async def get_replays(request: Request, state: AppState, who: Viewer, after: str = "") -> Response:
    """Every replay, the newest first."""
    [before] = state.cursors.read("replays", after, int) or [None]
    found = await kept.past(state.engine, before, PAGE + 1)
    rows, more = state.cursors.cut("replays", found, PAGE, lambda row: [row["id"]])
    return page(request, "recovery/replays.html", rows=rows, more=more, **_names())


@router.get("/recovery/replays/{number}")
async def get_replay(request: Request, state: AppState, who: Viewer, number: Number) -> Response:
    """One replay: its stages, and every try of a stage."""
    rows = await replay_queries.standing(state.engine, number)
    if not rows:
        raise NotFound(Sentence(NotDone.NO_REPLAY, replay=number))
    one = views.replay(rows[0], state.settings, None, words_of(request))
    return page(request, "recovery/replay.html", one=one, row=rows[0], **_names())


@router.get("/recovery/reconciliations")
async def get_reconciliations(request: Request, state: AppState, who: Viewer, after: str = "") -> Response:
    """Every reconciliation, the newest first."""
    [before] = state.cursors.read("reconciliations", after, int) or [None]
    found = await runs.newest(state.engine, before=before, limit=PAGE + 1)
    rows, more = state.cursors.cut("reconciliations", found, PAGE, lambda row: [row.id])
    return page(request, "recovery/reconciliations.html", rows=rows, more=more, **_names())


@router.get("/recovery/reconciliations/{number}")
async def get_reconciliation(
    request: Request, state: AppState, who: Viewer, number: Number, kind: str = "", after: str = ""
) -> Response:
    """One reconciliation, and what it found of one kind; of the gravest kind that it found when none is named."""
    read.gather({"kind": kind}, {}, {"kind": read.one_of(*findings.KINDS)})
    run = await runs.read(state.engine, number)
    chosen = kind or next((each for each in findings.KINDS if getattr(run, each)), "missing")
    place = f"findings {number} {chosen}"
    [from_] = state.cursors.read(place, after, UUID) or [None]
    found = await kept.found(state.engine, number, chosen, from_, FINDINGS + 1)
    rows, more = state.cursors.cut(place, found, FINDINGS, lambda row: [str(row["id"])])
    return page(
        request,
        "recovery/reconciliation.html",
        run=run,
        kind=chosen,
        more=more,
        rows=rows,
        listing=findings.listed(run.listing),
        counts=COUNTS,
        kinds=findings.KINDS,
        **_names(),
    )


@router.get("/recovery/replay")
async def get_replay_form(request: Request, state: AppState, who: Operator, backend: str = "") -> Response:
    """What to replay."""
    return _form(request, state, "recovery/replay_form.html", backend)


@router.get("/recovery/divert")
async def get_divert_form(
    request: Request, state: AppState, who: Operator, backend: str = "", ids: str = ""
) -> Response:
    """What to divert, and where to."""
    return _form(request, state, "recovery/divert_form.html", backend, ids=ids)


@router.get("/recovery/reconcile")
async def get_reconcile_form(request: Request, state: AppState, who: Operator, backend: str = "") -> Response:
    """About what to ask an ERP."""
    return _form(request, state, "recovery/reconcile_form.html", backend)


def _form(request: Request, state: ConsoleState, template: str, backend: str, **more: Any) -> Response:
    return page(request, template, backends=list(load_backends(state.settings)), backend=backend, **more)


async def _standing(request: Request, state: ConsoleState, overview: Overview, template: str, **more: Any) -> Response:
    """Of the one reading of this console, and its one forecast."""
    lately: Lately | None = getattr(request.app.state, "recovery", None)
    if lately is None:
        lately = request.app.state.recovery = Lately(state.engine)
    look, out = await lately.look()
    seen = views.shown(look, state.settings, words_of(request))
    survey = (await overview.poller.fresh()).survey.value
    forecasts = {each.backend: each for each in survey.forecasts} if survey else {}
    return page(request, template, look=look, out=out, seen=seen, forecasts=forecasts, **more, **_names())


def _names() -> dict[str, Any]:
    return {"states": stages.STATES, "stage_states": stages.STAGE_STATES, "run_states": views.RUN_STATES}
