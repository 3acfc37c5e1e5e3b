"""Times the PromQL engine on samples in memory: ``python bench/engine.py [--layout ragged]``.

The data: 2,000 series of each of three metrics over 50 targets, 6 hours at 15 seconds, with
jitter, missed scrapes and counter resets; and 100,000 series over 100 targets for instant queries.
One thread; the best of several runs is printed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np

from vedette.model.arrays import F64, I64
from vedette.model.blocks import AnyBlock, Block, LabelTable, RaggedBlock, Selection
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher
from vedette.query.promql.engine import Engine
from vedette.query.promql.kernels import wait_until_compiled
from vedette.storage.interface import NO_LIMITS, SelectLimits

STEP, HOURS, TARGETS, PER_TARGET = 15_000, 6, 50, 40
END = 1_767_225_600_000
BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf")


class Fixed:
    """A source that answers by metric name from prepared selections."""

    def __init__(self, selections: dict[str, Selection]) -> None:
        self._selections = selections

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        """Return the selection of the metric that ``matchers`` name."""
        name = next(m.value for m in matchers if m.name == "__name__")
        return (self._selections[name],)


def timestamps(rng: np.random.Generator, count: int) -> I64:
    """Return the scrape times of one target."""
    start = END - count * STEP
    ts = start + int(rng.integers(0, STEP)) + np.arange(count) * STEP + rng.integers(0, 6, count)
    return ts[rng.random(count) > 0.004].astype(np.int64)


def counters(rng: np.random.Generator, rows: int, size: int) -> F64:
    """Return counters float64[rows, size] with up to two resets each."""
    steps = rng.poisson(rng.uniform(0.5, 50, size), (rows, size)).astype(float)
    values = np.cumsum(steps, axis=0)
    for s in range(size):
        for at in np.sort(rng.integers(1, rows, rng.integers(0, 3))):
            values[at:, s] -= values[at, s] - steps[at, s]
    return values


def dataset(
    targets: int, per_target: int, count: int, metrics: Sequence[str]
) -> dict[str, Selection]:
    """Return a selection per metric."""
    rng = np.random.default_rng(1)
    clocks = [timestamps(rng, count) for _ in range(targets)]
    return {m: selection(rng, m, clocks, per_target) for m in metrics}


def selection(
    rng: np.random.Generator, metric: str, clocks: Sequence[I64], per_target: int
) -> Selection:
    """Return the series of one metric: a block for each target."""
    labels: list[Labels] = []
    blocks: list[AnyBlock] = []
    for k, ts in enumerate(clocks):
        columns = np.arange(len(labels), len(labels) + per_target, dtype=np.int32)
        labels += [labels_of(metric, k, s) for s in range(per_target)]
        blocks.append(Block(columns, ts, values_of(rng, metric, len(ts), per_target)))
    return Selection(metric, LabelTable.of(labels), tuple(blocks))


def labels_of(metric: str, target: int, s: int) -> Labels:
    """Return the labels of series ``s`` of a target."""
    place = {"job": f"job{target % 5}", "instance": f"10.0.{target % 5}.{target}:9100"}
    match metric:
        case "x":
            own = {"route": f"/api/v1/route{s % 8}", "code": str(200 + s // 8)}
        case "x_bucket":
            own = {"route": f"/api/v1/route{s // 10}", "le": BOUNDS[s % 10]}
        case _:
            own = {"pod": f"pod{s % 1000:04d}", "device": f"dev{s:04d}"}
    return Labels.of(place | own)


def values_of(rng: np.random.Generator, metric: str, rows: int, size: int) -> F64:
    """Return the values of one target, float64[rows, size]."""
    match metric:
        case "x":
            return counters(rng, rows, size)
        case "x_bucket":
            each = np.cumsum(rng.poisson(3.0, (rows, size // 10, 10)), axis=0).astype(float)
            return np.cumsum(each, axis=2).reshape(rows, size)
        case "g":
            return np.round(50 + np.cumsum(rng.normal(0, 1, (rows, size)), axis=0), 3)
        case _:
            return np.cumsum(rng.poisson(5.0, (rows, size)), axis=0).astype(float)


def ragged(selection: Selection) -> Selection:
    """Return the same samples with each series on its own timestamps."""
    blocks: list[AnyBlock] = []
    for block in selection.blocks:
        assert isinstance(block, Block)
        rows, size = block.values.shape
        blocks.append(
            RaggedBlock(
                block.columns,
                np.arange(size + 1) * rows,
                # Each series a little later than the one before: none shares its timestamps.
                (block.ts + 7 * np.arange(size)[:, None]).ravel(),
                np.ascontiguousarray(block.values.T).ravel(),
            )
        )
    return Selection(selection.metric, selection.labels, tuple(blocks))


def best(work: Callable[[], object], runs: int) -> tuple[float, float]:
    """Return the best CPU and wall times in milliseconds."""
    cpu, wall = [], []
    for _ in range(runs):
        a, b = time.process_time(), time.perf_counter()
        work()
        cpu.append(time.process_time() - a)
        wall.append(time.perf_counter() - b)
    return min(cpu) * 1e3, min(wall) * 1e3


def main() -> None:
    """Print one line a query."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", choices=("shared", "ragged"), default="shared")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--only", default="", help="only queries that contain this text")
    arguments = parser.parse_args()
    data = dataset(TARGETS, PER_TARGET, HOURS * 3_600_000 // STEP, ("x", "x_bucket", "g"))
    data |= dataset(100, 1000, 60, ("wide",))
    if arguments.layout == "ragged":
        data = {name: ragged(found) for name, found in data.items()}
    engine = Engine(Fixed(data))
    wait_until_compiled()
    start = END - 1439 * STEP
    for query in (
        "sum by (job) (rate(x[5m]))",
        "histogram_quantile(0.95, sum by (le, route) (rate(x_bucket[5m])))",
        "max by (job) (g)",
        "sum by (job) (g)",
        "avg by (job) (avg_over_time(g[5m]))",
        "max by (job) (max_over_time(g[5m]))",
        "sum by (route, code) (increase(x[5m]))",
        "rate(x[5m])",
        "g * 2 > 100",
        "sum by (job) (rate(x[5m])) / on (job) sum by (job) (x)",
        "quantile by (job) (0.9, g)",
        "topk by (job) (3, g)",
    ):
        if arguments.only in query:
            cpu, wall = best(lambda q=query: engine.range(q, start, END, STEP), arguments.runs)
            print(f"{query:70s} 1,440 steps  {cpu:8.1f} ms CPU {wall:8.1f} ms")
    for query in ("sum by (pod) (rate(wide[5m]))", "sum by (pod) (wide)", "wide", "topk(5, wide)"):
        if arguments.only in query:
            cpu, wall = best(lambda q=query: engine.instant(q, END), arguments.runs)
            print(f"{query:70s} 100k series  {cpu:8.1f} ms CPU {wall:8.1f} ms")


if __name__ == "__main__":
    main()
