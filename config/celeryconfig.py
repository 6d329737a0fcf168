"""Celery's configuration, each setting with its reason. The journal's lease is the acknowledgement, so a message
is disposable: whatever Celery or Redis loses, the dispatcher sends again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kombu import Connection, Queue
from kombu.utils.scheduling import round_robin_cycle

from config.redis import broker
from config.redis_keys import KINDS, NORMAL, NOTICES, URGENT, queue_of


def canary_queue(node: str) -> Queue:
    """The queue of one worker's canaries; served before any other, and its key is gone when it is empty."""
    name = f"relais.canary.{node}"
    return Queue(name, exchange="", routing_key=name)


class InTurn(round_robin_cycle):  # type: ignore[misc]
    """Queues in the order of their kinds; of one kind, those of the backends take turns."""

    def update(self, it: Iterable[str]) -> None:
        """From now on these queues; a worker's canaries, which belong to no kind, come first."""
        self.items[:] = sorted(it, key=_kind)

    def rotate(self, last_used: str) -> str:
        """The queue that a message came from goes behind the others of its kind."""
        if last_used in self.items:
            kind = _kind(last_used)
            self.items.remove(last_used)
            last = max((at for at, name in enumerate(self.items, 1) if _kind(name) <= kind), default=0)
            self.items.insert(last, last_used)
        return last_used


def _kind(name: str) -> int:
    """The place of a queue's kind; what is none of ours, such as the answers of other workers, comes first."""
    kind = ".".join(name.split(".")[:2])
    return KINDS.index(kind) if kind in KINDS else -1


def celery_config(redis_url: str, backends: Iterable[str], *, concurrency: int, time_limit: float) -> dict[str, Any]:
    """The settings for `redis_url` and these backends; `time_limit` (s) ends a task that outlived its lease."""
    urgent, normal = ([queue_of(kind, each) for each in backends] for kind in (URGENT, NORMAL))
    found = broker(redis_url)
    return {
        "broker_url": found["broker_url"],
        "broker_use_ssl": found["broker_use_ssl"],
        "broker_connection_retry_on_startup": True,  # a worker that starts before Redis waits for it
        "broker_connection_max_retries": None,  # and for as long as it takes
        "broker_transport_options": {
            **found["broker_transport_options"],
            # kombu emulates acknowledgements on Redis; after a frozen Redis the emulation left workers deaf.
            "ack_emulation": False,
            # Without these a publish to a frozen Redis waits as long as the freeze.
            "socket_timeout": 2,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            # The urgent queues are emptied first, then that of notices, whose tasks only begin the work and take no
            # time, and which would else wait for a backlog's end; `round_robin`, the default, would serve all alike,
            # and `priority` one backend's backlog before another's orders.
            "queue_order_strategy": f"{InTurn.__module__}:{InTurn.__name__}",
        },
        # Declared explicitly and addressed by name: no binding whose loss would drop messages silently.
        "task_queues": [Queue(name, exchange="", routing_key=name) for name in (*urgent, NOTICES, *normal)],
        "task_default_queue": normal[0],
        "task_default_exchange": "",
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],  # never pickle: a queue that somebody writes to must not run code
        "task_ignore_result": True,  # no result backend: what becomes of an order is in the journal, and it leaks keys
        "task_acks_late": False,  # the lease is the acknowledgement
        "task_publish_retry": False,  # a failed publish is rescued by the dispatcher
        "task_time_limit": time_limit,
        "worker_concurrency": concurrency,
        "worker_prefetch_multiplier": 1,  # a batch waits in Redis, where every worker can take it
        "worker_soft_shutdown_timeout": time_limit,  # at SIGTERM a running batch may settle
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # losing Redis concerns no running batch
        "worker_send_task_events": True,  # Flower
        "task_send_sent_event": True,
        "worker_enable_remote_control": True,  # without it kombu wedged after Redis kills; Flower needs it too
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
        "timezone": "UTC",
    }


def connection(url: str, **options: Any) -> Connection:
    """Kombu's own way to Redis, with these transport options too."""
    found = broker(url)
    options = {**found["broker_transport_options"], **options}
    return Connection(found["broker_url"], ssl=found["broker_use_ssl"], transport_options=options)


def depth(connection: Connection, *backends: str) -> int:
    """Messages about these backends' orders that wait in Redis. Raises what kombu and redis-py raise when it is out
    of reach.
    """
    client = connection.default_channel.client
    return sum(int(client.llen(queue_of(kind, each))) for each in backends for kind in (URGENT, NORMAL))
