"""Watching a drain, and what a backlog costs: memory of the worker, and the cost of an order tenth by tenth."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from types import TracebackType
from typing import Any, Self

from benchmarks.rig import Sink, cpu, memory

TENTHS = 10


@dataclass(frozen=True)
class Sample:
    """At a moment: orders drained, MiB of the worker and its children, processor seconds of worker and PostgreSQL."""

    orders: int
    worker_mib: float
    cpu: float


class Watch:
    """Takes a sample every `pause` seconds inside its block, one before and one after."""

    def __init__(self, sink: Sink, worker: int, postgres: int, pause: float = 0.5) -> None:
        self._sink, self._worker, self._postgres, self._pause = sink, worker, postgres, pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._pause if self.samples else 0):
            self._take()
        self._take()

    def _take(self) -> None:
        orders = self._sink.marks()["orders"]
        self.samples.append(Sample(orders, memory(self._worker), cpu(self._worker) + cpu(self._postgres)))


def spans(first: float, marks: Sequence[float], step: int, skip: int) -> list[float]:
    """Microseconds that an order took in each tenth of a drain, the first `skip` orders left out.

    `marks` are the times (s) of every `step`-th order.
    """
    times = [first, *marks][skip // step :]
    cuts = [round(part * (len(times) - 1) / TENTHS) for part in range(TENTHS + 1)]
    return [(times[stop] - times[start]) / ((stop - start) * step) * 1e6 for start, stop in pairwise(cuts)]


def median_tenths(rounds: Sequence[Sequence[float]]) -> list[float]:
    """The median of each tenth over the rounds."""
    return [median(column) for column in zip(*rounds, strict=True)]


def cpu_tenths(samples: Sequence[Sample], skip: int) -> list[float]:
    """Processor microseconds of worker and PostgreSQL for each order, by tenth; as exact as the samples are dense."""
    last = samples[-1].orders
    cuts = [_near(samples, skip + part * (last - skip) / TENTHS) for part in range(TENTHS + 1)]
    return [(end.cpu - start.cpu) / max(1, end.orders - start.orders) * 1e6 for start, end in pairwise(cuts)]


def memory_figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """The worker's memory (MiB) before the drain, at its first tenth, its middle and its end, and its peak."""
    orders = samples[-1].orders
    at = {"start": 0.0, "first_tenth": 0.1, "middle": 0.5, "end": 1.0}
    figures = {name: _near(samples, share * orders).worker_mib for name, share in at.items()}
    return {**figures, "peak": max(sample.worker_mib for sample in samples)}


def _near(samples: Sequence[Sample], orders: float) -> Sample:
    return next((sample for sample in samples if sample.orders >= orders), samples[-1])
