"""Readers that follow the spool: every durable batch once and in order, across segments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.model.labels import Labels
from vedette.model.samples import SampleBatch
from vedette.storage.interface import StorageError
from vedette.storage.series_index import MemorySeriesIndex
from vedette.storage.spool.files import CrashFiles
from vedette.storage.spool.spool import Spool, SpoolSettings, Write
from vedette.storage.spool.tail import SpoolTail

NOW = 1_767_225_600_000


class World:
    """A spool in memory with small segments, and a reader of it."""

    def __init__(self, files: CrashFiles | None = None, held: int = 1 << 30) -> None:
        self.files = files or CrashFiles()
        self.index = MemorySeriesIndex()
        settings = SpoolSettings(segment_bytes=400, retain_ms=0, held_bytes=held)
        self.spool = Spool(self.files, self.index.canonical, settings)
        self.spool.open(NOW, lambda: 0)
        self.tail = SpoolTail(self.spool, self.index.refs)

    def write(self, *series: str) -> None:
        sequence = self.spool.sequence + 1
        refs = self.index.refs([Labels.of({"__name__": name}) for name in series])
        ts = np.full(len(series), NOW + sequence, np.int64)
        values = np.arange(len(series), dtype=np.float64)
        self.spool.write([Write(sequence, SampleBatch("a", refs, ts, values))], NOW)

    def flush(self) -> None:
        self.spool.seal(NOW)
        for segment in self.spool.segments():
            if not segment.flushed:
                self.spool.retire(segment)

    def read(self, after: int, samples: int = 1) -> tuple[list[int], int, bool]:
        page = self.tail.read("r", after, samples)
        return [int(b.ts[0]) - NOW for b in page.batches], page.last, page.lost

    def names(self, after: int) -> list[list[str]]:
        page = self.tail.read("r", after, 1 << 30)
        return [
            [key.split(b"\xff")[1].decode() for key in self.index.canonical(batch.refs)]
            for batch in page.batches
        ]


@given(st.lists(st.sampled_from(["write", "flush", "read"]), max_size=40), st.integers(1, 6))
def test_each_batch_comes_once(steps: list[str], samples: int) -> None:
    """However writing, sealing, flushing and reading follow each other, nothing is missed."""
    world = World()
    world.spool.hold("r", 0)
    after, seen, written = 0, list[int](), 0
    for step in [*steps, "read"]:
        if step == "write":
            world.write("m", "n")
            written += 1
        elif step == "flush":
            world.flush()
        else:
            found, after, lost = world.read(after, samples)
            assert not lost
            seen += found
    while found := world.read(after, samples)[0]:
        seen += found
        after += len(found)
    assert seen == list(range(1, written + 1))


def test_series_of_an_earlier_run_get_numbers_of_this_one() -> None:
    """Refs of a segment that another process wrote are those of its labels here."""
    world = World()
    world.write("old")
    world.write("other", "old")
    world.spool.close()
    later = World(world.files)
    later.index.refs([Labels.of({"__name__": "new"})])
    assert later.names(0) == [["old"], ["other", "old"]]


def test_a_reader_may_go_back() -> None:
    """A reader that asks for what it got before gets it again."""
    world = World()
    for _ in range(3):
        world.write("m")
    assert world.read(0, 10)[0] == [1, 2, 3]
    assert world.read(1, 10)[0] == [2, 3]


def test_what_is_held_is_kept() -> None:
    """A flushed segment stays for a reader that has not got it, and goes when it has."""
    world = World()
    world.spool.hold("r", 0)
    world.write("m")
    world.flush()
    world.write("m")
    world.flush()
    assert world.read(0, 10) == ([1, 2], 2, False)
    world.spool.hold("r", 2)
    world.write("m")
    world.flush()
    world.write("m")
    world.flush()
    assert [segment.first_sequence for segment in world.spool.segments()] == [3, 4]


def test_nothing_is_kept_for_a_reader_that_is_gone() -> None:
    """A reader that lets go holds up no flushed segment, and may come back."""
    world = World()
    world.tail.hold("r", 0)
    for _ in range(2):
        world.write("m")
        world.flush()
    assert world.read(0, 1)[0] == [1]
    world.tail.release("r")
    world.write("m")
    world.flush()
    assert [segment.first_sequence for segment in world.spool.segments()] == [3]
    assert world.read(1, 10) == ([3], 3, True)


def test_a_reader_that_is_too_late_is_told() -> None:
    """Beyond the size that may be held segments go, and the reader learns of the gap."""
    world = World(held=0)
    world.spool.hold("r", 0)
    for _ in range(4):
        world.write("m")
        world.flush()
    found, _, lost = world.read(0, 10)
    assert lost
    assert found == [4]


def test_a_disk_that_cannot_be_read_is_an_error() -> None:
    """A read that fails says so and can be repeated."""
    world = World()
    world.write("m")
    world.files.fuse = 0
    with pytest.raises(StorageError, match="cannot read the spool"):
        world.read(0)
    world.files.fuse = -1
    assert world.read(0) == ([1], 1, False)
