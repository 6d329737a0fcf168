"""The counter: one question of a pharmacy's software in, one answer out; all of PharmaML that the HTTP route sees.

An order that is safe is answered FIN_SERVICE, "received, the reply comes later"; one that cannot be taken is answered
ERREUR, in words. Only where it is not known to be safe does this raise, so that the route answers with a status
that no software takes for a receipt.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from orders.errors import Conflict, Forbidden
from orders.intake.entries import Accepted
from orders.model import Order
from orders.pharmaml.control import Keys, check
from orders.pharmaml.decoding import decode
from orders.pharmaml.encoding import encode
from orders.pharmaml.mapping import to_order
from orders.pharmaml.messages import (
    MOST_DETAIL,
    Action,
    Commande,
    Content,
    Envelope,
    EnvelopeErreur,
    EnvelopeHead,
    Erreur,
    Nature,
    NotUnderstood,
    Partner,
    Statut,
    shortened,
)
from orders.pharmaml.pieces import Turn, in_turns
from orders.pharmaml.replies import Deposited, message_reference, reply_to
from orders.pharmaml.safe_xml import encoding_of, writable

PRODUCTION: Final = "P"
ANSWERS: Final = {Nature.REQ_EMISSION: Nature.REP_EMISSION, Nature.REQ_RECEPTION: Nature.REP_RECEPTION}
NOBODY: Final = EnvelopeHead(
    Nature.REQ_EMISSION, Partner("OF", "00", "0", "-"), Partner("RE", "00", "0", "Relais"), reference="0"
)


@dataclass(frozen=True, slots=True)
class Counter:
    """What the counter works with, for one caller.

    `allow` raises Forbidden for a pharmacy that the caller may not speak for. `accept` takes an order with its origin
    and raises Conflict, and whatever else means that the order is not known to be safe. `now` is in the zone of the
    dates in answers, which name none. `turn` is had for each piece of a long message.
    """

    allow: Callable[[str], None]
    accept: Callable[[Order, Mapping[str, Any]], Awaitable[Accepted]]
    oldest: Callable[[str], Awaitable[Deposited | None]]
    acknowledge: Callable[[str, str], Awaitable[None]]
    keys: Keys = field(default_factory=dict)
    turn: Turn = nullcontext
    now: Callable[[], datetime] = lambda: datetime.now(UTC).astimezone()


class Answered(NamedTuple):
    """The body of the answer, its Content-Type, and whether it is an ERREUR."""

    body: bytes
    media_type: str
    refused: bool


async def answer(
    raw: bytes, counter: Counter, *, content_type: str | None = None, control: str | None = None
) -> Answered:
    """What to answer with HTTP 200; `control` is the header Content-PharmaML.

    Raises only what `accept`, `oldest` and `acknowledge` raise, other than Conflict.
    """
    encoding, head, refused = "UTF-8", None, False
    try:
        encoding = encoding_of(raw, content_type)
        envelope = await in_turns(decode(raw, encoding), counter.turn)
        head = envelope.head
        content, reference = await _answer(raw, envelope, counter, control)
    except NotUnderstood as error:
        head, refused = head or error.head, True
        content, reference = _erreur(head, error.status, error.detail), None
    reply = Envelope(_head(head or NOBODY, reference, counter.now(), answered=head is not None), content)
    body = await in_turns(encode(reply, encoding), counter.turn)
    return Answered(body, f"text/xml; charset={encoding}", refused)


async def _answer(raw: bytes, envelope: Envelope, counter: Counter, control: str | None) -> tuple[Content, str | None]:
    """What to say, and the REF_MESSAGE that it must have, if it must."""
    head, content = envelope.head, envelope.content
    pharmacy = head.sender.id
    if head.nature not in ANSWERS:
        raise NotUnderstood(Statut.ENVELOPE, "Nature_Action : REQ_EMISSION ou REQ_RECEPTION attendue")
    try:
        counter.allow(pharmacy)
    except Forbidden:
        raise NotUnderstood(Statut.NOT_ALLOWED, "Officine non autorisée pour cet accès") from None
    check(raw, pharmacy, control, counter.keys)
    if head.usage != PRODUCTION:
        raise NotUnderstood(Statut.TEST, "Usage P (production) attendu : rien n'a été commandé")
    if isinstance(content, Commande) and head.nature is Nature.REQ_EMISSION:
        return await _take(envelope.head, content, counter), None
    if content is Action.VIDAGE and head.nature is Nature.REQ_RECEPTION:
        return await _next(head, counter)
    if content is Action.ACQUITTEMENT:
        return await _acknowledge(head, counter)
    raise NotUnderstood(Statut.SERVICE, "Service non pris en charge pour cette Nature_Action")


async def _take(head: EnvelopeHead, commande: Commande, counter: Counter) -> Content:
    """An order is answered as the first time when it comes again: the first answer may have been lost."""
    order, origin = await in_turns(to_order(head, commande), counter.turn)
    try:
        await counter.accept(order, origin)
    except Conflict:
        words = "Ref_Cde_Client déjà utilisée pour une autre commande ; celle-ci n'est pas prise en compte"
        raise NotUnderstood(Statut.REUSED, words) from None
    return Action.FIN_SERVICE


async def _next(head: EnvelopeHead, counter: Counter) -> tuple[Content, str | None]:
    """The oldest reply in the deposit, or FIN_SERVICE: nothing there."""
    deposited = await counter.oldest(head.sender.id)
    if deposited is None:
        return Action.FIN_SERVICE, None
    company = (head.recipient.code, head.recipient.id)
    return reply_to(deposited, head.sender.id, company), message_reference(deposited.id)


async def _acknowledge(head: EnvelopeHead, counter: Counter) -> tuple[Content, str | None]:
    """In a REQ_RECEPTION the answer is the next reply; in a REQ_EMISSION there is nothing more to say."""
    if head.answers is None:
        raise NotUnderstood(Statut.REFERENCE, "ACQUITTEMENT sans EN_REPONSE_A")
    await counter.acknowledge(head.sender.id, head.answers)
    return await _next(head, counter) if head.nature is Nature.REQ_RECEPTION else (Action.FIN_SERVICE, None)


def _erreur(head: EnvelopeHead | None, status: Statut, detail: str) -> Content:
    words = shortened(writable(detail), MOST_DETAIL)
    if head is None:
        return EnvelopeErreur(words)
    return Erreur(head.sender.id, (head.recipient.code, head.recipient.id), status, words)


def _head(asked: EnvelopeHead, reference: str | None, now: datetime, *, answered: bool) -> EnvelopeHead:
    """The answer's head: the question's, turned round."""
    return EnvelopeHead(
        nature=ANSWERS.get(asked.nature, Nature.REP_EMISSION),
        sender=_known(asked.recipient, "RE"),
        recipient=_known(asked.sender, "OF"),
        reference=reference or secrets.token_hex(10).upper(),
        answers=asked.reference if answered else None,
        date=now.replace(tzinfo=None, microsecond=0),
        software_version=_own_version(),
    )


@cache
def _own_version() -> str:
    return version("relais")[:10]


def _known(partner: Partner, nature: str) -> Partner:
    """A partner as the schema wants it, whatever was sent."""
    return Partner(nature, partner.code or "00", partner.id, shortened(partner.address, MOST_DETAIL) or "-")
