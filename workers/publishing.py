"""Publishing dispatches: journal → Redis, bounded in time, in one pipeline, and never trusted.

A failed publish is an unknown one and is not repeated here: what nobody claims is dispatched again. Orders that have
failed before travel in small messages, so that one that kills its worker soon travels alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, TypeVar
from uuid import UUID

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Row

from config.celeryconfig import NORMAL, URGENT

T = TypeVar("T")

log = logging.getLogger("relais.publishing")

LOST = (OperationalError, RedisError, OSError)
NO_RETRY = {"max_retries": 0}


class CeleryPublisher:
    """Publishes to the queues of a Celery app; use from one thread."""

    def __init__(self, app: Celery, size: int) -> None:
        """At most `size` orders in one message."""
        self._app = app
        self._size = size

    def deliver(self, rows: Sequence[Row[Any]]) -> bool:
        """Publish dispatches for (order_id, priority, cut_off, attempts, accepted_at) rows."""
        try:
            with self._app.producer_or_acquire() as producer, producer.batch():
                for queue, message in self._messages(rows):
                    self._app.tasks["relais.deliver"].apply_async(
                        args=([str(row.order_id) for row in message],),
                        argsrepr=describe(message),
                        queue=queue, producer=producer, retry=False, retry_policy=NO_RETRY,
                    )  # fmt: skip
        except LOST as error:
            log.warning("the queue is out of reach orders=%d error=%s", len(rows), type(error).__name__)
            return False
        return True

    def poll(self, ids: Sequence[UUID]) -> bool:
        """Publish polls of orders that the ERP took and has not accepted yet."""
        try:
            with self._app.producer_or_acquire() as producer, producer.batch():
                for some in _parts(ids, self._size):
                    self._app.tasks["relais.poll"].apply_async(
                        args=([str(order_id) for order_id in some],), argsrepr=f"{len(some)} orders",
                        queue=NORMAL, producer=producer, retry=False, retry_policy=NO_RETRY,
                    )  # fmt: skip
        except LOST:
            return False
        return True

    def depth(self) -> int | None:
        """Messages waiting in Redis; None when it is out of reach."""
        try:
            with self._app.connection_or_acquire() as connection:
                client = connection.default_channel.client
                return int(client.llen(URGENT)) + int(client.llen(NORMAL))
        except LOST:
            return None

    def _messages(self, rows: Sequence[Row[Any]]) -> Iterator[tuple[str, Sequence[Row[Any]]]]:
        """Split into messages: urgent and normal apart, in the order of their turn, the failed in small ones."""
        turn = sorted(rows, key=lambda row: (row.priority, row.attempts, row.cut_off, row.order_id))
        for (priority, attempts), alike in groupby(turn, key=lambda row: (row.priority, row.attempts)):
            for message in _parts(list(alike), max(1, self._size >> (3 * attempts))):
                yield (URGENT if priority == 0 else NORMAL), message


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def describe(message: Sequence[Row[Any]]) -> str:
    """How a dispatch reads in Flower: "37 orders, oldest 12:03Z"."""
    oldest = min(row.accepted_at for row in message)
    return f"{len(message)} order{'s' if len(message) > 1 else ''}, oldest {oldest:%H:%M}Z"
