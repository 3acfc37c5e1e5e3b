"""Lets imports be read with the parsers of scrapes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np

from vedette.kit.clock import Clock
from vedette.model.labels import Labels
from vedette.model.metadata import MetricMetadata
from vedette.receive.imports import Imported, PieceReaders
from vedette.scrape.exposition import ExpositionParser
from vedette.scrape.formats import Format
from vedette.scrape.grammar import Metadata
from vedette.storage.interface import MetadataStore, SeriesIndex

_NUMBERED_AT_ONCE = 500


class ImportReader:
    """Reads one body; implements ``PieceReader``."""

    def __init__(
        self,
        index: SeriesIndex,
        clock: Clock,
        metadata: MetadataStore | None,
        openmetrics: bool,
        labels: Mapping[str, str],
    ) -> None:
        def finish(scraped: dict[str, str], _type: str) -> Labels:
            return Labels.of({**scraped, **labels})

        format = Format.OPENMETRICS if openmetrics else Format.TEXT
        self._parser = ExpositionParser(index, finish, format=format, in_pieces=True)
        self._clock = clock
        self._metadata = metadata
        self._told: dict[str, Metadata] = {}

    async def read(self, piece: bytes) -> Imported:
        """Return what ``piece`` holds; the event loop is held for a moment only."""
        reading = await asyncio.to_thread(self._parser.begin, piece)
        await asyncio.to_thread(reading.read)
        # The index has one writer, which is the event loop.
        while reading.number(_NUMBERED_AT_ONCE):
            await self._clock.sleep(0)
        found = await asyncio.to_thread(reading.end)
        self._tell()
        ts = np.full(len(found.refs), -1, np.int64) if found.ts is None else found.ts
        first = found.errors[0] if found.errors else None
        return Imported(
            found.refs,
            ts,
            found.values,
            found.start,
            found.histograms,
            tuple(e for e in found.exemplars if e.ts >= 0),
            found.rejected,
            first.line if first else 0,
            first.message if first else "",
        )

    def _tell(self) -> None:
        """Hand on what is new of the families."""
        said = self._parser.metadata
        if self._metadata is None or len(said) == len(self._told):
            return
        new = [(name, known) for name, known in said.items() if name not in self._told]
        self._metadata.put([MetricMetadata(n, k.type, k.help, k.unit) for n, k in new])
        self._told = dict(said)


def import_readers(
    index: SeriesIndex, clock: Clock, metadata: MetadataStore | None = None
) -> PieceReaders:
    """Return what makes readers whose series are numbered by ``index``."""

    def make(openmetrics: bool, labels: Mapping[str, str]) -> ImportReader:
        return ImportReader(index, clock, metadata, openmetrics, labels)

    return make
