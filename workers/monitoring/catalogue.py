"""Every metric that `relais exporter` exports: its type, its labels, and in one sentence what it says.

docs/metrics.md has the same, held together by a test. No label has values that clients, orders or pharmacies could
make up: they are backends of the settings, hosts, paths of the settings, and words of fixed lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"


class MetricEntry(NamedTuple):
    """One metric of the catalogue."""

    kind: str
    what: str
    labels: tuple[str, ...] = ()


CATALOGUE: Final[Mapping[str, MetricEntry]] = {
    "relais_orders_total": MetricEntry(
        COUNTER, "Orders that met a fate; one that died, was replayed and delivered met both.", ("fate",)
    ),
    "relais_deliveries": MetricEntry(GAUGE, "Orders that are not done with, by state.", ("backend", "state")),
    "relais_backlog_orders": MetricEntry(GAUGE, "Orders that are not final.", ("backend", "priority")),
    "relais_backlog_oldest_age_seconds": MetricEntry(
        GAUGE, "Age of the oldest order that is not final; 0 when there is none.", ("backend", "priority")
    ),
    "relais_dead_letters": MetricEntry(GAUGE, "Orders that need a person, by reason.", ("reason",)),
    "relais_overdue_orders": MetricEntry(
        GAUGE, "Orders that the ERP was sent and has not decided on in its time, RELAIS_ERP_ACK_WITHIN.", ("backend",)
    ),
    "relais_overdue_oldest_age_seconds": MetricEntry(
        GAUGE, "Time since the oldest of these was sent; 0 when there is none.", ("backend",)
    ),
    "relais_unmapped_orders": MetricEntry(GAUGE, "Dead letters with codes that are not mapped.", ("backend",)),
    "relais_unmapped_codes": MetricEntry(
        GAUGE, "Codes that these lack, of the first 1,000 dead letters.", ("backend",)
    ),
    "relais_set_aside_answers": MetricEntry(
        GAUGE,
        "Answers of the ERP's that cannot be read and wait for a person; absent where none was ever looked for.",
        ("backend",),
    ),
    "relais_set_aside_age_seconds": MetricEntry(
        GAUGE, "Time since these were counted; it grows while the place that they are in cannot be seen.", ("backend",)
    ),
    "relais_backend_circuit": MetricEntry(GAUGE, "1 for the state that the circuit is in.", ("backend", "state")),
    "relais_backend_window_orders": MetricEntry(GAUGE, "Orders that may be out at once.", ("backend",)),
    "relais_backend_out_orders": MetricEntry(GAUGE, "Orders that are with the workers or the ERP.", ("backend",)),
    "relais_backend_paused": MetricEntry(GAUGE, "1 while an operator has stopped forwarding.", ("backend",)),
    "relais_backend_quarantined": MetricEntry(GAUGE, "1 while the backend is not trusted.", ("backend",)),
    "relais_backend_failures": MetricEntry(GAUGE, "Attempts that failed since it last answered.", ("backend",)),
    "relais_backend_outage_seconds": MetricEntry(
        GAUGE, "Time since the first attempt that failed after the last answer; 0 while none has.", ("backend",)
    ),
    "relais_receipt_seconds": MetricEntry(HISTOGRAM, "From an order's acceptance to the ERP's receipt.", ("backend",)),
    "relais_erp_call_seconds": MetricEntry(
        HISTOGRAM, "One attempt to deliver one order, with its brief tries.", ("backend", "outcome")
    ),
    "relais_retries_total": MetricEntry(
        COUNTER, "Attempts that failed, after which the order goes again unless it died of it.", ("backend", "class")
    ),
    "relais_receipts_verified_total": MetricEntry(COUNTER, "Receipts signed by a key that was in force.", ("backend",)),
    "relais_receipts_failed_total": MetricEntry(
        COUNTER, "Answers that prove that the backend is not to be trusted.", ("backend",)
    ),
    "relais_forecast_missed_cut_off_orders": MetricEntry(
        GAUGE, "Orders of the backlog that are foretold to miss a cut-off still to come.", ("backend",)
    ),
    "relais_forecast_drain_seconds": MetricEntry(
        GAUGE, "Time until the backlog is empty, in half and in 95 of 100 futures.", ("backend", "quantile")
    ),
    "relais_spill_orders": MetricEntry(GAUGE, "Orders in Redis that wait for the journal."),
    "relais_queue_messages": MetricEntry(GAUGE, "Messages in Redis that wait for a worker."),
    "relais_queue_foreign_total": MetricEntry(
        COUNTER, "Messages in Redis that were none of ours, and that workers set aside."
    ),
    "relais_redis_up": MetricEntry(GAUGE, "1 while Redis answers."),
    "relais_redis_memory_used_bytes": MetricEntry(GAUGE, "Memory that Redis uses."),
    "relais_redis_memory_max_bytes": MetricEntry(GAUGE, "Memory that Redis may use; absent when unlimited."),
    "relais_journal_up": MetricEntry(GAUGE, "1 while PostgreSQL answers; without it the journal's figures are absent."),
    "relais_journal_weak": MetricEntry(
        GAUGE, "1 while a setting of PostgreSQL weakens what a receipt says, by what it is.", ("what",)
    ),
    "relais_dispatcher_leader": MetricEntry(GAUGE, "1 while a worker's dispatcher leads."),
    "relais_seal_age_seconds": MetricEntry(GAUGE, "Time since the last seal."),
    "relais_audit_age_seconds": MetricEntry(GAUGE, "Time since the last audit."),
    "relais_audit_ok": MetricEntry(GAUGE, "1 when the last audit found nothing wrong."),
    "relais_replay_holding": MetricEntry(GAUGE, "1 while a replay waits for an operator.", ("backend",)),
    "relais_disk_free_bytes": MetricEntry(GAUGE, "Room on the disk of a path of RELAIS_DISKS.", ("path",)),
    "relais_disk_size_bytes": MetricEntry(GAUGE, "Size of the disk of a path of RELAIS_DISKS.", ("path",)),
    "relais_spill_asides": MetricEntry(
        GAUGE, "Records of the spill that became no order; forged ones are not signed with the workers' key.", ("kind",)
    ),
    "relais_workers": MetricEntry(GAUGE, "Workers of a host.", ("host",)),
    "relais_workers_deaf": MetricEntry(GAUGE, "Workers of a host that take no orders though some wait.", ("host",)),
    "relais_canary_age_seconds": MetricEntry(
        GAUGE, "Time since the most silent worker of a host answered a canary.", ("host",)
    ),
    "relais_build_info": MetricEntry(GAUGE, "1, with the version that exports.", ("version",)),
}

Labels = tuple[str, ...]


def family(name: str, values: Mapping[Labels, float] | float) -> Metric:
    """A counter or gauge of the catalogue with its values by label values, or its one value."""
    entry = CATALOGUE[name]
    kind = CounterMetricFamily if entry.kind == COUNTER else GaugeMetricFamily
    made = kind(name, entry.what, labels=entry.labels)
    for labels, value in (values if isinstance(values, Mapping) else {(): values}).items():
        made.add_metric(labels, value)
    return made


class HistogramBin(NamedTuple):
    """`n` values of one histogram that exceed no `bound` (seconds, None above the last) and are `total` in sum."""

    bound: float | None
    n: int
    total: float


def histogram(name: str, bounds: Sequence[float], values: Mapping[Labels, Iterable[HistogramBin]]) -> Metric:
    """A histogram of the catalogue: Prometheus' buckets hold those below them too."""
    entry = CATALOGUE[name]
    made = HistogramMetricFamily(name, entry.what, labels=entry.labels)
    for labels, bins in values.items():
        found = list(bins)
        each = [sum(one.n for one in found if one.bound == bound) for bound in (*bounds, None)]
        edges = [*map(str, bounds), "+Inf"]
        made.add_metric(
            labels, list(zip(edges, accumulate(each), strict=True)), sum_value=sum(one.total for one in found)
        )
    return made
