"""Doubles of storage, and a hand-written encoder of remote write."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np

from vedette.model.arrays import I32
from vedette.model.events import Event
from vedette.model.labels import Labels
from vedette.model.samples import SampleBatch


class Index:
    """Numbers series up to a limit."""

    def __init__(self, limit: int = 10**9) -> None:
        self.series: dict[Labels, int] = {}
        self.limit = limit
        self.asked = 0

    def refs(self, series: Sequence[Labels]) -> I32:
        self.asked += len(series)
        out = []
        for labels in series:
            if labels not in self.series and len(self.series) < self.limit:
                self.series[labels] = len(self.series)
            out.append(self.series.get(labels, -1))
        return np.array(out, np.int32)

    def labels(self, refs: Iterable[int]) -> list[Labels]:
        """Return the labels of ``refs``."""
        known = list(self.series)
        return [known[ref] for ref in refs]


class Store:
    """Keeps what is appended, or raises ``error``."""

    def __init__(self) -> None:
        self.batches: list[SampleBatch] = []
        self.events: list[Event] = []
        self.error: Exception | None = None

    async def append_samples(self, batch: SampleBatch) -> int:
        if self.error:
            raise self.error
        self.batches.append(batch)
        return len(self.batches)

    async def append_events(self, events: Sequence[Event]) -> int:
        if self.error:
            raise self.error
        self.events += events
        return len(self.events)


def varint(number: int) -> bytes:
    """Return ``number`` (two's complement when negative) in protobuf's variable length."""
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def part(tag: int, content: bytes) -> bytes:
    """Return a length-delimited field."""
    return bytes([tag]) + varint(len(content)) + content


def label(name: bytes | str, value: bytes | str) -> bytes:
    """Return one label field."""
    texts = [text if isinstance(text, bytes) else text.encode() for text in (name, value)]
    return part(0x0A, part(0x0A, texts[0]) + part(0x12, texts[1]))


def sample(value: float, ts: int) -> bytes:
    """Return one sample field as Go's generated code writes it: zeros are left out."""
    raw = struct.pack("<d", value)
    return part(
        0x12,
        (b"\x09" + raw if value != 0 else b"") + (b"\x10" + varint(ts) if ts else b""),
    )


def series(labels: Iterable[tuple[str, str]], samples: Iterable[tuple[float, int]]) -> bytes:
    """Return one time series field."""
    body = b"".join(label(n, v) for n, v in labels) + b"".join(sample(v, t) for v, t in samples)
    return part(0x0A, body)
