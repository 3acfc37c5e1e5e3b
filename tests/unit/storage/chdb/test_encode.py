"""The pure parts: scaling, splitting, the Native format and frames."""

from __future__ import annotations

import contextlib
import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.storage.chdb.chunks import T0, batch, labels
from vedette.model.samples import ABSENT_BITS, STALE_BITS
from vedette.storage.chdb.encode import (
    BUCKET_MS,
    DAY_MS,
    POWERS,
    RAW,
    bucket_of,
    day_of,
    ranges,
    sample_blocks,
    scale,
    split,
    time_hashes,
)
from vedette.storage.chdb.frames import Frame, FrameError, Kind, receive, send
from vedette.storage.chdb.library import escape_parameter
from vedette.storage.chdb.migrate import steps
from vedette.storage.chdb.native import Nested, array_offsets, block, parse, text
from vedette.storage.chdb.supervisor import backoff, describe_end
from vedette.storage.interface import StorageError

_ODD = [0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, float("inf"), float("-inf"), 2.0**53, 2.0**63, -0.25]
_floats = st.one_of(
    st.sampled_from(_ODD),
    st.decimals(-(10**6), 10**6, places=2).map(float),
    st.integers(-(2**53), 2**53).map(float),
    st.integers(0, 2**64 - 1).map(lambda b: float(np.uint64(b).view(np.float64))),
    st.just(float(np.uint64(STALE_BITS).view(np.float64))),
)


@given(st.lists(st.lists(_floats, min_size=1, max_size=6), min_size=1, max_size=8))
def test_a_scaled_row_gives_every_bit_back(rows: list[list[float]]) -> None:
    """Where a row scales, mantissa by power of ten is each value in all its bits."""
    values = np.array([v for row in rows for v in row])
    offsets = np.cumsum([0, *(len(row) for row in rows)])
    exponents, mantissas = scale(values, offsets)
    for k, exponent in enumerate(exponents.tolist()):
        at = slice(offsets[k], offsets[k + 1])
        if exponent != RAW:
            back = mantissas[at] / POWERS[exponent]
            assert back.view(np.uint64).tolist() == values[at].view(np.uint64).tolist()


@pytest.mark.parametrize(
    ("row", "exponent"),
    [
        ([1.0, 2.0, -3.0], 0),
        ([1.0, 0.25], 2),
        ([0.001, 5.0], 3),
        ([1.0, -0.0], RAW),
        ([float("nan"), 1.0], RAW),
        ([1.0, float("inf")], RAW),
        ([1 / 3], RAW),
    ],
)
def test_ordinary_decimals_scale(row: list[float], exponent: int) -> None:
    """Integers and short decimals get their least exponent; what has no exact one stays raw."""
    assert scale(np.array(row), np.array([0, len(row)]))[0].tolist() == [exponent]


@given(st.lists(st.integers(-(2**60), 2**60), min_size=1, max_size=30, unique=True))
def test_rows_stay_within_two_hours_and_a_day(stamps: list[int]) -> None:
    """Every sample stands once, in the row of its two hours, and in the insert of its day."""
    chunks = batch({labels("m", a="1"): dict.fromkeys(stamps, 1.5)})
    rows = split(chunks)
    seen = []
    for day, chosen, _ in sample_blocks(chunks, rows):
        for row in chosen.tolist():
            for ts in chunks.ts[rows.offsets[row] : rows.offsets[row + 1]].tolist():
                assert bucket_of(ts) == rows.bucket[row]
                assert rows.bucket[row] <= ts < rows.bucket[row] + BUCKET_MS
                assert day == day_of(int(rows.bucket[row])) == int(bucket_of(ts) / DAY_MS) or (
                    abs(ts) > 2**52
                )
                seen.append(ts)
    assert sorted(seen) == sorted(stamps)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=20, unique=True), st.data())
def test_the_hash_of_a_set_of_times_ignores_how_it_is_cut(
    ts: list[int], data: st.DataObject
) -> None:
    """The sum over the parts is the sum over the whole, and one time fewer changes it."""
    cut = data.draw(st.integers(1, len(ts) - 1))
    whole, left, right = (
        np.add.reduce(time_hashes(np.array(part, np.int64))) for part in (ts, ts[:cut], ts[cut:])
    )
    with np.errstate(over="ignore"):
        assert whole == left + right
    assert whole != left


