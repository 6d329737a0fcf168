"""The pages of the room `search`: the search, an order and its life, a pharmacy."""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.errors import NotFound
from orders.identifiers import looks_like_finess
from orders.journal import snapshot
from orders.queries.products import complete_at
from orders.receipt_lines import day_of
from orders.refusals import NotDone
from orders.rules.catalogue import BadList, Catalogue, demo_catalogue, load_catalogue
from orders.sentences import Sentence
from orders.states import CANCELLABLE, AsideKind
from workers.console import fields as read
from workers.console.access.guard import Operator, Viewer
from workers.console.access.people import Person
from workers.console.i18n import N_
from workers.console.labels import PRIORITIES, STATES
from workers.console.masking import in_line, line_reason, reference
from workers.console.rendering import page, words_of
from workers.console.search import pharmacy, query
from workers.console.search.explanation import outlook
from workers.console.search.order_life import OrderLife, aside_of, life_of
from workers.console.search.receipt_check import proven
from workers.console.search.timeline import FAMILIES, WIDE, entries, shapes
from workers.console.search.unmasking import unmask, unmasked_until
from workers.console.state import AppState, ConsoleState

router = APIRouter()

ASIDES: Final = {
    AsideKind.REPEATED: N_("It was the same as an order that had been accepted before; that one stands for it."),
    AsideKind.FORGED: N_("What was found in the spill was not written by our intake. It was set aside."),
    AsideKind.UNREADABLE: N_("What was found in the spill could not be read. It was set aside."),
}
LINES: Final = 200  # of an order that are shown at once


@router.get("/search")
async def get_search(
    request: Request, who: Viewer, state: AppState, q: str = "", by: str = "any", after: str = ""
) -> Response:
    """Find orders; an id leads straight to the order, a pharmacy's code to the pharmacy."""
    readers = {"q": read.line, "by": read.one_of("any", *query.WAYS)}
    wanted = read.gather({"q": " ".join(q.split()), "by": by}, {}, readers).get("q", "")
    show = partial(page, request, "search/search.html", q=wanted, by=by, ways=query.WAYS, states=STATES)
    if not wanted:
        return show(found=None, others={}, upto=None, more=None, way=None)
    if by == "any" and (order := query.identified(wanted)) is not None:
        return RedirectResponse(f"/order/{order}", status_code=303)
    if by == "product" and query.product_of(wanted) is None:
        raise read.wrong("q", Sentence(NotDone.PRODUCT))
    async with snapshot(state.engine) as connection:
        leads = await _leads(connection, by, wanted)
        way = next(iter(leads), None)
        if way == "pharmacy":
            return RedirectResponse(f"/pharmacy/{leads[way]}", status_code=303)
        upto = await complete_at(connection)
        if way is None:
            return show(found=[], others={}, upto=upto, more=None, way=None)
        name = f"search {way} {leads[way]}"
        begin = state.cursors.read(name, after, *query.PLACES.get(way, (UUID,)))
        found = await query.look(connection, way, leads[way], begin)
    rows, more = state.cursors.cut(name, found, query.PAGE_ORDERS, partial(query.place, way))
    others = {other: leads[other] for other in leads if other != way}
    return show(found=rows, others=others, upto=upto, more=more, way=way)


async def _leads(connection: AsyncConnection, by: str, q: str) -> dict[str, str]:
    """The ways that lead somewhere; a nine-digit FINESS is rather a pharmacy than a reference."""
    if by != "any":
        exact = await query.exactly(connection, by, q)
        return {} if exact is None else {by: exact}
    leads = await query.ways(connection, q)
    if looks_like_finess(q.upper()) and "pharmacy" in leads:
        return {"pharmacy": leads.pop("pharmacy"), **leads}
    return dict(sorted(leads.items(), key=lambda lead: lead[0] == "pharmacy"))


@router.get("/order/{order}")
async def get_order(request: Request, who: Viewer, state: AppState, order: UUID) -> Response:
    """An order: what it is, why it is where it is, its life, its receipt, its lines."""
    async with snapshot(state.engine) as connection:
        try:
            context = await _life(request, connection, state, who, order)
        except NotFound:
            aside = await aside_of(connection, order)
            if aside is None:
                return page(request, "search/unknown.html", status=404, order=order)
            return page(request, "search/aside.html", aside=aside, order=order, says=ASIDES.get(aside.kind, ""))
    return page(request, "search/order.html", **context)


