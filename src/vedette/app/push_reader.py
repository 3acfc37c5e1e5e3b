"""Lets the receiver of pushed groups read bodies with the parsers of scrapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vedette.model.arrays import I32
from vedette.model.histograms import histogram_value
from vedette.model.labels import Labels
from vedette.receive.push import WAY
from vedette.receive.push_groups import PushedFamily, PushedSample
from vedette.receive.stats import IntakeStats
from vedette.receive.wire.errors import WireError
from vedette.scrape.exposition import ExpositionParser
from vedette.scrape.families import member_of
from vedette.scrape.formats import Format, FormatOptions, format_of
from vedette.scrape.grammar import Metadata
from vedette.scrape.parsed import Exposition, ExpositionError, Parser, parse
from vedette.scrape.protobuf import ProtobufParser

_OPTIONS = FormatOptions(native_histograms=True, classic_histograms=True)
_MOST_SAMPLES = 200_000


class _Series:
    """Numbers the series of one body; a ``SeriesIndex`` that forgets."""

    def __init__(self) -> None:
        self.labels: list[Labels] = []
        self._refs: dict[Labels, int] = {}

    def refs(self, series: Sequence[Labels]) -> I32:
        """Return int32[n] refs; never −1."""
        out = [self._refs.setdefault(labels, len(self._refs)) for labels in series]
        self.labels = list(self._refs)
        return np.array(out, np.int32)


def read_push(
    body: bytes, content_type: str, stats: IntakeStats | None = None
) -> tuple[PushedFamily, ...]:
    """Return the families of a body in any exposition format; implements ``BodyReader``.

    Groups have no exemplars; those of the body are counted in ``stats``.

    Raises:
        WireError: it is malformed, or a sample has a timestamp.
    """
    format = format_of(content_type)
    if format is None:
        # Clients such as curl name a form; what they send is text.
        format = Format.TEXT
    series = _Series()
    parser: Parser
    if format is Format.PROTOBUF:
        parser = ProtobufParser(series, _as_is, _OPTIONS, _MOST_SAMPLES)
    else:
        if not body.endswith(b"\n"):
            body += b"\n"
        parser = ExpositionParser(series, _as_is, format=format, options=_OPTIONS)
    try:
        found = parse(parser, body)
    except ExpositionError as error:
        raise WireError(error.reason, str(error)) from None
    _check(found, series)
    if stats is not None and found.exemplars:
        stats.dropped(WAY, "exemplar", len(found.exemplars))
    return _families(found, series, dict(parser.metadata))


def _as_is(labels: dict[str, str], _type: str) -> Labels:
    return Labels.of(labels)


def _check(found: Exposition, series: _Series) -> None:
    if found.errors:
        first = found.errors[0]
        raise WireError(first.reason, f"line {first.line}: {first.message}")
    if found.ts is not None:
        raise WireError("timestamp", "pushed samples must not have timestamps")
    if len(np.unique(found.refs)) < len(found.refs):
        raise WireError("inconsistent", "a series stands twice in the body")


def _families(
    found: Exposition, series: _Series, metadata: dict[str, Metadata]
) -> tuple[PushedFamily, ...]:
    samples: dict[str, list[PushedSample]] = {}
    for i, ref in enumerate(found.refs.tolist()):
        labels = series.labels[ref]
        row = -1 if found.histograms is None else int(found.histograms.index[i])
        native = histogram_value(found.histograms, row) if found.histograms and row >= 0 else None
        sample = PushedSample(
            labels,
            0.0 if native else float(found.values[i]),
            0 if found.start is None else int(found.start[i]),
            native,
        )
        samples.setdefault(member_of(labels.metric, metadata).family, []).append(sample)
    families = []
    for name, held in samples.items():
        known = metadata.get(name, Metadata())
        families.append(PushedFamily(name, known.type, known.help, known.unit, tuple(held)))
    return tuple(families)
