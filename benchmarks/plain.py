"""Plain Celery, set up as its documentation advises for work that must not be lost: the baseline.

One task per order, carrying the order; late acknowledgement; one POST per task over a connection that each process or
thread keeps open. `http.client` is the cheapest blocking client there is; Relais's own would be of no use here.
What costs and buys nothing here is off: results, events, gossip, mingle, heartbeat.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
from typing import Any
from urllib.parse import urlsplit

from celery import Celery

SINK = urlsplit(os.environ.get("BENCH_SINK", "http://127.0.0.1:1"))
HEADERS = {"Content-Type": "application/json"}

app = Celery("plain", broker=os.environ.get("BENCH_BROKER", "redis://127.0.0.1:1"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
    broker_connection_retry_on_startup=True,
)
kept = threading.local()


@app.task(name="forward")  # type: ignore[untyped-decorator]
def forward(order: dict[str, Any]) -> None:
    """Send one order to the ERP."""
    body = json.dumps(order).encode()
    try:
        status = _post(body, order["reference"])
    except (http.client.HTTPException, OSError):
        del kept.connection  # the server closed the idle connection: once more on a new one
        status = _post(body, order["reference"])
    if status >= 400:
        raise RuntimeError(f"the ERP answered {status}")


def _post(body: bytes, key: str) -> int:
    if not hasattr(kept, "connection"):
        kept.connection = http.client.HTTPConnection(SINK.hostname or "", SINK.port, timeout=10)
    kept.connection.request("POST", "/orders", body, {**HEADERS, "Idempotency-Key": key})
    answer = kept.connection.getresponse()
    answer.read()
    return int(answer.status)