def test_ranges() -> None:
    """Half-open ranges follow one another; empty ones give nothing."""
    begins, ends = np.array([5, 2, 9, 0]), np.array([7, 2, 10, 3])
    assert ranges(begins, ends).tolist() == [5, 6, 9, 0, 1, 2]
    assert ranges(begins[:0], ends[:0]).tolist() == []


@given(
    st.lists(st.tuples(st.integers(-9, 9), st.binary(max_size=300), st.lists(st.integers(0, 5))))
)
def test_a_native_block_reads_back(rows: list[tuple[int, bytes, list[int]]]) -> None:
    """What is written as Native blocks is read again, over any number of blocks."""

    def columns(part: list[tuple[int, bytes, list[int]]]) -> list[tuple[str, str, bytes]]:
        lengths = np.array([len(items) for _, _, items in part], np.int64)
        flat = np.array([i for _, _, items in part for i in items], np.int64)
        return [
            ("n", "Int64", np.array([n for n, _, _ in part], np.int64).tobytes()),
            ("s", "String", b"".join(text(s) for _, s, _ in part)),
            ("a", "Array(Int64)", array_offsets(lengths) + flat.tobytes()),
        ]

    half = len(rows) // 2
    found = parse(b"".join(block(len(p), columns(p)) for p in (rows[:half], rows[half:])))
    arrays = found["a"]
    assert isinstance(arrays, Nested)
    cut = [
        np.asarray(arrays.items)[arrays.offsets[k] : arrays.offsets[k + 1]].tolist()
        for k in range(len(rows))
    ]
    assert list(zip(found["n"], found["s"], cut, strict=True)) == rows


@given(st.binary(max_size=80))
def test_damaged_native_bytes_are_an_error(data: bytes) -> None:
    """Bytes that are no result raise StorageError or mean nothing, and never anything else."""
    with contextlib.suppress(StorageError):
        parse(data)


@given(st.sampled_from(Kind), st.text(max_size=20), st.binary(max_size=100), st.integers(0, 200))
def test_a_frame_arrives_whole_or_not_at_all(kind: Kind, text: str, body: bytes, cut: int) -> None:
    """A frame reads back as sent; one that was cut short reads as the end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(ours, Frame(kind, 7, {"text": text}, body))
        sent = theirs.recv(100_000)
    for size in {len(sent), min(cut, len(sent) - 1)}:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(sent[:size])
            ours.shutdown(socket.SHUT_WR)
            frame = receive(theirs)
        if size < len(sent):
            assert frame is None
        else:
            assert frame is not None
            assert (frame.kind, frame.call, frame.head) == (kind, 7, {"text": text})
            assert bytes(frame.body) == body


@pytest.mark.parametrize("data", [b"\xff" * 21, b"\x02" + bytes(8) + b"\x01" + bytes(11) + b"{"])
def test_a_frame_that_is_none_is_refused(data: bytes) -> None:
    """Sizes beyond the limits and heads that are no JSON raise FrameError."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(FrameError):
            receive(theirs)


def test_the_pause_before_a_restart_grows_to_a_limit() -> None:
    """The first restart comes soon, later ones after pauses that double up to half a minute."""
    pauses = [backoff(n) for n in range(1, 50)]
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30


def test_the_end_of_a_process_in_words() -> None:
    """Signals are named."""
    assert describe_end(-11) == "signal SIGSEGV"
    assert describe_end(1) == "exit code 1"
    assert describe_end(-250) == "signal 250"


def test_parameters_are_escaped() -> None:
    """What the engine's reader would take for the end of a value is escaped."""
    assert escape_parameter("a\\b\tc\nd\re\0'") == "a\\\\b\\tc\\nd\\re\\0'"


def test_migrations_are_numbered_without_gap() -> None:
    """The steps count from 1, each number once, each with statements."""
    assert [step.version for step in steps()] == list(range(1, len(steps()) + 1))
    assert all(step.statements for step in steps())


def test_no_row_holds_the_mark_of_absence() -> None:
    """The mark of an absent sample is a NaN, and would not be scaled to a number."""
    value = float(np.uint64(ABSENT_BITS).view(np.float64))
    assert scale(np.array([T0, value]), np.array([0, 2]))[0].tolist() == [RAW]
