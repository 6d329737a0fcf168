"""The journal's figures as Prometheus' metrics.

Backends of the settings, states, priorities and reasons are there from the beginning, at 0, so that a rate or an
alert never has to do without its series.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from orders.journal.durability import WEAK
from orders.queries.orders import PRIORITIES
from orders.schema.tally_triggers import CALL_BOUNDS, RECEIPT_BOUNDS, SECOND
from orders.states import BACKLOG, AsideKind, CircuitState, Reason, ReplayState, State
from workers.erp.outcomes import LEASE_EXPIRED
from workers.erp.port import Evidence, Kind
from workers.monitoring.catalogue import HistogramBin, Labels, family, histogram
from workers.monitoring.snapshot import Snapshot, TallyRow

COUNTED_STATES: Final = (*BACKLOG, State.DEAD)
RETRIED: Final = (Kind.TRANSIENT, Kind.THROTTLED, Kind.UNKNOWN, Kind.SUSPICIOUS, Kind.ABSENT, LEASE_EXPIRED)
ASIDES: Final = {kind.value: 0 for kind in AsideKind}
PROOFS: Final = tuple(kind for kind in Evidence if kind.conclusive)


def journal_families(found: Snapshot, backends: Collection[str]) -> Iterator[Metric]:
    """All of them; `backends` are those of the settings, others are there when the journal knows them."""
    names = list(dict.fromkeys([*backends, *_known(found)]))
    yield family("relais_journal_up", 1)
    weak = {each.code for each in found.weak}
    yield family("relais_journal_weak", {(code.key,): code in weak for code in WEAK})
    yield family("relais_dispatcher_leader", found.leading)
    yield from _standing(found, names)
    yield from _backends(found, names)
    yield from _counted(found, names)
    yield from _ages(found)
    yield family("relais_spill_asides", {(kind,): n for kind, n in {**ASIDES, **found.asides}.items()})
    yield family("relais_workers", {(row["host"],): row["workers"] for row in found.hosts})
    yield family("relais_workers_deaf", {(row["host"],): row["deaf"] for row in found.hosts})
    yield family("relais_canary_age_seconds", {(row["host"],): row["age"] for row in found.hosts})


def _known(found: Snapshot) -> list[str]:
    rows = (*found.backends, *({"name": row["backend"]} for row in (*found.backlog, *found.dead)))
    return sorted({row["name"] for row in rows} | {tally.backend for tally in found.tallies if tally.backend})


def _standing(found: Snapshot, names: list[str]) -> Iterator[Metric]:
    """Orders that are not done with."""
    states: dict[Labels, float] = {(name, state): 0 for name in names for state in COUNTED_STATES}
    waiting: dict[Labels, float] = {(name, priority): 0 for name in names for priority in PRIORITIES}
    ages = dict(waiting)
    for row in found.backlog:
        key = (row["backend"], row["priority"])
        states[row["backend"], row["state"]] += row["orders"]
        waiting[key] += row["orders"]
        ages[key] = max(ages[key], (found.at - row["oldest"]).total_seconds())
    reasons: dict[Labels, float] = {(reason,): 0 for reason in Reason}
    for row in found.dead:
        states[row["backend"], State.DEAD] += row["orders"]
        reasons[(row["reason"] or "",)] = reasons.get((row["reason"] or "",), 0) + row["orders"]
    yield family("relais_deliveries", states)
    yield family("relais_backlog_orders", waiting)
    yield family("relais_backlog_oldest_age_seconds", ages)
    yield family("relais_dead_letters", reasons)
    yield from _troubled(found, names)


def _troubled(found: Snapshot, names: list[str]) -> Iterator[Metric]:
    """What the ERP's people have to see to. Nothing is overdue of a backend that has no time to decide in; and of one
    that nobody has looked at, nothing is told of what is set aside.
    """
    none: dict[Labels, float] = {(name,): 0 for name in names}
    late: dict[Labels, float] = {(row["backend"],): row["orders"] for row in found.overdue}
    ages: dict[Labels, float] = {(row["backend"],): _seconds(found, row["oldest"]) for row in found.overdue}
    yield family("relais_overdue_orders", none | late)
    yield family("relais_overdue_oldest_age_seconds", none | ages)
    dead = {(row["backend"],): row["orders"] for row in found.dead if row["reason"] == Reason.UNMAPPED}
    yield family("relais_unmapped_orders", none | dead)
    yield family("relais_unmapped_codes", none | {(row["backend"],): row["codes"] for row in found.unmapped})
    seen = [row for row in found.backends if row["set_aside"] is not None]
    yield family("relais_set_aside_answers", {(row["name"],): row["set_aside"] for row in seen})
    ages = {(row["name"],): _seconds(found, row["set_aside_at"]) for row in seen}
    yield family("relais_set_aside_age_seconds", ages)


def _backends(found: Snapshot, names: list[str]) -> Iterator[Metric]:
    rows = found.backends
    circuits: dict[Labels, float] = {
        (row["name"], state): row["circuit"] == state for row in rows for state in CircuitState
    }
    yield family("relais_backend_circuit", circuits)
    yield family("relais_backend_window_orders", {(row["name"],): row["window"] for row in rows})
    yield family("relais_backend_out_orders", {(name,): found.out(name) for name in names})
    for column in ("paused", "quarantined", "failures"):
        yield family(f"relais_backend_{column}", {(row["name"],): row[column] for row in rows})
    outages: dict[Labels, float] = {(row["name"],): _seconds(found, row["failing_since"]) for row in rows}
    yield family("relais_backend_outage_seconds", outages)
    holding = {row["backend"] for row in found.replays if row["state"] == ReplayState.HOLDING}
    yield family("relais_replay_holding", {(name,): name in holding for name in names})


def _seconds(found: Snapshot, since: datetime | None) -> float:
    return 0.0 if since is None else max(0.0, (found.at - since).total_seconds())


def _counted(found: Snapshot, names: list[str]) -> Iterator[Metric]:
    """What happened, ever."""
    yield family("relais_orders_total", {(each,): n for each, n in found.dispositions.items()})
    receipts: dict[Labels, list[HistogramBin]] = {(name,): [] for name in names}
    receipts |= _bins(found.counted("receipt"), lambda tally: (tally.backend,))
    yield histogram("relais_receipt_seconds", RECEIPT_BOUNDS, receipts)
    calls = _bins(found.counted("call"), lambda tally: (tally.backend, tally.label))
    yield histogram("relais_erp_call_seconds", CALL_BOUNDS, calls)
    kinds: list[Labels] = [(name, kind) for name in names for kind in RETRIED]
    failed = {key: sum(one.n for one in calls.get(key, ())) for key in kinds}
    yield family("relais_retries_total", failed)
    yield family("relais_receipts_verified_total", _sums(found, names, "receipt", ("verified",)))
    yield family("relais_receipts_failed_total", _sums(found, names, "evidence", PROOFS))


def _sums(found: Snapshot, names: list[str], of: str, labels: Collection[str]) -> dict[Labels, float]:
    """The tallies of these labels, by backend."""
    sums: dict[Labels, float] = {(name,): 0 for name in names}
    for tally in found.counted(of):
        if tally.label in labels:
            sums[(tally.backend,)] = sums.get((tally.backend,), 0) + tally.n
    return sums


def _bins(tallies: Iterator[TallyRow], key: Callable[[TallyRow], Labels]) -> dict[Labels, list[HistogramBin]]:
    found: defaultdict[Labels, list[HistogramBin]] = defaultdict(list)
    for tally in tallies:
        edge = None if tally.bound is None else tally.bound / SECOND
        found[key(tally)].append(HistogramBin(edge, tally.n, tally.total / SECOND))
    return dict(found)


def _ages(found: Snapshot) -> Iterator[Metric]:
    """How long ago the journal was sealed and audited."""
    ages: dict[str, Any] = {"relais_seal_age_seconds": found.seals["sealed_at"]}
    if found.audit is not None:
        ages["relais_audit_age_seconds"] = found.audit["at"]
        yield family("relais_audit_ok", found.audit["sound"])
    for name, at in ages.items():
        if at is not None:
            yield family(name, max(0.0, (found.at - at).total_seconds()))
