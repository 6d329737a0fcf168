"""The acts that ask an ERP what it has of what it acknowledged, and that send again what it has forgotten.

They are those of `relais reconcile`. A run is kept with its number: one that was stopped, or that lost its console,
is resumed where it was, here or from a shell.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from config.durations import instant
from config.settings import MissingSetting, Settings
from orders.errors import NotSo
from orders.refusals import NotDone
from orders.schema.tables.reconcile import ReconcileStage
from orders.sentences import Sentence
from workers.console import fields as read
from workers.console.access.people import Role
from workers.console.acts.act import Act, Chosen, Preview, Running, Stopped, digest_of
from workers.console.acts.follow import Reached, followed
from workers.console.i18n import N_, Words
from workers.console.recovery import common as sh
from workers.console.recovery import queries as kept
from workers.console.state import ConsoleState
from workers.erp import connectors
from workers.erp.connectors import BadConnector, open_erp
from workers.reconcile import compare, resend, runs
from workers.reconcile.patience import Patience
from workers.reconcile.runs import Reconciliation
from workers.trust.key_cache import ReceiptKeyCache

log = logging.getLogger("relais.console")

LONGEST_SILENCE: Final = 60.0  # seconds that the ERP may be silent, as of the command line

COUNTS: Final = {
    "present": N_("As acknowledged"),
    "missing": N_("Missing"),
    "altered": N_("Altered"),
    "unknown": N_("Unknown"),
    "foreign": N_("Foreign"),
    "moved": N_("Not with it any more by our own books"),
    "resent": N_("Sent again"),
}


def _choose(fields: Mapping[str, str]) -> Chosen:
    if fields.get("run", "").strip():
        return read.gather(fields, {"run": read.number})
    needed = {"backend": read.backend, "since": read.moment}
    chosen = read.gather(fields, needed, {"until": read.moment})
    since, until = _span(chosen)
    if since >= datetime.now(UTC):
        raise read.wrong("since", Sentence(NotDone.NOT_PAST))
    if until is not None and until <= since:
        raise read.wrong("until", Sentence(NotDone.AFTER_SINCE))
    return chosen


def _span(chosen: Chosen) -> tuple[datetime, datetime | None]:
    """From when, and until when; ages count from now."""
    return instant(chosen["since"]), instant(chosen["until"]) if "until" in chosen else None


async def _preview(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    if "run" in chosen:
        return await _preview_again(state, await runs.read(state.engine, int(chosen["run"])), words)
    settings = sh.settings_for(state, chosen["backend"])
    row = (await sh.backends_of(state)).get(chosen["backend"])
    short = await runs.newest(state.engine, backend=settings.erp.backend, cut_short=True, limit=1)
    warning = words.gettext("Reconciliation {0} of this backend is under way, or was cut short: it can be resumed.")
    since, until = _span(chosen)
    span = {"backend": settings.erp.backend, "since": since, "until": until or datetime.now(UTC)}
    return Preview(
        orders=await sh.in_time(kept.asked_about(state.engine, span)),
        facts=[
            (words.gettext("Backend"), f"{settings.erp.backend}{words.colon} {sh.how(row, words)}"),
            (words.gettext("Acknowledged since"), words.moment(since)),
            (words.gettext("Until"), words.moment(until) if until else words.gettext("now")),
            _stopping(words),
        ],
        sees=digest_of("reconcile", settings.erp.backend, [run.id for run in short]),
        hindered=_unable(settings, words),
        warning=warning.format(short[0].id) if short else None,
    )


async def _preview_again(state: ConsoleState, run: Reconciliation, words: Words) -> Preview:
    settings = sh.settings_for(state, run.backend)
    hindered = _unable(settings, words)
    if run.state != ReconcileStage.RUNNING:
        hindered = words.gettext("This reconciliation is done: there is nothing to resume.")
    left = {"backend": run.backend, "since": run.cursor_at, "until": run.until}
    return Preview(
        orders=await sh.in_time(kept.asked_about(state.engine, left)),
        facts=[*_facts(run, words), _stopping(words)],
        sees=digest_of("resume", run.id, run.state),
        hindered=hindered,
    )


def _facts(run: Reconciliation, words: Words) -> list[tuple[str, str]]:
    counts = [(words.gettext(COUNTS[name]), words.number(getattr(run, name))) for name in COUNTS]
    return [
        (words.gettext("Reconciliation"), f"{run.id} ({run.backend})"),
        (words.gettext("Acknowledged since"), words.moment(run.since)),
        (words.gettext("Until"), words.moment(run.until)),
        (words.gettext("Started"), f"{words.moment(run.started_at)}, {run.started_by}"),
        *counts,
    ]


def _stopping(words: Words) -> tuple[str, str]:
    return words.gettext("When it is stopped"), words.gettext("it can be resumed where it was")


def _unable(settings: Settings, words: Words) -> str | None:
    """Why the console cannot ask this backend's ERP, if it cannot; what ails its connector is in the log."""
    try:
        connectors.check(settings)
    except MissingSetting:
        return words.gettext("The console does not know the ERP's address (RELAIS_ERP_URL), so it cannot ask it.")
    except BadConnector as error:
        log.warning("a connector cannot be used", extra={"backend": settings.erp.backend, "error": str(error)})
        return words.gettext("The connector to this ERP ({0}) cannot be used here, so it cannot be asked.").format(
            settings.erp.kind
        )
    return None


