"""The act that sends chosen orders of the backlog to another backend, as `relais divert` does.

What may be with its own backend already stays behind, unless it is named and said so; both are shown before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from config.settings.routes_file import load_backends
from orders.errors import NotSo
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console import fields as read
from workers.console.access.people import Role
from workers.console.acts.act import COLUMNS, Act, Chosen, Preview, Running, digest_of
from workers.console.i18n import N_, Words
from workers.console.order_fields import OF_BACKLOG, choice_of
from workers.console.recovery import common as sh
from workers.console.state import ConsoleState
from workers.replay import divert


def _choose(fields: Mapping[str, str]) -> Chosen:
    optional = {"from": read.backend, **OF_BACKLOG, "ids": read.ids, "although_unknown": read.yes}
    chosen = read.gather(fields, {"to": read.backend}, optional)
    if "although_unknown" in chosen and "ids" not in chosen:
        raise read.wrong("although_unknown", Sentence(NotDone.BY_ID_ONLY))
    if chosen["to"] == chosen.get("from"):
        raise read.wrong("to", Sentence(NotDone.ANOTHER_BACKEND))
    return chosen


async def _preview(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    if chosen["to"] not in (known := load_backends(state.settings)):
        raise read.wrong("to", Sentence(NotDone.ONE_OF, known=", ".join(known)))
    rows = await sh.backends_of(state, chosen["to"], chosen.get("from"))
    choice = choice_of(chosen, chosen.get("from"))
    unknown = "although_unknown" in chosen
    found = await sh.in_time(divert.preview(state.engine, choice, chosen["to"], although_unknown=unknown))
    facts = [(words.gettext("To the backend"), f"{chosen['to']}{words.colon} {sh.how(rows.get(chosen['to']), words)}")]
    facts += [(words.gettext("From the backend"), _from(chosen, found, rows, words)), *sh.narrowing(chosen, words)]
    judged = [sh.held(rows.get(name)) for name in (chosen["to"], chosen.get("from", ""))]
    return Preview(
        orders=None if found is None else found["orders"],
        facts=facts if found is None else facts + sh.ordered(found, words) + _staying(found, words),
        sample=[] if found is None else found["sample"],
        columns=(*COLUMNS, ("backend", N_("Backend"))),
        sees=digest_of("divert", chosen, judged, found["orders"] if found and choice.ids else None),
        hindered=_hindered(chosen, found, words),
        warning=_warning(rows.get(chosen["to"]), unknown, words),
    )


def _from(chosen: Chosen, found: Mapping[str, Any] | None, rows: Mapping[str, Any], words: Words) -> str:
    names = [chosen["from"]] if "from" in chosen else (found or {}).get("backends") or []
    told = [f"{name}{words.colon} {sh.how(rows.get(name), words)}" for name in names]
    return "; ".join(told) or words.gettext("every other backend")


def _staying(found: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    return [
        (words.gettext("Moved although their backend may have them"), words.number(found["unknown"])),
        (words.gettext("Stay: their backend may have them"), words.number(found["left_unknown"])),
        (words.gettext("Stay: on their way"), words.number(found["left_on_their_way"])),
    ]


def _hindered(chosen: Chosen, found: Mapping[str, Any] | None, words: Words) -> str | None:
    if found is None:
        return None
    named = choice_of(chosen, None).ids
    if named is not None and found["orders"] < len(named):
        told = words.ngettext(
            "Only {0} of the {1} order that is named can be moved: none is.",
            "Only {0} of the {1} orders that are named can be moved: none is.",
            len(named),
        )
        return told.format(words.number(found["orders"]), words.number(len(named)))
    return None if found["orders"] else words.gettext("No order of the backlog is chosen by this.")


def _warning(row: Mapping[str, Any] | None, unknown: bool, words: Words) -> str | None:
    told = []
    if row is not None and sh.held(dict(row)) != (False, False, True):
        told.append(words.gettext("The backend that they go to takes no orders now."))
    if unknown:
        told.append(words.gettext("Their own backend may have them already: a pharmacy may be delivered twice."))
    return " ".join(told) or None


async def _run(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    choice = choice_of(chosen, chosen.get("from"))
    unknown = "although_unknown" in chosen
    async with state.unhurried(pool=2) as engine:
        if choice.ids is not None:
            found = await divert.preview(engine, choice, chosen["to"], although_unknown=unknown)
            if found["orders"] < len(choice.ids):
                raise NotSo(Sentence(NotDone.FEWER, orders=found["orders"], named=len(choice.ids)))
        moved = await divert.divert(engine, choice, chosen["to"], reason, although_unknown=unknown)
    return {"to": chosen["to"], "orders": len(moved)}


ACT: Final = Act(
    "divert",
    N_("Divert orders to another backend"),
    N_("Divert them"),
    Role.OPERATOR,
    _choose,
    _preview,
    _run,
    danger=True,
    told={"to": N_("To the backend"), "orders": N_("Orders diverted")},
)