@router.get("/order/{order}/life")
async def get_life(request: Request, who: Viewer, state: AppState, order: UUID) -> Response:
    """What of an order's page changes, as a fragment; asked for every other second until it is final."""
    async with snapshot(state.engine) as connection:
        context = await _life(request, connection, state, who, order)
    return page(request, "search/life.html", **context)


@router.post("/order/{order}/unmask")
async def post_unmask(who: Operator, state: AppState, order: UUID, reason: str = Form("")) -> Response:
    """Show this order's free text to this person for some minutes; recorded."""
    await unmask(state.engine, order, who, read.gather({"reason": reason}, {"reason": read.reason})["reason"])
    return RedirectResponse(f"/order/{order}#order-text", status_code=303)


@router.get("/pharmacy/{code}")
async def get_pharmacy(
    request: Request, who: Viewer, state: AppState, code: str, show: str = "all", after: str = ""
) -> Response:
    """A pharmacy's orders, the newest first; with `show` missing, those of them that are not wholly delivered."""
    read.gather({"show": show, "code": code}, {"show": read.one_of(*pharmacy.SHOWS), "code": read.line})
    name = f"pharmacy {show} {code}"
    begin = state.cursors.read(name, after, UUID)
    async with snapshot(state.engine) as connection:
        found = await pharmacy.orders_of(connection, code, begin, words_of(request))
    if not found and begin is None:
        raise NotFound(Sentence(NotDone.NO_ORDER_OF_PHARMACY, pharmacy=code))
    orders, more = state.cursors.cut(name, found, query.PAGE_ORDERS, lambda each: [str(each.row.id)])
    return page(
        request,
        "search/pharmacy.html",
        code=code,
        show=show,
        shows=pharmacy.SHOWS,
        orders=orders,
        more=more,
        states=STATES,
    )


async def _life(
    request: Request, connection: AsyncConnection, state: ConsoleState, who: Person, order: UUID
) -> dict[str, Any]:
    words, life = words_of(request), await life_of(connection, order)
    until = await unmasked_until(connection, order, who, life.order.now)
    whole = until is not None
    receipts = await proven(connection, life.parts["receipts"], words)
    found = entries(life, words, whole=whole)
    return {
        "life": life,
        "order": life.order,
        "found": found,
        "drawn": shapes(found, life),
        "wide": WIDE,
        "receipts": receipts,
        "named": lambda told: in_line(reference(told, whole=whole), words),
        "lines": _lines(life, receipts, _catalogue(state), whole),
        "until": until,
        "whole": whole,
        "state": STATES[life.order.state],
        "outlook": outlook(life.order, life.backends, life.order.now, words, whole=whole),
        "note": life.body.get("note"),
        "families": FAMILIES,
        "priorities": PRIORITIES,
        "longest": read.MOST_REASON,
        "shown_lines": LINES,
        "cancellable": life.order.state in CANCELLABLE and not life.order.unsure,
    }


def _lines(life: OrderLife, receipts: list[Any], catalogue: Catalogue, whole: bool) -> list[dict[str, Any]]:
    """What was ordered, beside what the newest receipt accepts of it."""
    accepted = {line.get("line"): line for line in (receipts[0].lines if receipts else ())}
    rows = []
    for number, line in enumerate(life.body["lines"][:LINES], 1):
        known, answer = catalogue.get(line["product"]), accepted.get(number, {})
        other = catalogue.get(answer.get("substitute"))
        rows.append(
            {
                "number": number,
                "product": line["product"],
                "label": known.label if known else None,
                "quantity": line["quantity"],
                "accepted": answer.get("accepted"),
                "reason": line_reason(answer.get("reason"), whole=whole),
                "substitute": answer.get("substitute"),
                "substitute_label": other.label if other else None,
                "back_ordered": answer.get("back_ordered"),
                "expected": day_of(answer),
            }
        )
    return rows


def _catalogue(state: ConsoleState) -> Catalogue:
    """The wholesaler's products, or those that come with Relais; a list that cannot be read costs the labels alone."""
    path = state.settings.files.catalogue
    if path not in _READ:
        try:
            _READ[path] = demo_catalogue() if path is None else load_catalogue(path)
        except BadList:
            _READ[path] = {}
    return _READ[path]


_READ: dict[Any, Catalogue] = {}
