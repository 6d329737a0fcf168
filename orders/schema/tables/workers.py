"""The journal's table of the workers that run: who is there, when each last answered a canary and had orders in hand.

A worker writes its own row as long as it lives and takes it back when it stops. What is left of one that died is
removed by the next worker of its host, or by the leader once nothing has been heard of it for ten minutes.
Its processes, each with a number that its claims bear, are in `processes`; the leader removes those that are dead.
"""

from __future__ import annotations

from sqlalchemy import Column, Identity, Integer, Table, Text

from orders.schema.tables.common import NOW, Instant, metadata

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True, comment="Celery's name of it: relais-PID@host"),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False, comment="of its main process, on its host"),
    Column("born", Text, nullable=False, server_default="", comment="what no other process with this pid has"),
    Column("started_at", Instant, nullable=False, server_default=NOW),
    Column(
        "asked_at", Instant, nullable=False, server_default=NOW, comment="it, or who watches it, last sent a canary"
    ),
    Column("answered_at", Instant, comment="a process of its pool last answered a canary"),
    Column("heard_at", Instant, comment="when the youngest canary that it answered had been sent"),
    Column("worked_at", Instant, comment="a process of its pool last had orders in hand"),
    Column("deaf_since", Instant, comment="orders wait in the queues and it takes none; null while all is well"),
    comment="the workers that run, each with its liveness; rows come and go",
)

processes = Table(
    "processes",
    metadata,
    Column("number", Integer, Identity(always=True), primary_key=True, comment="the first four bytes of its leases"),
    Column("machine", Text, nullable=False, comment="host, boot and namespace of pids: where pid and birth are known"),
    Column("pid", Integer, nullable=False),
    Column("born", Text, nullable=False, comment="what no other process with this pid has"),
    Column("started_at", Instant, nullable=False, server_default=NOW),
    comment="the processes of workers, each with an advisory lock while it lives; rows go",
)
