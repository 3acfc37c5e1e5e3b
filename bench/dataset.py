"""The sets that every system is measured on: what 50 targets told for some hours.

*aligned*: 2,000 series of each metric in 50 targets; the series of a target share its timestamps,
as scraped samples do. *ragged*: each series has timestamps of its own, as pushed samples have.
Scrapes come with jitter, 0.4 % of them are missing, and some counters reset once or twice, as
after a restart. Metrics: ``http_requests_total`` (counters), ``queue_length`` (gauges of three
decimals) and ``http_duration_seconds_bucket`` (classic histograms of ten buckets).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

JOBS = 5
INSTANCES = 10
ROUTES = 8
CODES = ("200", "201", "404", "500", "503")
BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "+Inf")


class Layout(StrEnum):
    """Whether series share their timestamps."""

    ALIGNED = "aligned"
    RAGGED = "ragged"


@dataclass(frozen=True, slots=True)
class Target:
    """Series that share timestamps: int64[n] (ms) and float64[n, S]."""

    labels: tuple[dict[str, str], ...]
    ts: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Dataset:
    """All targets, and the span of their samples in ms."""

    targets: tuple[Target, ...]
    start: int
    end: int
    step: int

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return sum(target.values.size for target in self.targets)

    def ticks(self) -> Iterator[list[tuple[Target, int]]]:
        """Yield, tick by tick, the targets that were scraped and the row of each."""
        cursors = [0] * len(self.targets)
        for tick in range((self.end - self.start) // self.step):
            limit = self.start + (tick + 1) * self.step
            rows = []
            for k, target in enumerate(self.targets):
                if cursors[k] < len(target.ts) and target.ts[cursors[k]] < limit:
                    rows.append((target, cursors[k]))
                    cursors[k] += 1
            yield rows


METRICS = ("http_requests_total", "http_duration_seconds_bucket", "queue_length")


def build(
    end: int,
    series: int = 2_000,
    hours: float = 6,
    step: int = 15_000,
    seed: int = 1,
    metrics: tuple[str, ...] = METRICS[:1],
    layout: Layout = Layout.ALIGNED,
) -> Dataset:
    """Return the set that ends at ``end`` (ms), with ``series`` of each metric.

    The same arguments give the same set.
    """
    rng = np.random.default_rng(seed)
    n = int(hours * 3_600_000 // step)
    start = end - n * step
    per_target = series // (JOBS * INSTANCES)
    targets: list[Target] = []
    for job in range(JOBS):
        for instance in range(INSTANCES):
            place = {"job": f"job{job}", "instance": f"10.0.{job}.{instance}:9100"}
            found = _target(rng, place, start, n, step, per_target, metrics)
            targets += _alone(rng, found, step) if layout is Layout.RAGGED else [found]
    return Dataset(tuple(targets), start, end, step)


def wide(end: int, series: int = 100_000, rows: int = 24, step: int = 15_000) -> Dataset:
    """Return few samples of very many series, ``pod_bytes_total`` of 1,000 pods."""
    rng = np.random.default_rng(3)
    per_target = 1_000
    targets = []
    for k in range(series // per_target):
        ts = _ticks(rng, end - rows * step, rows, step, 0)
        labels = tuple(
            {
                "__name__": "pod_bytes_total",
                "device": f"dev{s:04d}",
                "instance": f"10.1.{k}.1:9100",
                "job": "pods",
                "pod": f"pod{s:04d}",
            }
            for s in range(per_target)
        )
        values = np.cumsum(rng.poisson(5.0, (rows, per_target)), axis=0).astype(np.float64)
        targets.append(Target(labels, ts, values))
    return Dataset(tuple(targets), end - rows * step, end, step)


def _ticks(
    rng: np.random.Generator, start: int, n: int, step: int, missing: float
) -> NDArray[np.int64]:
    # The offset leaves room for the jitter, so that a scrape stays within its tick.
    ts = start + int(rng.integers(0, step - 10)) + np.arange(n) * step + rng.integers(0, 6, n)
    return ts[rng.random(n) >= missing].astype(np.int64)


def _target(
    rng: np.random.Generator,
    place: dict[str, str],
    start: int,
    n: int,
    step: int,
    series: int,
    metrics: tuple[str, ...],
) -> Target:
    ts = _ticks(rng, start, n, step, 0.004)
    labels: list[dict[str, str]] = []
    columns: list[NDArray[np.float64]] = []
    for metric in metrics:
        labels += [{"__name__": metric, **place, **_own_labels(metric, s)} for s in range(series)]
        columns.append(_values(rng, metric, len(ts), series))
    return Target(tuple(labels), ts, np.concatenate(columns, axis=1))


def _alone(rng: np.random.Generator, target: Target, step: int) -> list[Target]:
    """Return each series of ``target`` on timestamps of its own."""
    found = []
    for s, labels in enumerate(target.labels):
        n = len(target.ts)
        tick = target.ts[0] // step * step + np.arange(n) * step
        ts = tick + int(rng.integers(0, step - 10)) + rng.integers(0, 6, n)
        found.append(Target((labels,), ts.astype(np.int64), target.values[:, s : s + 1]))
    return found


def _own_labels(metric: str, s: int) -> dict[str, str]:
    if metric == "http_duration_seconds_bucket":
        return {"le": BOUNDS[s % 10], "route": f"/api/v1/route{s // 10}"}
    if metric == "queue_length":
        return {"queue": f"queue{s}"}
    return {
        "code": CODES[s // ROUTES % len(CODES)],
        "method": "GET" if s % 2 else "POST",
        "route": f"/api/v1/route{s % ROUTES}",
    }


def _values(rng: np.random.Generator, metric: str, rows: int, series: int) -> NDArray[np.float64]:
    if metric == "http_duration_seconds_bucket":
        each = np.cumsum(rng.poisson(3.0, (rows, series // 10, 10)), axis=0)
        return np.cumsum(each, axis=2).reshape(rows, series).astype(np.float64)
    if metric == "queue_length":
        return np.round(50 + np.cumsum(rng.normal(0, 1, (rows, series)), axis=0), 3)
    return np.stack([_counter(rng, rows) for _ in range(series)], axis=1)


def _counter(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    increments = rng.poisson(rng.uniform(0.5, 50), n).astype(np.float64)
    values = np.cumsum(increments)
    for reset in np.sort(rng.integers(1, n, rng.integers(0, 3))):
        values[reset:] -= values[reset] - increments[reset]
    return values
