"""Publishing dispatches: journal → Redis, bounded in time, in one pipeline, and never trusted.

A failed publish is an unknown one and is not repeated here: what nobody claims is dispatched again. Orders that have
failed before travel in small messages, so that one that kills its worker soon travels alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import groupby
from math import ceil
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from celery import Celery
from kombu import Connection, Queue
from kombu.exceptions import KombuError
from kombu.utils.uuid import uuid
from redis.exceptions import RedisError
from sqlalchemy import Row

from config.celeryconfig import canary_queue, depth
from config.redis_keys import NORMAL, NOTICES, SPILL_RECORDS, URGENT, queue_of
from config.settings import Settings
from orders.sentences import count
from workers.delivery.tracing import TRACES, Contexts, dispatching, header
from workers.queue.names import CANARY, DELIVER, MOST_IDS, POLL, REQUESTS, TELL

T = TypeVar("T")

log = logging.getLogger("relais.publishing")

LOST = (KombuError, RedisError, OSError)


class Message(NamedTuple):
    """What is published: the task, its queue, arguments, how they read in Flower, the requests that brought
    them, and the traces that they belong to.
    """

    task: str
    queue: str
    arguments: tuple[object, ...]
    reads: str
    requests: Sequence[str] = ()
    traces: Sequence[str] = ()


class Publisher:
    """Publishes one backend's dispatches to its queues over a connection of its own; use from one thread."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        """For the backend of `settings`."""
        self._app = app
        self._backend = settings.erp.backend
        self._open: Connection | None = None

    def deliver(self, rows: Sequence[Row[Any]], most: int | None = None) -> bool:
        """Publish dispatches for (order_id, attempts, accepted_at, request_id, place, urgent) rows, with `most`
        orders in one message where that is less than usual.
        """
        with dispatching(self._backend, rows) as contexts:
            return self._publish(
                self._dispatch(kind, part, contexts)
                for kind, part in self._messages(rows, min(most or MOST_IDS, MOST_IDS))
            )

    def poll(self, ids: Sequence[UUID]) -> bool:
        """Publish polls of orders that the ERP took and has not accepted yet."""
        parts = _parts([str(order_id) for order_id in ids], MOST_IDS)
        return self._publish(self._message(POLL, NORMAL, part, count(len(part), "order")) for part in parts)

    def tell(self, ids: Sequence[UUID]) -> bool:
        """Publish notices that webhooks are to be told of."""
        parts = _parts([str(notice_id) for notice_id in ids], MOST_IDS)
        return self._publish(Message(TELL, NOTICES, (part,), count(len(part), "notice")) for part in parts)

    def canary(self, node: str, sent: datetime, lasts: float) -> bool:
        """Send a worker a canary, unless one waits for it still. False when it may not have arrived.

        `lasts` seconds later nothing is left of one that nobody took.
        """
        queue = canary_queue(node)
        waiting = self._ask(lambda connection: int(connection.default_channel.client.llen(queue.name)))
        return waiting is not None and (waiting > 0 or self._ask(partial(self._fly, queue, sent, lasts)) is not None)

    def depth(self) -> int | None:
        """Messages about the backend's orders waiting in Redis; None when it is out of reach."""
        return self._ask(lambda connection: depth(connection, self._backend))

    def untold(self) -> int | None:
        """Messages about notices waiting in Redis; None when it is out of reach."""
        return self._ask(lambda connection: int(connection.default_channel.client.llen(NOTICES)))

    def spilled(self) -> bool:
        """True when orders wait in the spill, or nobody can tell."""
        return self._ask(lambda connection: int(connection.default_channel.client.llen(SPILL_RECORDS))) != 0

    def _dispatch(self, kind: str, part: Sequence[Row[Any]], contexts: Contexts) -> Message:
        ids = [row.order_id for row in part]
        message = self._message(DELIVER, kind, [str(each) for each in ids], describe(part), requests_of(part))
        return message._replace(traces=header(contexts, ids))

    def _message(self, task: str, kind: str, ids: Sequence[str], reads: str, requests: Sequence[str] = ()) -> Message:
        return Message(task, queue_of(kind, self._backend), (self._backend, ids), reads, requests)

    def _ask(self, question: Callable[[Connection], int]) -> int | None:
        try:
            return question(self._connection())
        except LOST:
            self._let_go()
            return None

    def _publish(self, messages: Iterable[Message]) -> bool:
        """Send in one pipeline; False when it may not have arrived."""
        try:
            with self._app.amqp.Producer(self._connection(), auto_declare=False) as producer, producer.batch():
                for task, queue, arguments, reads, requests, traces in messages:
                    told = {name: value for name, value in ((REQUESTS, requests), (TRACES, traces)) if value} or None
                    self._app.tasks[task].apply_async(
                        args=arguments, argsrepr=reads, headers=told, queue=queue, producer=producer, retry=False
                    )
        except LOST as error:
            log.warning("the queue is out of reach", extra={"error": type(error).__name__})
            self._let_go()
            return False
        return True

    def _fly(self, queue: Queue, sent: datetime, lasts: float, connection: Connection) -> int:
        """Without Celery's event of what is sent: dispatches are what Flower shows."""
        message = self._app.amqp.create_task_message(uuid(), CANARY, (sent.isoformat(),), {})
        with self._app.amqp.Producer(connection, auto_declare=False) as producer:
            self._app.amqp.send_task_message(producer, CANARY, message, queue=queue, retry=False)
        return int(connection.default_channel.client.expire(queue.name, ceil(lasts)))

    def _connection(self) -> Connection:
        """One that gives up at once: with kombu's own retries a lost Redis costs six seconds a call."""
        if self._open is None:
            options = {**self._app.conf.broker_transport_options, "max_retries": 0}
            self._open = self._app.connection_for_write(transport_options=options)
        return self._open

    def _let_go(self) -> None:
        if self._open is not None:
            with suppress(*LOST):
                self._open.collect()
            self._open = None

    def _messages(self, rows: Sequence[Row[Any]], size: int) -> Iterator[tuple[str, Sequence[Row[Any]]]]:
        """Split into messages, each with its kind: urgent and normal apart, in the order of their turn, the failed in
        small ones.
        """
        turn = sorted(rows, key=lambda row: (not row.urgent, row.attempts, row.place))
        for (urgent, attempts), alike in groupby(turn, key=lambda row: (row.urgent, row.attempts)):
            for message in _parts(list(alike), max(1, size >> (3 * attempts))):
                yield (URGENT if urgent else NORMAL), message


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def requests_of(message: Sequence[Row[Any]]) -> list[str]:
    """The ids of the requests that brought a dispatch's orders, each once."""
    return list(dict.fromkeys(row.request_id for row in message if row.request_id is not None))


def describe(message: Sequence[Row[Any]]) -> str:
    """How a dispatch reads in Flower: "37 orders, oldest 12:03Z"."""
    oldest = min(row.accepted_at for row in message)
    return f"{len(message)} order{'s' if len(message) > 1 else ''}, oldest {oldest:%H:%M}Z"
