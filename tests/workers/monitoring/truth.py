"""The journal's figures as naive SQL counts them, row by row, to hold those against that are read cleverly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.queries.orders import first_id
from orders.schema.tally_triggers import CALL_BOUNDS, RECEIPT_BOUNDS

Sample = tuple[str, tuple[tuple[str, str], ...]]
Samples = dict[Sample, float]

PRIORITY = {0: "urgent", 1: "normal"}
CIRCUITS = ("closed", "open", "half_open")
OPEN_STATES = ("accepted", "dispatched", "delivering", "submitted")
FATES = ("delivered", "dead", "cancelled", "discarded")
REASONS = ("invalid", "expired", "refused", "exhausted", "stale", "conflict", "unmapped")
FAILED = ("transient", "throttled", "unknown", "suspicious", "absent", "lease_expired")
ODD = ("refusals", "answer_in_quarantine")


def at(name: str, **labels: str) -> Sample:
    """A sample's name and labels."""
    return name, tuple(sorted(labels.items()))


WEAK = ("fsync_off", "full_page_writes_off", "commit_off", "commit_ahead", "standby_behind")


class Truth:
    """One snapshot, counted with `count(*)` and nothing else.

    `now()` is when the transaction began, a moment before its snapshot was taken: what came between is of
    no age.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        return list(await self._connection.execute(text(statement), values))

    async def one(self, statement: str, **values: Any) -> Any:
        return (await self.rows(statement, **values))[0][0]

    async def samples(self, backends: Sequence[str]) -> Samples:
        """Every sample of the exporter that is about the journal, for a journal that has no other backends."""
        leads = await self.one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1380271170")
        found = {at("relais_journal_up"): 1.0, at("relais_dispatcher_leader"): float(min(leads, 1))}
        found |= {at("relais_journal_weak", what=what): 0.0 for what in WEAK}
        found[at("relais_journal_weak", what="fsync_off")] = float(await self.one("SHOW fsync") == "off")
        for part in (self._open, self._troubled, self._backends, self._counters, self._histograms):
            found |= await part(backends)
        return found | await self._ages()

    async def _open(self, backends: Sequence[str]) -> Samples:
        found = {at("relais_deliveries", backend=b, state=s): 0.0 for b in backends for s in (*OPEN_STATES, "dead")}
        for name in ("relais_backlog_orders", "relais_backlog_oldest_age_seconds"):
            found |= {at(name, backend=b, priority=p): 0.0 for b in backends for p in PRIORITY.values()}
        found |= {at("relais_dead_letters", reason=reason): 0.0 for reason in REASONS}
        query = "SELECT backend, state, count(*) FROM deliveries GROUP BY 1, 2"
        for backend, state, n in await self.rows(query):
            if state in (*OPEN_STATES, "dead"):
                found[at("relais_deliveries", backend=backend, state=state)] = n
        query = """SELECT backend, priority, count(*), greatest(0, extract(epoch FROM now() - min(accepted_at)))
        FROM deliveries
        WHERE state NOT IN ('delivered', 'dead', 'cancelled', 'discarded') GROUP BY 1, 2"""
        for backend, priority, n, age in await self.rows(query):
            labels = {"backend": backend, "priority": PRIORITY[priority]}
            found[at("relais_backlog_orders", **labels)] = n
            found[at("relais_backlog_oldest_age_seconds", **labels)] = float(age)
        query = "SELECT reason, count(*) FROM deliveries WHERE state = 'dead' GROUP BY 1"
        return found | {at("relais_dead_letters", reason=reason): n for reason, n in await self.rows(query)}

    async def _troubled(self, backends: Sequence[str]) -> Samples:
        names = ("relais_overdue_orders", "relais_overdue_oldest_age_seconds")
        more = ("relais_unmapped_orders", "relais_unmapped_codes")
        found = {at(name, backend=b): 0.0 for b in backends for name in (*names, *more)}
        query = """SELECT backend, count(*), max(extract(epoch FROM now() - sent_at))
        FROM deliveries JOIN backends ON name = backend
        WHERE (state = 'submitted' OR (state = 'accepted' AND unsure))
          AND sent_at < now() - ack_within * interval '1 s' GROUP BY 1"""
        for backend, n, age in await self.rows(query):
            found |= {at(names[0], backend=backend): n, at(names[1], backend=backend): float(age)}
        return found

    async def _backends(self, backends: Sequence[str]) -> Samples:
        found = {at("relais_backend_out_orders", backend=b): 0.0 for b in backends}
        found |= {at("relais_replay_holding", backend=b): 0.0 for b in backends}
        lasts = "coalesce(extract(epoch FROM now() - failing_since), 0)"
        query = f'SELECT name, circuit, "window", paused, quarantined, failures, {lasts} FROM backends'
        for name, circuit, window, paused, quarantined, failures, outage in await self.rows(query):
            for state in CIRCUITS:
                found[at("relais_backend_circuit", backend=name, state=state)] = float(circuit == state)
            found[at("relais_backend_window_orders", backend=name)] = window
            found[at("relais_backend_paused", backend=name)] = float(paused)
            found[at("relais_backend_quarantined", backend=name)] = float(quarantined)
            found[at("relais_backend_failures", backend=name)] = failures
            found[at("relais_backend_outage_seconds", backend=name)] = float(outage)
        out = "SELECT backend, count(*) FROM deliveries WHERE state IN ('dispatched', 'delivering') GROUP BY 1"
        found |= {at("relais_backend_out_orders", backend=b): n for b, n in await self.rows(out)}
        held = "SELECT backend FROM replays WHERE state = 'holding' AND ended_at IS NULL"
        return found | {at("relais_replay_holding", backend=b): 1.0 for (b,) in await self.rows(held)}

    async def _counters(self, backends: Sequence[str]) -> Samples:
        found = {at("relais_orders_total", fate=fate): 0.0 for fate in FATES}
        found[at("relais_orders_total", fate="accepted")] = await self.one("SELECT count(*) FROM orders")
        met = "SELECT state, count(*) FROM events WHERE state = ANY(:fates) GROUP BY 1"
        found |= {at("relais_orders_total", fate=state): n for state, n in await self.rows(met, fates=list(FATES))}
        for name in ("relais_receipts_verified_total", "relais_receipts_failed_total"):
            found |= {at(name, backend=b): 0.0 for b in backends}
        found |= {at("relais_retries_total", **{"backend": b, "class": k}): 0.0 for b in backends for k in FAILED}
        signed = "SELECT backend, count(*) FROM receipts WHERE key_id IS NOT NULL GROUP BY 1"
        found |= {at("relais_receipts_verified_total", backend=b): n for b, n in await self.rows(signed)}
        proofs = "SELECT backend, count(*) FROM evidence WHERE kind <> ALL(:odd) GROUP BY 1"
        found |= {at("relais_receipts_failed_total", backend=b): n for b, n in await self.rows(proofs, odd=list(ODD))}
        failed = """SELECT backend, outcome, count(*) FROM attempts JOIN deliveries USING (order_id)
        WHERE outcome = ANY(:failed) GROUP BY 1, 2"""
        tried = await self.rows(failed, failed=list(FAILED))
        return found | {at("relais_retries_total", **{"backend": b, "class": k}): n for b, k, n in tried}

    async def _histograms(self, backends: Sequence[str]) -> Samples:
        receipts = await self.rows(
            "SELECT r.backend, extract(epoch FROM received_at - accepted_at) FROM receipts r "
            "JOIN deliveries USING (order_id)"
        )
        calls = await self.rows(
            "SELECT backend, outcome, extract(epoch FROM ended_at - started_at) FROM attempts "
            "JOIN deliveries USING (order_id)"
        )
        waits: defaultdict[tuple[str, ...], list[float]] = defaultdict(list, {(b,): [] for b in backends})
        for *key, seconds in receipts:
            waits[tuple(key)].append(float(seconds))
        took: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        for *key, seconds in calls:
            took[tuple(key)].append(float(seconds))
        return {
            **_histogram("relais_receipt_seconds", ("backend",), waits, RECEIPT_BOUNDS),
            **_histogram("relais_erp_call_seconds", ("backend", "outcome"), took, CALL_BOUNDS),
        }

    async def _asides(self) -> dict[str, int]:
        return dict(map(tuple, await self.rows("SELECT kind, count(*) FROM asides GROUP BY 1")))

    async def _ages(self) -> Samples:
        found: Samples = {}
        hosts = """SELECT host, count(*),
        max(greatest(0, extract(epoch FROM now() - coalesce(answered_at, started_at)))),
        count(*) FILTER (WHERE deaf_since IS NOT NULL) FROM workers GROUP BY 1"""
        for host, n, age, deaf in await self.rows(hosts):
            found[at("relais_workers", host=host)] = n
            found[at("relais_workers_deaf", host=host)] = deaf
            found[at("relais_canary_age_seconds", host=host)] = float(age)
        asides = {"repeated": 0, "forged": 0, "unreadable": 0, **(await self._asides())}
        found |= {at("relais_spill_asides", kind=kind): n for kind, n in asides.items()}
        sealed = await self.rows(
            "SELECT greatest(0, extract(epoch FROM now() - max(sealed_at))) FROM seals HAVING count(*) > 0"
        )
        if sealed:
            found[at("relais_seal_age_seconds")] = float(sealed[0][0])
        audits = await self.rows(
            "SELECT greatest(0, extract(epoch FROM now() - at)), detail->'sound' FROM operations "
            "WHERE act = 'audit' ORDER BY id"
        )
        if audits:
            found[at("relais_audit_age_seconds")] = float(audits[-1][0])
            found[at("relais_audit_ok")] = float(audits[-1][1])
        return found

    async def status(self) -> dict[str, Any]:
        """The figures of `relais status --json` that are about the journal, but for what describes a backend."""
        states = dict(map(tuple, await self.rows("SELECT state, count(*) FROM deliveries GROUP BY 1")))
        met = dict(map(tuple, await self.rows("SELECT state, count(*) FROM events GROUP BY 1")))
        accepted = await self.one("SELECT count(*) FROM orders")
        oldest = "SELECT min(accepted_at) FROM deliveries WHERE state = ANY(:open) AND priority = ANY(:priorities)"
        since = {
            name: await self.one(oldest, open=list(OPEN_STATES), priorities=keys)
            for name, keys in (("any", [0, 1]), ("urgent", [0]), ("normal", [1]))
        }
        return {
            "orders": {state: states.get(state, 0) for state in (*OPEN_STATES, *FATES)},
            "backlog": sum(states.get(state, 0) for state in OPEN_STATES),
            "oldest": since["any"],
            "oldest_by_priority": {name: since[name] for name in ("urgent", "normal")},
            "fates": {"accepted": accepted, **{fate: met.get(fate, 0) for fate in FATES}},
            "asides": await self._asides(),
            "unsealed": await self._unsealed(),
            "flow": await self._flow(await self.one("SELECT now()")),
            "evidence": dict(map(tuple, await self.rows("SELECT backend, count(*) FROM evidence GROUP BY 1"))),
            "notices": await self.one("SELECT count(*) FROM notices WHERE told_at IS NULL"),
            "webhooks": await self.one("SELECT count(*) FROM webhooks"),
        }

    async def _flow(self, now: datetime) -> tuple[int, int, int]:
        since = now - timedelta(minutes=1)
        accepted = await self.one("SELECT count(*) FROM orders WHERE id >= :first", first=first_id(since))
        tried = "SELECT count(*) FROM attempts WHERE ended_at > :since AND outcome = ANY(:kinds) IS "
        kinds = ["accepted", "duplicate"]
        delivered = await self.one(tried + "true", since=since, kinds=kinds)
        return accepted, delivered, await self.one(tried + "false", since=since, kinds=[*kinds, "pending", "refused"])

    async def _unsealed(self) -> int | None:
        sealed = await self.one("SELECT max(to_tx) FROM seals")
        if sealed is None:
            return None
        tables = ("orders", "attempts", "receipts", "operations", "evidence")
        counts = [await self.one(f"SELECT count(*) FROM {t} WHERE tx >= :sealed", sealed=sealed) for t in tables]
        return sum(counts)


def _histogram(
    name: str, labels: Sequence[str], values: dict[tuple[str, ...], list[float]], bounds: Iterable[float]
) -> Samples:
    found: Samples = {}
    for key, seconds in values.items():
        names = dict(zip(labels, key, strict=True))
        for bound in bounds:
            found[at(f"{name}_bucket", **names, le=str(bound))] = sum(each <= bound for each in seconds)
        found[at(f"{name}_bucket", **names, le="+Inf")] = found[at(f"{name}_count", **names)] = len(seconds)
        found[at(f"{name}_sum", **names)] = sum(seconds)
    return found