async def _run(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    run = await _begun(state, chosen, reason)
    settings = sh.settings_for(state, run.backend)
    async with state.unhurried(pool=3) as engine:
        erp = open_erp(settings, ReceiptKeyCache(engine, settings.erp.backend))

        patience, reached = Patience(LONGEST_SILENCE, settings.delivery.batch_budget), Reached()
        try:
            done = await followed(compare.reconcile(engine, erp, run, patience, reached.at), reached, running)
        except Stopped as stopped:
            stopped.outcome = {"reconciliation": run.id}
            raise
        finally:
            await erp.close()
    return {"reconciliation": done.id, **{name: getattr(done, name) for name in COUNTS}}


async def _begun(state: ConsoleState, chosen: Chosen, reason: str) -> Reconciliation:
    """A new run, or one of before, with the record of it."""
    if "run" not in chosen:
        connectors.check(sh.settings_for(state, chosen["backend"]))
        since, until = _span(chosen)
        return await runs.begin(state.engine, chosen["backend"], since, until, reason)
    run = await runs.read(state.engine, int(chosen["run"]))
    await runs.go_on(state.engine, run, reason)
    return run


def _choose_resend(fields: Mapping[str, str]) -> Chosen:
    return read.gather(fields, {"run": read.number})


async def _preview_resend(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    run = await runs.read(state.engine, int(chosen["run"]))
    found = await resend.preview(state.engine, run)
    expired = words.gettext("Past the time until which they are valid: they become dead letters")
    hindered = None
    if run.state == ReconcileStage.RUNNING:
        hindered = words.gettext("This reconciliation is not done: it is resumed first.")
    elif not found["orders"]:
        hindered = words.gettext("Nothing that it found missing is still to be sent again.")
    return Preview(
        orders=found["orders"],
        facts=[*_facts(run, words), *sh.ordered(found, words), (expired, words.number(found["expired"]))],
        sample=found["sample"],
        sees=digest_of("resend", run.id, run.state),
        hindered=hindered,
        warning=words.gettext("They go out again under the same idempotency keys; the ERP is asked before each."),
    )


async def _resend(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    run = await runs.read(state.engine, int(chosen["run"]))
    if run.state == ReconcileStage.RUNNING:
        raise NotSo(Sentence(NotDone.NOT_RECONCILED, run=run.id))
    total, reached = (await resend.preview(state.engine, run))["orders"], Reached()
    async with state.unhurried(pool=2) as engine:
        work = resend.resend(engine, run, reason, lambda done: reached.at(done, max(done, total)))
        return {"reconciliation": run.id, "orders": await followed(work, reached, running)}


ACTS: Final = (
    Act(
        "reconcile",
        N_("Reconcile with the ERP"),
        N_("Ask the ERP"),
        Role.OPERATOR,
        _choose,
        _preview,
        _run,
        long=True,
        told={"reconciliation": N_("Reconciliation"), **COUNTS},
    ),
    Act(
        "resend",
        N_("Send again what the ERP has forgotten"),
        N_("Send them again"),
        Role.OPERATOR,
        _choose_resend,
        _preview_resend,
        _resend,
        long=True,
        told={"reconciliation": N_("Reconciliation"), "orders": N_("Orders put back")},
    ),
)
