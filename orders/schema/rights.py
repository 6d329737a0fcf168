"""What each process may do with each table of the journal: the one place where it says so.

A table stands here with every process that has to do with it; a test names one that does not. `r` reads, `a` adds
rows, `w` changes and `d` takes rows out; after a colon, the columns that it is about. What PostgreSQL fills in by
itself (numbers, the transaction, the time of a row that is never changed) nobody writes. What triggers write, they
write as the tables' owner, so that no process may.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

from sqlalchemy import Table

from orders.schema.tables.acts import acts
from orders.schema.tables.causes import cause_notes, cause_tallies, causes
from orders.schema.tables.clients import asides, clients, keys, notices, pharmaml_acknowledged, webhooks
from orders.schema.tables.console import accounts, console_logins, console_secrets, console_sessions
from orders.schema.tables.core import attempts, backends, deliveries, events, operations, orders, receipts
from orders.schema.tables.erps import mappings, outages
from orders.schema.tables.products import order_products, products_known
from orders.schema.tables.proof import anchors, seals
from orders.schema.tables.reconcile import findings, reconciliations
from orders.schema.tables.replays import replays
from orders.schema.tables.samples import samples
from orders.schema.tables.tallies import tallies
from orders.schema.tables.trust import changes, evidence, receipt_keys
from orders.schema.tables.workers import processes, workers
from orders.schema.triggers import APPEND_ONLY

LETTERS: Final = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}

_ACTED: Final = "state,due_at,attempts,lease_until,unsure,failed_at,reason,error,settled_at,turn"
_MOVED: Final = f"{_ACTED},lease,status,why,sent_at"
_LEARNT: Final = (
    "circuit,window,failures,trips,ceiling,credit,changed_at,probe_at,shrunk_at,succeeded_at,why,latency,refusing,"
    "answered,refused,failing_since,unique_reference,absent_after,ack_within,set_aside,set_aside_at"
)
_REPLAY: Final = "state,orders,hold,stage,passed,staged,stage_since,why,history,ended_at"
_COMPARED: Final = "cursor_at,cursor_id,present,altered,missing,unknown,moved,foreign,resent,listing,state,finished_at"
_HELD: Final = "r a:name,window w:window,credit,probe_at,paused,held_why,rate"

RIGHTS: Final[Mapping[Table, Mapping[str, str]]] = {
    orders: {
        **dict.fromkeys(("api", "worker", "ops"), "r a"),  # the last: what is readmitted of the spill
        **dict.fromkeys(("console", "audit"), "r"),
        "exporter": "r:id,tx,ctid",  # by which it counts
    },
    deliveries: {
        "api": "r a",
        "worker": f"r a w:{_MOVED}",
        "audit": "r",
        "exporter": "r",
        "console": f"r w:{_ACTED},backend,aged_from",
        "ops": f"r a w:{_ACTED},backend,aged_from",
    },
    attempts: {"worker": "r a", **dict.fromkeys(("api", "console", "exporter", "audit", "ops"), "r")},
    receipts: {
        "worker": "r a",
        **dict.fromkeys(("api", "console", "audit", "ops"), "r"),
        "exporter": "r:order_id,lease,backend,received_at,key_id,tx",
    },
    events: {**dict.fromkeys(("api", "worker", "console", "ops"), "r"), "exporter": "r:id,at"},
    operations: {**dict.fromkeys(("worker", "console", "audit", "ops"), "r a"), "exporter": "r"},
    backends: {
        "worker": f"r a:name,window w:{_LEARNT}",
        **dict.fromkeys(("exporter", "audit"), "r"),
        **dict.fromkeys(("console", "ops"), _HELD),
    },
    outages: {
        "worker": "r a w:began_at,failed_at,failures,ended_at",
        **dict.fromkeys(("console", "exporter", "audit", "ops"), "r"),
    },
    replays: {
        "worker": f"r w:{_REPLAY}",
        **dict.fromkeys(("console", "ops"), f"r a w:{_REPLAY}"),
        **dict.fromkeys(("exporter", "audit"), "r"),
    },
    reconciliations: {
        **dict.fromkeys(("console", "ops"), f"r a w:{_COMPARED}"),
        **dict.fromkeys(("exporter", "audit"), "r"),
    },
    findings: {**dict.fromkeys(("console", "ops"), "r a"), "audit": "r"},
    asides: {"worker": "r a", "ops": "r a d", **dict.fromkeys(("api", "console", "exporter", "audit"), "r")},
    pharmaml_acknowledged: {"api": "r a", **dict.fromkeys(("console", "ops"), "r")},
    # Who may hand orders over, and hear of them.
    clients: {"ops": "r a w:pharmacies,rate,burst", **dict.fromkeys(("api", "console"), "r")},
    keys: {"ops": "r a w:scopes,expires_at", "api": "r w:last_used_at"},
    webhooks: {
        "ops": "r a w d",
        "worker": "r w:succeeded_at,failing_since,disabled_at,why",
        **dict.fromkeys(("console", "exporter"), "r:client,url,created_at,succeeded_at,failing_since,disabled_at,why"),
    },
    notices: {
        "worker": "r w:lease,due_at,attempts,error,told_at",
        "ops": "r w:lease,due_at",
        **dict.fromkeys(("console", "exporter"), "r"),
    },
    # Who is trusted, and what is proved.
    receipt_keys: {"ops": "r a w:expires_at,revoked_at,why", **dict.fromkeys(("worker", "console", "audit"), "r")},
    evidence: {"worker": "r a", **dict.fromkeys(("console", "exporter", "audit", "ops"), "r")},
    mappings: {"ops": "r a", **dict.fromkeys(("worker", "console", "audit"), "r"), "exporter": "r:tx"},
    changes: dict.fromkeys(("worker", "console", "exporter", "audit", "ops"), "r"),
    seals: {**dict.fromkeys(("worker", "ops"), "r a"), **dict.fromkeys(("console", "exporter", "audit"), "r")},
    anchors: {**dict.fromkeys(("worker", "ops"), "r a w"), **dict.fromkeys(("console", "exporter", "audit"), "r")},
    # People.
    accounts: {
        "ops": "r a w:role,password,changed_at,disabled_at",
        "console": "r w:password,changed_at",
    },
    console_sessions: {"console": "r a w:seen_at d", "ops": "r d"},
    console_logins: dict.fromkeys(("console", "ops"), "r a w d"),
    console_secrets: {"console": "r a"},
    acts: {"console": "r a w", "ops": "r"},
    # What runs, and how it stands.
    workers: {"worker": "r a w d", "ops": "r w:asked_at", **dict.fromkeys(("console", "exporter"), "r")},
    processes: {"worker": "r a d", **dict.fromkeys(("console", "exporter", "ops"), "r")},
    samples: {"worker": "r a w:peak d", **dict.fromkeys(("console", "exporter", "ops"), "r")},
    tallies: {"worker": "r a d", **dict.fromkeys(("console", "exporter", "audit", "ops"), "r")},
    causes: {"worker": "r w:n,last_at", **dict.fromkeys(("console", "exporter", "audit", "ops"), "r")},
    cause_tallies: {"worker": "r d", **dict.fromkeys(("console", "exporter", "audit", "ops"), "r")},
    cause_notes: {**dict.fromkeys(("console", "ops"), "r a"), "audit": "r"},
    order_products: {"worker": "r a", **dict.fromkeys(("console", "ops"), "r")},
    products_known: {"worker": "r a w", **dict.fromkeys(("console", "ops"), "r")},
}


def rights(table: Table, processes: Iterable[str]) -> dict[str, frozenset[str]]:
    """By privilege, the columns on which one of these processes has it. KeyError for a table that stands nowhere."""
    held: dict[str, frozenset[str]] = {}
    for process in processes:
        for word in RIGHTS[table].get(process, "").split():
            letter, _, named = word.partition(":")
            columns = frozenset(named.split(",")) if named else frozenset(table.columns.keys())
            columns -= _filled(table) if letter == "a" else frozenset()
            held[LETTERS[letter]] = held.get(LETTERS[letter], frozenset()) | columns
    return held


@cache
def _filled(table: Table) -> frozenset[str]:
    """The columns that PostgreSQL alone fills in. When an order or a receipt came is said by who adds it."""
    dated = table in APPEND_ONLY and table not in (orders, receipts)
    return frozenset(
        column.name
        for column in table.columns
        if column.identity is not None
        or (column.name == "tx" and column.server_default is not None)
        or (dated and column.server_default is not None and "time" in str(column.type).lower())
    )
