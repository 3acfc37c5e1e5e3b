"""Samples → the body of a remote-write request, version 2.0.

Source: "Prometheus Remote-Write 2.0 specification" and its ``io.prometheus.write.v2.Request``:
texts stand once, in a table, and series refer to them; a series has floats or histograms.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import cramjam
import numpy as np

from vedette.forward.encode import METRIC_TYPES, Outgoing, encode_floats, encode_histogram, part
from vedette.kit.varint import varint
from vedette.model.arrays import I32, I64, Mask
from vedette.model.histograms import histogram_value
from vedette.model.labels import METRIC_NAME
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import Exemplar, is_histogram

Describe = Callable[[str], MetricMetadata | None]
"""Returns what is known of the metric with a name."""

# Tags: of the request, then of a series.
_SYMBOL, _SERIES = 0x22, 0x2A
_LABELS, _HISTOGRAM, _EXEMPLAR, _METADATA = 0x0A, 0x1A, 0x22, 0x2A
_NAME = METRIC_NAME.encode()


def encode_request_v2(outgoing: Outgoing, describe: Describe) -> bytes:
    """Return a ``Request``, compressed with Snappy's block format.

    A series whose samples change between floats and histograms is there once for each stretch.
    """
    symbols = _Symbols({b"": varint(0)})
    series = _Series(outgoing, symbols, describe).encoded()
    table = [part(_SYMBOL, text) for text in symbols]
    return bytes(cramjam.snappy.compress_raw(b"".join(table + series)))


class _Symbols(dict[bytes, bytes]):
    """Texts with their references, written as varints, in the order of their first use."""

    def __missing__(self, text: bytes) -> bytes:
        reference = self[text] = varint(len(self))
        return reference


class _Series:
    """The series of one request."""

    def __init__(self, outgoing: Outgoing, symbols: _Symbols, describe: Describe) -> None:
        self._outgoing = outgoing
        self._symbols = symbols
        self._describe = describe
        self._metadata: dict[bytes, bytes] = {}
        self._native = is_histogram(outgoing.values)
        start = outgoing.start
        self._start = np.zeros(len(outgoing.ts), np.int64) if start is None else start
        self._examples: dict[int, list[bytes]] = {}
        for each in sorted(outgoing.exemplars, key=lambda each: (each.series, each.ts)):
            found = self._examples.setdefault(each.series, [])
            found.append(part(_EXEMPLAR, self._exemplar(each)))

    def encoded(self) -> list[bytes]:
        """Return every series as a field of the request."""
        outgoing, native = self._outgoing, self._native
        floats = ~native
        data, sizes = encode_floats(
            outgoing.ts[floats], outgoing.values[floats], self._start[floats]
        )
        ends = np.zeros(len(native) + 1, np.int64)
        ends[1:][floats] = sizes
        places = np.cumsum(ends).tolist()
        first = stretches(outgoing.rows, native)
        out = []
        rows = outgoing.rows[first[:-1]].tolist()
        for row, begin, end in zip(rows, first[:-1].tolist(), first[1:].tolist(), strict=True):
            if native[begin]:
                samples = self._histograms(begin, end)
            else:
                samples = data[places[begin] : places[end]]
            out.append(self._one(row, samples))
        # Exemplars of series that have no samples here.
        out += [self._one(row, b"") for row in sorted(self._examples)]
        return out

    def _one(self, row: int, samples: bytes) -> bytes:
        texts = self._outgoing.labels[row].split(b"\xff")[:-1]
        references = b"".join(map(self._symbols.__getitem__, texts))
        examples = b"".join(self._examples.pop(row)) if row in self._examples else b""
        body = part(_LABELS, references) + samples + examples + self._described(_metric(texts))
        return part(_SERIES, body)

    def _histograms(self, begin: int, end: int) -> bytes:
        outgoing = self._outgoing
        if outgoing.histograms is None:
            return b""
        index = outgoing.histograms.index[begin:end].tolist()
        stamps = zip(outgoing.ts[begin:end].tolist(), self._start[begin:end].tolist(), strict=True)
        return b"".join(
            part(_HISTOGRAM, encode_histogram(histogram_value(outgoing.histograms, k), ts, start))
            for k, (ts, start) in zip(index, stamps, strict=True)
        )

    def _exemplar(self, exemplar: Exemplar) -> bytes:
        texts = [text.encode() for pair in exemplar.labels for text in pair]
        references = b"".join([self._symbols[text] for text in texts])
        value = struct.pack("<d", exemplar.value)
        return part(_LABELS, references) + b"\x11" + value + b"\x18" + varint(exemplar.ts)

    def _described(self, name: bytes) -> bytes:
        known = self._metadata.get(name)
        if known is None:
            found = self._describe(name.decode())
            known = b"" if found is None else part(_METADATA, self._metadata_of(found))
            self._metadata[name] = known
        return known

    def _metadata_of(self, metadata: MetricMetadata) -> bytes:
        return (
            b"\x08"
            + varint(METRIC_TYPES.get(metadata.type, 0))
            + b"\x18"
            + self._symbols[metadata.help.encode()]
            + b"\x20"
            + self._symbols[metadata.unit.encode()]
        )


def _metric(texts: list[bytes]) -> bytes:
    """Return the metric's name among label names and values, which mostly come after it."""
    if texts[:1] == [_NAME]:
        return texts[1]
    names = texts[::2]
    return texts[2 * names.index(_NAME) + 1] if _NAME in names else b""


def stretches(rows: I32, native: Mask) -> I64:
    """Return int64[k + 1], where each of k stretches of one series and kind begins, and n."""
    changes = (rows[1:] != rows[:-1]) | (native[1:] != native[:-1])
    inner = np.flatnonzero(changes) + 1
    head = np.zeros(min(1, len(rows)), np.int64)
    return np.concatenate([head, inner, np.array([len(rows)], np.int64)])
