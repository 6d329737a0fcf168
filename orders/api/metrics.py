"""What one API process counts, for Prometheus: cheap on the hot path, which adds to plain numbers and nothing else.

What others know already (the mode, what is in hand, the rate limit) is asked for when the metrics are read. No label
holds what a client could make up: routes are those of the API, never a path as it came.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from orders.api.connection.connections import REASONS, Connections
from orders.api.load_shedding import ClientLimit, LoadShedder
from orders.errors import (
    Busy,
    Conflict,
    Forbidden,
    JournalDown,
    KeyReused,
    Malformed,
    Throttled,
    TooLarge,
    Unauthorised,
)
from orders.intake.entries import Accepted
from orders.intake.store_switch import Mode

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
SECONDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

REFUSALS: Final[dict[type[BaseException], str]] = {
    Conflict: "conflict",
    KeyReused: "conflict",
    Malformed: "malformed",
    TooLarge: "malformed",
    Unauthorised: "unauthorised",
    Forbidden: "forbidden",
    Throttled: "throttled",
    Busy: "shed",
    JournalDown: "unavailable",
}
ANSWERS: Final = ("accepted", "spilled", "repeated", *dict.fromkeys(REFUSALS.values()), "failed")


class Spread:
    """How values spread over buckets."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Bounds are inclusive and ascending; above the last is one bucket more."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, what: str) -> HistogramMetricFamily:
        """As Prometheus has it: each bucket holds those below it too."""
        below = accumulate(self._counts)
        buckets = list(zip((*map(str, self._bounds), "+Inf"), below, strict=True))
        return HistogramMetricFamily(name, what, buckets=buckets, sum_value=self._sum)


class Now(NamedTuple):
    """How things stand when the metrics are read; `rate` is None where there is no limit."""

    mode: Mode
    shedder: LoadShedder
    rate: ClientLimit | None
    listeners: int
    connections: Connections


class Metrics:
    """The metrics of one app. Belongs to one event loop."""

    def __init__(self) -> None:
        """All at zero."""
        self.seconds: Final = Spread(SECONDS)  # from the headers of POST /orders to its answer
        self.group: Final = Spread(SIZES)  # orders that shared one commit
        self._requests: Counter[tuple[str, int]] = Counter()
        self._orders = dict.fromkeys(ANSWERS, 0)

    def answered(self, route: str, status: int) -> None:
        """Count a request; `route` as the API declares it, such as `/orders/{order_id}`, `other` for none of them."""
        self._requests[route, status // 100] += 1

    def placed(self, answer: Accepted | BaseException) -> None:
        """Count what came of one order, of a batch too."""
        if not isinstance(answer, Accepted):
            self._orders[REFUSALS.get(type(answer), "failed")] += 1
        elif answer.repeated:
            self._orders["repeated"] += 1
        else:
            self._orders["accepted" if answer.kept == "journal" else "spilled"] += 1

    def render(self, now: Now) -> bytes:
        """All of it, and what the process uses, in Prometheus' text format, whose media type is CONTENT_TYPE."""
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(Families([*self._counted(), *_current(now)]))
        return generate_latest(registry)

    def _counted(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "relais_intake_requests", "Requests by route and class of status.", labels=("route", "status")
        )
        for (route, kind), count in self._requests.items():
            requests.add_metric((route, f"{kind}xx"), count)
        yield requests
        what = "Orders by what was answered; spilled is accepted while the journal is away."
        orders = CounterMetricFamily("relais_intake_orders", what, labels=("answer",))
        for answer, count in self._orders.items():
            orders.add_metric((answer,), count)
        yield orders
        yield self.seconds.family("relais_intake_seconds", "From the headers of POST /orders to its answer.")
        yield self.group.family("relais_intake_group_orders", "Orders that shared one commit.")


def _current(now: Now) -> Iterator[Metric]:
    mode = GaugeMetricFamily("relais_intake_mode", "1 for where an order that comes now is kept.", labels=("mode",))
    for each in Mode:
        mode.add_metric((each.value,), each is now.mode)
    yield mode
    yield GaugeMetricFamily("relais_intake_in_hand_requests", "Requests in hand.", value=now.shedder.requests.taken)
    yield GaugeMetricFamily("relais_intake_in_hand_bytes", "Bytes of bodies in hand.", value=now.shedder.bytes.taken)
    yield GaugeMetricFamily("relais_intake_listeners", "Open event streams.", value=now.listeners)
    yield GaugeMetricFamily("relais_intake_connections", "Open connections.", value=now.connections.count)
    what = "Connections that the intake ended or refused, by reason."
    ended = CounterMetricFamily("relais_intake_connections_ended", what, labels=("reason",))
    for reason in REASONS:
        ended.add_metric((reason,), now.connections.ended[reason])
    yield ended
    is_open, errors = (False, 0) if now.rate is None else (now.rate.open, now.rate.errors)
    what = "1 while nobody is limited, since Redis does not keep count."
    yield GaugeMetricFamily("relais_intake_rate_limit_open", what, value=is_open)
    what = "Times that Redis did not keep count of the rates."
    yield CounterMetricFamily("relais_intake_rate_limit_errors", what, value=errors)


class Families(Collector):
    """Families that are there already, in the registry's terms."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """All of them."""
        return self._families
