"""The acts of the room `report`: an audit of the whole journal, and the report of a span, which begins with one.

They do what `relais audit` and `relais audit --report` do, apart from the pages and on a connection of their own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.journal import transactional
from workers.console.access.people import Role
from workers.console.acts.act import Act, Chosen, Preview, Running
from workers.console.acts.follow import Reached, followed
from workers.console.i18n import N_, Words
from workers.console.report import spans
from workers.console.report.background import aside
from workers.console.report.store import SHOWN, ReportStore, shown
from workers.console.report.voice import in_file
from workers.console.state import ConsoleState
from workers.operations import record
from workers.proof.audit import Proof, prove, write_down
from workers.proof.report.incident import read_incident
from workers.proof.report.pdf import printed
from workers.proof.report.report import render
from workers.proof.report.report_model import contents

ROWS: Final = text("SELECT coalesce(sum(greatest(reltuples, 0)), 0) FROM pg_class WHERE relname = 'orders'")
READING: Final = N_("It reads the whole journal: minutes, where there are millions of orders.")
NO_KEY: Final = N_("This console has no RELAIS_SEAL_KEY: what is sealed cannot be verified here.")


async def _preview(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    """An audit touches no order; what it will read is estimated, which costs nothing."""
    async with state.engine.connect() as connection:
        rows = int((await connection.execute(ROWS)).scalar_one())
    facts = [(words.gettext("Orders in the journal, about"), words.number(rows))]
    if state.settings.proof.key is None:
        facts.append((words.gettext("Seals"), words.gettext(NO_KEY)))
    return Preview(None, facts, warning=words.gettext(READING))


async def _preview_report(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    since, until = spans.span(chosen, state.settings.console.time_zone)
    found = await _preview(state, chosen, words)
    begins = words.moment(since) if since else words.gettext("with the first order")
    ends = words.moment(until) if until else words.gettext("when it is made")
    facts = [(words.gettext("Begins"), begins), (words.gettext("Ends"), ends), *found.facts]
    return Preview(None, facts, warning=found.warning)


async def _audit(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    reached = Reached()

    async def work() -> Proof:
        async with state.unhurried(pool=1) as engine:
            return await prove(engine, state.settings, watch=reached.at)

    proof = await followed(aside(work), reached, running)
    await write_down(state.engine, proof, reason)
    return {
        "sound": proof.sound,
        "accepted": proof.ledger.accepted,
        "blocks": proof.chain.blocks,
        "faults": len(proof.faults),
        "first": [fault.stored() for fault in proof.faults[:20]],
        "remarks": [remark.stored() for remark in proof.chain.remarks],
    }


async def _report(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    since, until = spans.span(chosen, state.settings.console.time_zone)
    reached, report = Reached(), uuid4()

    async def work() -> tuple[Proof, dict[str, bytes]]:
        async with state.unhurried(pool=1) as engine:
            proof = await prove(engine, state.settings, watch=reached.at)
            return proof, await _written(state, engine, proof, since, until)

    proof, files = await followed(aside(work), reached, running)
    await write_down(state.engine, proof, reason)
    await _record(state.engine, report, {"since": since, "until": until}, reason, files)
    await asyncio.to_thread(ReportStore(state.settings.files.data_dir).put, report, files)
    return {"sound": proof.sound, "faults": len(proof.faults), "report": f"/report/{report}"}


async def _written(
    state: ConsoleState, engine: AsyncEngine, proof: Proof, since: datetime | None, until: datetime | None
) -> dict[str, bytes]:
    told = contents(proof, await read_incident(engine, since, until, proof.at))
    files = {SHOWN: shown(told)}
    for language, words in state.pages.words.items():
        voice = in_file(words, state.settings.console.time_zone)
        files |= {f"{language}.html": render(told, voice).encode(), f"{language}.pdf": printed(told, voice)}
    return files


async def _record(
    engine: AsyncEngine, report: UUID, span: Mapping[str, datetime | None], reason: str, files: Mapping[str, bytes]
) -> None:
    """With its span, and the digests, so that a file that was handed on can be told from one that was altered."""
    digests = {kind: hashlib.sha256(content).hexdigest() for kind, content in files.items() if kind != SHOWN}
    async with transactional(engine).begin() as connection:
        await record(connection, "report", reason, {"report": report, **span, "sha256": digests})


def _nothing(fields: Mapping[str, str]) -> Chosen:
    return {}


AUDIT: Final = Act(
    "audit",
    N_("Audit the journal"),
    N_("Audit"),
    Role.OPERATOR,
    _nothing,
    _preview,
    _audit,
    long=True,
    told={
        "sound": N_("All is well"),
        "accepted": N_("Orders accepted"),
        "blocks": N_("Sealed blocks"),
        "faults": N_("Faults"),
        "first": N_("The first of them"),
        "remarks": N_("Remarks"),
    },
)
REPORT: Final = Act(
    "report",
    N_("Make a report"),
    N_("Make the report"),
    Role.OPERATOR,
    spans.choose,
    _preview_report,
    _report,
    long=True,
    told={"sound": N_("All is well"), "faults": N_("Faults"), "report": N_("The report")},
)
ACTS: Final[tuple[Act, ...]] = (AUDIT, REPORT)
