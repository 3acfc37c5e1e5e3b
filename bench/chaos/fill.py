"""Fills a store: many series in large requests, with native histograms and exemplars among them.

The floats of a tick are one request: its bytes are made once, and values and timestamps are
written over them, so that the server and not the sender is what takes time.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass

import numpy as np

from bench import remote_write
from bench.chaos.asking import ask, post
from bench.chaos.outcome import Outcome
from bench.processes import Running

SHARDS = 50
STEP_MS = 10_000
HISTOGRAMS = 200
EXEMPLARS = 20
_TS_BYTES = 6  # of milliseconds since 1970, until the year 2109


@dataclass(slots=True)
class Fill:
    """What was written: ``series`` floats and ``HISTOGRAMS`` histograms at each tick."""

    samples: int
    end_ms: int
    written: int = 0

    @property
    def series(self) -> int:
        """Number of float series."""
        return min(20_000, max(SHARDS, self.samples // 20 // SHARDS * SHARDS))

    @property
    def ticks(self) -> int:
        """Number of timestamps."""
        return -(-self.samples // (self.series + HISTOGRAMS))

    def write(self, running: Running) -> Outcome:
        """Write everything, repeating what is refused for want of room.

        Raises:
            RuntimeError: the server refused a request for good.
        """
        begun = time.monotonic()
        template = _Template(self.series)
        for tick in range(self.ticks):
            ts = self.end_ms - (self.ticks - tick) * STEP_MS
            _until_taken(running, template.at(tick, ts))
            _until_taken(running, _histograms(tick, ts))
            self.written = tick + 1
            if tick % 50 == 49:
                rate = self.written * self.series / (time.monotonic() - begun)
                print(f"fill: tick {tick + 1} of {self.ticks}, {rate:,.0f} samples/s", flush=True)
        return self.check(running, "fill")

    def check(self, running: Running, step: str) -> Outcome:
        """Count samples, sum their values, and look at histograms and exemplars."""
        n, ticks, at = self.series, self.written, self.end_ms / 1000
        window = f"{(ticks + 1) * STEP_MS // 1000}s"
        found, total = 0, 0.0
        for shard in range(SHARDS):
            selected = f'chaos_fill{{shard="{shard:02d}"}}[{window}]'
            found += int(ask(running, f"sum(count_over_time({selected}))", at))
            total += ask(running, f"sum(sum_over_time({selected}))", at)
        selected = f"chaos_native[{window}]"
        native = int(ask(running, f"sum(count_over_time({selected}))", at))
        latest = ask(running, "histogram_count(sum(last_over_time(chaos_native[1h])))", at)
        expected = ticks * n * (n - 1) // 2 + n * ticks * (ticks - 1) // 2
        faults = []
        if total != expected:
            faults.append(f"the values add up to {total:.0f}, not {expected}")
        if latest != 3 * ticks * HISTOGRAMS:
            faults.append(f"the histograms count {latest:.0f}, not {3 * ticks * HISTOGRAMS}")
        return Outcome(
            step, ticks * (n + HISTOGRAMS), found + native, tuple(faults), f"{native:,} histograms"
        )


class _Template:
    """The request of a tick, with the places of its values and timestamps."""

    def __init__(self, series: int) -> None:
        parts, places, at = [], [], 0
        for k in range(series):
            labels = {"__name__": "chaos_fill", "series": f"{k:06d}", "shard": f"{k % SHARDS:02d}"}
            # Any value but 0, and a timestamp of the usual length, so that all rows look alike.
            row = remote_write.series(labels, 1.0, 1_700_000_000_000)
            parts.append(row)
            at += len(row)
            places.append(at)
        self._bytes = np.frombuffer(b"".join(parts), np.uint8)
        ends = np.array(places)[:, None]
        self._ts = ends + np.arange(-_TS_BYTES, 0)
        self._values = ends + np.arange(-_TS_BYTES - 9, -_TS_BYTES - 1)
        self._numbers = np.arange(series, dtype="<f8")

    def at(self, tick: int, ts: int) -> bytes:
        """Return the body: series k has the value k + ``tick``."""
        body = self._bytes.copy()
        body[self._values] = (self._numbers + tick).view(np.uint8).reshape(-1, 8)
        body[self._ts] = np.frombuffer(varint(ts), np.uint8)
        return body.tobytes()


def _histograms(tick: int, ts: int) -> bytes:
    """Return histograms that have grown by three observations a tick; some bear an exemplar."""
    count = tick + 1
    spans = field(11, b"\x08\x00" + b"\x10\x02")
    # Two buckets of count and 2 * count observations; deltas are zigzag numbers.
    deltas = field(12, varint(2 * count) + varint(2 * count))
    histogram = field(
        4,
        b"\x08" + varint(3 * count) + b"\x19" + struct.pack("<d", 5.0 * count)
        + b"\x20\x00" + spans + deltas + b"\x78" + varint(ts),
    )  # fmt: skip
    rows = []
    for k in range(HISTOGRAMS):
        labels = _label("__name__", "chaos_native") + _label("series", f"{k:03d}")
        row = labels + (_exemplar(tick, ts) if k < EXEMPLARS else b"") + histogram
        rows.append(field(1, row))
    return b"".join(rows)


def _exemplar(tick: int, ts: int) -> bytes:
    trace = _label("trace_id", f"{tick:032x}")
    return field(3, trace + b"\x11" + struct.pack("<d", 1.5) + b"\x18" + varint(ts))


def _label(name: str, value: str) -> bytes:
    return field(1, field(1, name.encode()) + field(2, value.encode()))


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Return ``number`` in protobuf's variable length."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def _until_taken(running: Running, body: bytes) -> None:
    while (answer := post(running, body)).status_code != 204:
        if answer.status_code < 500:
            raise RuntimeError(f"refused with {answer.status_code}: {answer.text}")
        time.sleep(0.5)
