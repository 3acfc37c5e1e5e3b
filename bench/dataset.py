"""The set that every system is measured on: counters of 50 targets, scraped for hours.

2,000 series × 6 h at 15 s, in 5 jobs of 10 instances. Scrapes come with jitter, 0.4 % of them are
missing, and some counters reset once or twice, as after a restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

JOBS = 5
INSTANCES = 10
ROUTES = 8
CODES = ("200", "201", "404", "500", "503")


@dataclass(frozen=True, slots=True)
class Target:
    """One scraped process: int64[n] timestamps (ms) and float64[n, S] counter values."""

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


def build(
    end: int, series: int = 2_000, hours: float = 6, step: int = 15_000, seed: int = 1
) -> Dataset:
    """Return the set that ends at ``end`` (ms); the same arguments give the same set."""
    rng = np.random.default_rng(seed)
    n = int(hours * 3_600_000 // step)
    start = end - n * step
    per_target = series // (JOBS * INSTANCES)
    targets = tuple(
        _target(rng, f"job{job}", f"10.0.{job}.{instance}:9100", start, n, step, per_target)
        for job in range(JOBS)
        for instance in range(INSTANCES)
    )
    return Dataset(targets, start, end, step)


def _target(
    rng: np.random.Generator, job: str, instance: str, start: int, n: int, step: int, series: int
) -> Target:
    # The offset leaves room for the jitter, so that a scrape stays within its tick.
    ts = start + int(rng.integers(0, step - 10)) + np.arange(n) * step + rng.integers(0, 6, n)
    ts = ts[rng.random(n) > 0.004]
    labels = tuple(
        {
            "__name__": "http_requests_total",
            "code": CODES[s // ROUTES % len(CODES)],
            "instance": instance,
            "job": job,
            "method": "GET" if s % 2 else "POST",
            "route": f"/api/v1/route{s % ROUTES}",
        }
        for s in range(series)
    )
    values = np.stack([_counter(rng, len(ts)) for _ in range(series)], axis=1)
    return Target(labels, ts.astype(np.int64), values)


def _counter(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    increments = rng.poisson(rng.uniform(0.5, 50), n).astype(np.float64)
    values = np.cumsum(increments)
    for reset in np.sort(rng.integers(1, n, rng.integers(0, 3))):
        values[reset:] -= values[reset] - increments[reset]
    return values
