"""Cost of the way in and of selecting, printed: ``python bench/storage.py``.

Samples of 2,000 series (50 targets of 40) over 6 h at 15 s go through the pipeline, pushed in
batches of 2,000 as remote write sends them, or scraped target by target; then they are selected.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vedette.kit.clock import SystemClock
from vedette.model.arrays import I32
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import SampleBatch
from vedette.storage.head.head import Head
from vedette.storage.ingest import IngestPipeline
from vedette.storage.memory_columns import MemoryColumns
from vedette.storage.samples import StoredSamples
from vedette.storage.series_index import MemorySeriesIndex
from vedette.storage.spool.files import OsFiles

TARGETS, SERIES, SCRAPES, INTERVAL_MS = 50, 40, 1440, 15_000
METRIC = Matcher("__name__", MatchOp.EQUAL, "x_total")


def batches(refs: I32, start: int, scraped: bool) -> list[SampleBatch]:
    """Return the samples of six hours as they come in."""
    dice = np.random.default_rng(7)
    phase = dice.integers(0, INTERVAL_MS, TARGETS)
    out = []
    for k in range(SCRAPES):
        ts = start + k * INTERVAL_MS + phase + dice.integers(0, 4, TARGETS)
        if scraped:
            for t in range(TARGETS):
                part = refs[t * SERIES : (t + 1) * SERIES]
                stamps = np.full(SERIES, ts[t])
                out.append(SampleBatch("a", part, stamps, dice.random(SERIES), f"job/{t}"))
        else:
            values = dice.random(TARGETS * SERIES)
            out.append(SampleBatch("a", refs, np.repeat(ts, SERIES), values))
    return out


def timed(what: str, call: Callable[[], object], times: int = 5) -> None:
    """Print how long the first call takes, and the quickest of the next."""
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        took.append((time.perf_counter() - begin) * 1e3)
    print(f"  {what}: first {took[0]:.1f} ms, then {min(took[1:]):.2f} ms")


async def measure(scraped: bool, folder: Path) -> None:
    """Send, then select."""
    index = MemorySeriesIndex()
    head = Head(index)
    clock = SystemClock()
    columns = MemoryColumns()
    pipeline = IngestPipeline(OsFiles(folder), index, head, columns, clock)
    samples = StoredSamples(pipeline, head, columns)
    await pipeline.start()
    labels = [
        Labels.of({"__name__": "x_total", "job": f"j{t % 5}", "instance": f"i{t}", "pod": f"p{s}"})
        for t in range(TARGETS)
        for s in range(SERIES)
    ]
    refs = index.refs(labels)
    start = clock.now_ms() - SCRAPES * INTERVAL_MS - INTERVAL_MS
    sent = batches(refs, start, scraped)
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in sent:
        await pipeline.append_samples(batch)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    million = TARGETS * SERIES * SCRAPES / 1e6
    how = "scraped, 40 a batch" if scraped else "pushed, 2,000 a batch"
    print(f"{how}: {cpu / million:.3f} CPU-s and {wall / million:.2f} s per million samples,")
    print(
        f"  {len(sent)} batches, one after another, each synced;"
        f" {pipeline.stats.spool.bytes_written / million / 1e6:.1f} spool bytes a sample,"
        f" {head.nbytes / million / 1e6:.1f} head bytes a sample"
    )
    end = start + SCRAPES * INTERVAL_MS
    timed("select 2,000 series × 6 h", lambda: samples.select([METRIC], start, end))
    job = [METRIC, Matcher("job", MatchOp.REGEX, "j[12]")]
    timed("select 800 series × 6 h", lambda: samples.select(job, start, end))
    timed("select 2,000 series × 5 min", lambda: samples.select([METRIC], end - 300_000, end))
    refused = dict(pipeline.stats.refused)
    await pipeline.append_samples(sent[-1])
    print(f"  refused: {refused}, after sending the last batch again: {pipeline.stats.refused}")
    await pipeline.aclose()


def main() -> None:
    """Measure both ways."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for scraped in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(scraped, Path(folder)))


if __name__ == "__main__":
    main()
