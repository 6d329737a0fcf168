"""The HTTP connector: one order a request, many in flight, one keep-alive pool. It speaks docs/erp-contract.md.

It never raises for what an ERP does. Every order has a deadline, every batch a budget; what is certainly not taken
is tried again briefly, and tenacity is entered only then, so that an order that goes well does not pay for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from aiohttp import ClientResponse

from config.settings import Settings
from workers.erp import steady_clock
from workers.erp.attempts import PROBE, TRIES, Batch, Tried, held, noted, try_again, unasked
from workers.erp.call_span import calling
from workers.erp.checks.finding import CheckFinding
from workers.erp.credentials import Fixed, bearing, open_credentials
from workers.erp.failures import TABLE, Met
from workers.erp.http.answers import MOST_ASKED, keeping, read_pending, read_receipt
from workers.erp.http.checks import look
from workers.erp.http.listing import ask_for
from workers.erp.http.options import HttpOptions
from workers.erp.http.reading import found_in, page_in, refused_or_failed
from workers.erp.port import Barrier, Capabilities, Kind, Listing, OpenBarrier, Outcome, Submission
from workers.erp.signatures import Keys, Signatures
from workers.erp.transport import ErpTransport, json_body

log = logging.getLogger("relais.erp")

MOST_HEALTH: Final = 16 * 1024  # bytes of the answer to a probe: it is parsed whole

_CANNOT_LIST: Final = (404, 405, 501)
_TAKEN: Final = {200: Kind.DUPLICATE, 201: Kind.ACCEPTED}


class HttpErp:
    """One backend over HTTP. Belongs to the event loop on which it is first used."""

    def __init__(
        self,
        settings: Settings,
        keys: Keys | None = None,
        barrier: Barrier | None = None,
        own: HttpOptions | None = None,
        *,
        tries: int = TRIES,
    ) -> None:
        """`keys` verify receipts as the settings say, without them no signature is looked at; `barrier` says whether
        anything may be sent, without it anything may; `tries` are the brief ones of an attempt. Nothing connects yet.

        Raises MissingSetting when `erp_url` is not set.
        """
        self.capabilities = Capabilities(
            idempotent=settings.erp.idempotent,
            asynchronous=True,
            can_list=True,
            unique_reference=settings.erp.idempotent,
        )
        self._settings, self._tries = settings, tries
        self._barrier = barrier or OpenBarrier()
        own, token = own or HttpOptions(), settings.erp.token
        credentials = open_credentials(own.auth) if token is None else Fixed(bearing(token.get_secret_value()))
        self._transport = ErpTransport(settings, self._barrier.is_open, credentials, own.tls)
        self._signatures = Signatures(settings, keys) if keys and settings.trust.receipts != "ignore" else None
        self._slots = asyncio.Semaphore(settings.erp.concurrency)

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        """Forward the orders within `budget` seconds; one outcome for each, UNSENT for those never begun.

        `trip_after` failures in a row, anything suspicious, or the barrier, stop the batch: the rest is UNSENT too.
        """
        batch = Batch(orders, _now() + budget, self._settings.delivery.trip_after, self._barrier.is_open)
        if not await self._barrier.open():
            return held(orders)
        if self._signatures and (why := await self._signatures.lacking()):
            return dict.fromkeys((order.id for order in orders), Outcome(Kind.TRANSIENT, why))
        hands = min(len(orders), self._settings.erp.concurrency)
        await asyncio.gather(*(self._work(batch) for _ in range(hands)))
        return batch.outcomes()

    async def find(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """What the ERP knows of each id: ACCEPTED, PENDING or REFUSED, ABSENT if it surely has it not; UNKNOWN if it
        could not be asked, SUSPICIOUS if it answered as no fit ERP does.

        Of a receipt the signature is verified; that it is for the order's bytes is not known here: see
        `receipts.believed`.
        """
        until = _now() + budget
        await self._barrier.open()
        parts = [ids[start : start + MOST_ASKED] for start in range(0, len(ids), MOST_ASKED)]
        told = await asyncio.gather(*(self._ask(part, until) for part in parts))
        return {order_id: noted(outcome, self._barrier) for part in told for order_id, outcome in part.items()}

    async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """The present state of orders that were PENDING; as `find`."""
        return await self.find(ids, budget=budget)

    async def list(self, since: datetime, until: datetime, *, after: str | None, budget: float) -> Listing:
        """A page of the orders that the ERP took from `since` on and before `until`; `failed` when it told nothing.

        An ERP that answers 404, 405 or 501 cannot list, which `capabilities` says from then on.
        """
        started, until_then = steady_clock.now(), _now() + min(budget, self._settings.erp.timeout)
        body, read = ask_for(since, until, after), partial(page_in, since, until, after)
        tried = await self._calmly(partial(self._transport.post, "/orders/list", body, until_then, read), until_then)
        if tried.page is not None:
            return tried.page
        if tried.status in _CANNOT_LIST:
            self.capabilities = replace(self.capabilities, can_list=False)
        return Listing(failed=unasked(tried).outcome(started))

    async def probe(self) -> bool:
        """True when the ERP says that it is fit to receive. Never raises."""
        until = _now() + min(PROBE, self._settings.erp.timeout)
        tried = await self._transport.call("GET", "/health", None, until, _fit)
        if tried.kind is not Kind.ACCEPTED:
            log.info("the probe failed", extra={"error": tried.detail})
        return tried.kind is Kind.ACCEPTED

    def check(self, *, budget: float) -> AsyncIterator[CheckFinding]:
        """Is it fit, by its own word; does it let us in; does it lack an order that never was; can receipts be
        verified.
        """
        return look(
            self, lambda until: self._transport.call("GET", "/health", None, until, _fit), self._signatures, budget
        )

    async def close(self) -> None:
        """Let go of connections; a later call opens new ones."""
        await self._transport.close()

    async def _work(self, batch: Batch) -> None:
        """One of the hands that take the batch's orders in turn."""
        for order in batch:
            async with self._slots:
                if batch.over():
                    return
                batch.note(order, noted(await self._forward(order, batch.until), self._barrier))

    async def _forward(self, order: Submission, until: float) -> Outcome:
        """One order, its brief tries included."""
        started = steady_clock.now()
        until = min(until, _now() + self._settings.erp.timeout)
        tried = await self._send(order, until)
        if tried.failure is not None:
            call = partial(self._send, order, until)
            idempotent = self.capabilities.idempotent
            tried = await try_again(tried, call, tries=self._tries, until=until, idempotent=idempotent)
        return tried.outcome(started)

    async def _send(self, order: Submission, until: float) -> Tried:
        headers = {"Idempotency-Key": str(order.id), "Relais-Digest": f"sha-256={order.digest.hex()}"}
        if order.request_id is not None:
            headers["X-Request-ID"] = order.request_id
        read = partial(self._read_answer, order)
        if order.traceparent is None:
            return await self._transport.post("/orders", order.body, until, read, headers)
        with calling(order.traceparent, self._transport.host, self._transport.port) as call:
            headers["traceparent"] = call.traceparent
            tried = await self._transport.post("/orders", order.body, until, read, headers)
            call.met(tried.kind, tried.status)
        return tried

    async def _read_answer(self, order: Submission, response: ClientResponse) -> Tried:
        """What the ERP says of an order that was sent. Raises Unfit."""
        status = response.status
        if status not in _TAKEN and status != 202:
            return await refused_or_failed(response)
        with keeping(await json_body(response)) as raw:
            if status == 202:
                return Tried(Kind.PENDING, f"pending as {read_pending(raw)}", status, answer=raw)
            receipt = read_receipt(raw, order, substitutes=self._settings.erp.allow_substitution)
            if self._signatures is not None:
                receipt = await self._signatures.of(receipt, order.id, fresh=status == 201)
            return Tried(_TAKEN[status], "", status, receipt, answer=raw)

    async def _ask(self, ids: Sequence[UUID], until: float) -> dict[UUID, Outcome]:
        """One find, in halves when what it tells is more than an answer may hold."""
        started = steady_clock.now()
        async with self._slots:
            limit = min(until, _now() + self._settings.erp.timeout)
            tried = await self._calmly(partial(self._send_find, ids, limit), limit)
        if tried.failure is TABLE[Met.OVERSIZED] and len(ids) > 1:
            half = len(ids) // 2
            return await self._ask(ids[:half], until) | await self._ask(ids[half:], until)
        if tried.found is None:
            return dict.fromkeys(ids, unasked(tried).outcome(started))
        ended = steady_clock.now()
        found = {i: replace(outcome, started=started, ended=ended) for i, outcome in tried.found.items()}
        return await self._signatures.of_found(found) if self._signatures else found

    async def _calmly(self, call: Callable[[], Awaitable[Tried]], until: float) -> Tried:
        """A question, repeated briefly when it fails: asking is harmless."""
        tried = await call()
        if tried.failure is None:
            return tried
        return await try_again(tried, call, tries=self._tries, until=until, idempotent=True)

    async def _send_find(self, ids: Sequence[UUID], until: float) -> Tried:
        body = json.dumps({"ids": [str(order_id) for order_id in ids]}).encode()
        return await self._transport.post("/orders/find", body, until, partial(found_in, ids))


async def _fit(response: ClientResponse) -> Tried:
    """Whether the answer to a probe says so. Raises Unfit."""
    body = await json_body(response, MOST_HEALTH)
    try:
        well = response.status == 200 and json.loads(body)["status"] == "ok"
    except (ValueError, LookupError, TypeError):
        well = False
    return Tried(Kind.ACCEPTED) if well else Tried(Kind.UNKNOWN, f"{response.status}: not fit to receive")


def _now() -> float:
    return asyncio.get_running_loop().time()
