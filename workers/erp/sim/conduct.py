"""How the simulated ERP answers a request, under its dial: a function of the request, the book and chance.

An order that is taken is in the book before anything can go wrong with its answer: that is the hard case.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Any, Final
from uuid import UUID

from workers.erp.sim.book import Book, BookLine, Effect, stamp
from workers.erp.sim.dial import Dial
from workers.erp.sim.listing import list_orders
from workers.erp.sim.reply import HTML, Reply, as_json, spoilt
from workers.erp.sim.telling import Announcer, Signer, lot

MOST_ASKED: Final = 200  # ids in one find
FULL: Final = as_json(503, {"error": "too many orders at once"})


class Refused(Exception):
    """The request is answered with this status and these words."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status, self.error = status, error


class Conduct:
    """The ERP's side of docs/erp-contract.md."""

    def __init__(self, book: Book, dial: Dial, signer: Signer | None = None) -> None:
        """The dial may be turned at any time; `signer` signs receipts."""
        self.book = book
        self._teller = Announcer(book, signer)
        self.dial = dial
        self.answers: Counter[str] = Counter()
        self._tokens = 1.0
        self._began = self._filled = time.monotonic()
        self._in_hand: list[float] = []  # when each order in hand will be answered; a heap

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply | None:
        """The reply to a request; None: never."""
        reply = None if self.dial.hanging else self._spoilt(method, path, headers, body)
        self.answers["none" if reply is None else reply.label] += 1
        return reply

    def _spoilt(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        dial = self.dial
        if dial.garbage == "html":
            return HTML
        if random.random() < dial.error_rate:
            return as_json(dial.error_status, {"error": "simulated"}).after(self._latency())
        try:
            reply = self._route(method, path, headers, body)
        except Refused as refused:
            reply = as_json(refused.status, {"error": refused.error})
        seconds = self._latency()
        if path == "/orders" and reply is not FULL:
            heappush(self._in_hand, time.monotonic() + seconds)
        return spoilt(reply, dial.garbage).after(seconds) if reply is not FULL else reply

    def _route(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        match method, path:
            case "POST", "/orders":
                return self._full() or self._throttled() or self._order(headers, body)
            case "POST", "/orders/find":
                return as_json(200, {"orders": self._find(_object(body).get("ids"))})
            case "POST", "/orders/list":
                return list_orders(self.book, _object(body))
            case "GET", "/health":
                return as_json(200, {"status": "ok"})
            case _, "/orders" | "/orders/find" | "/orders/list" | "/health":
                return as_json(405, {"error": "method not allowed"})
        return as_json(404, {"error": "no such path"})

    def _full(self) -> Reply | None:
        """A 503 at once when as many orders are in hand, their answers yet to come, as the limit of the moment."""
        limit, now = self.dial.limit, time.monotonic()
        while self._in_hand and self._in_hand[0] <= now:
            heappop(self._in_hand)
        if limit is None:
            return None
        swing = math.sin(2 * math.pi * (now - self._began) / self.dial.limit_period)
        return FULL if len(self._in_hand) >= limit * (1 + self.dial.limit_drift * swing) else None

    def _throttled(self) -> Reply | None:
        """A 429 when orders come faster than the throttle lets them, in bursts of at most a second's worth."""
        rate = self.dial.throttle
        if rate is None:
            return None
        now = time.monotonic()
        self._tokens = min(max(rate, 1.0), self._tokens + (now - self._filled) * rate)
        self._filled = now
        if self._tokens < 1.0:
            return as_json(429, {"error": "too many orders"}, {"Retry-After": str(self.dial.retry_after)})
        self._tokens -= 1.0
        return None

    def _order(self, headers: dict[str, str], body: bytes) -> Reply:
        order_id = _key(headers)
        digest = hashlib.sha256(body).hexdigest()
        if headers.get("relais-digest", f"sha-256={digest}") != f"sha-256={digest}":
            raise Refused(400, "the body is not what Relais-Digest says")
        known = self.book.find(order_id) if self.dial.idempotent else None
        if known is not None:
            if known["digest"] != digest:
                raise Refused(409, "this key was used with other content")
            self.book.repeat(order_id)
            return self._tell(known, 200)
        effect = self._decide(order_id, digest, _object(body))
        if "traceparent" in headers:
            effect["traceparent"] = headers["traceparent"]
        self.book.add(effect)
        reply = self._tell(effect, 201)
        return reply.broken() if random.random() < self.dial.die_before_answer else reply

    def _decide(self, order_id: str, digest: str, order: dict[str, Any]) -> Effect:
        """What becomes of a new order. Raises Refused when that is refused at once, which has no effect."""
        now = datetime.now(UTC)
        try:
            effect: Effect = {
                "id": order_id,
                "digest": digest,
                "received_at": stamp(now),
                "reference": f"SIM-{self.book.given + 1:07d}",
                "pharmacy": order["pharmacy"],
                "order_reference": order["reference"],
                "lines": [self._line(number, line) for number, line in enumerate(order["lines"], 1)],
            }
        except (KeyError, TypeError, ValueError):
            raise Refused(422, "this is no order") from None
        why = self._refusal(effect)
        if self.dial.confirm_later:
            effect["confirm_at"] = stamp(now + timedelta(seconds=self.dial.confirm_later))
            if why:
                effect["refused"] = why
        elif why:
            raise Refused(422, why)
        return effect

    def _line(self, number: int, line: dict[str, Any]) -> BookLine:
        product, quantity = str(line["product"]), int(line["quantity"])
        told: BookLine = {"line": number, "product": product, "accepted": quantity, "reason": None}
        if product in self.dial.refuse_lines:
            return {**told, "accepted": 0, "reason": self.dial.refuse_lines[product]}
        if product in self.dial.substitutes:
            told["substitute"] = self.dial.substitutes[product]
        if random.random() < self.dial.back_order_rate:
            day = datetime.now(UTC).date() + timedelta(days=self.dial.back_order_days)
            later: BookLine = {**told, "accepted": quantity // 2, "reason": "on back-order"}
            return {**later, "back_ordered": quantity - quantity // 2, "expected": day.isoformat()}
        if random.random() < self.dial.shortage_rate:
            return {**told, "accepted": quantity // 2, "reason": "out of stock"}
        return told

    def _refusal(self, effect: Effect) -> str | None:
        for line in effect["lines"]:
            if line["product"] in self.dial.refuse_products:
                return f"line {line['line']}: product {line['product']} is not sold"
        return "the account is closed" if lot(effect["id"]) < self.dial.refuse_rate else None

    def _tell(self, effect: Effect, status: int) -> Reply:
        """An effect as the answer to a submission."""
        if _undecided(effect):
            return as_json(202, {"reference": effect["reference"]})
        if "refused" in effect:
            return as_json(422, {"error": effect["refused"]})
        return as_json(status, self._teller.receipt(effect, self.dial))

    def _find(self, ids: Any) -> list[dict[str, Any]]:
        if not isinstance(ids, list) or len(ids) > MOST_ASKED:
            raise Refused(400, f"ids must be a list of at most {MOST_ASKED}")
        found = [effect for order_id in dict.fromkeys(map(str, ids)) if (effect := self.book.find(order_id))]
        told = [{"id": effect["id"], **self._state(effect)} for effect in found]
        return told + self._teller.foreign(self.dial)

    def _state(self, effect: Effect) -> dict[str, Any]:
        if _undecided(effect):
            return {"state": "pending", "reference": effect["reference"]}
        if "refused" in effect:
            return {"state": "refused", "error": effect["refused"]}
        return {"state": "accepted", **self._teller.receipt(effect, self.dial)}

    def _latency(self) -> float:
        """Seconds, log-normal about the median."""
        median, sigma = self.dial.latency_ms / 1000, self.dial.latency_sigma
        return median * random.lognormvariate(0.0, sigma) if median and sigma else median


def _key(headers: dict[str, str]) -> str:
    try:
        return str(UUID(headers["idempotency-key"]))
    except (KeyError, ValueError):
        raise Refused(400, "Idempotency-Key must be the order's UUID") from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refused(400, "the body is no JSON object")
    return value


def _undecided(effect: Effect) -> bool:
    return "confirm_at" in effect and datetime.fromisoformat(effect["confirm_at"]) > datetime.now(UTC)
