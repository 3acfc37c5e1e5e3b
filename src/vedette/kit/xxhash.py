"""The hash XXH64 of many byte strings at once.

Source: "xxHash fast digest algorithm", version 0.1.1, XXH64 with seed 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_ZERO = np.uint64(0)


def xxh64(texts: Sequence[bytes]) -> U64:
    """Return uint64[n], the hash of each of ``texts``."""
    out = np.zeros(len(texts), np.uint64)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    with np.errstate(over="ignore"):
        for length in np.unique(lengths).tolist():
            rows = np.flatnonzero(lengths == length)
            joint = b"".join([texts[row] for row in rows.tolist()])
            table = np.frombuffer(joint, np.uint8).reshape(len(rows), length)
            out[rows] = _hashed(table)
    return out


def _hashed(table: NDArray[np.uint8]) -> U64:
    """Return uint64[n] of n texts of equal length, uint8[n, length]."""
    size, length = table.shape
    at = length // 32 * 32
    state = np.full(size, _P5)
    if at:
        state = _striped(_lanes(table[:, :at]))
    state = state + np.uint64(length)
    while at + 8 <= length:
        state = _rotated(state ^ _round(_ZERO, _lanes(table[:, at : at + 8])[:, 0]), 27) * _P1 + _P4
        at += 8
    if at + 4 <= length:
        word = np.ascontiguousarray(table[:, at : at + 4]).view("<u4")[:, 0].astype(np.uint64)
        state = _rotated(state ^ (word * _P1), 23) * _P2 + _P3
        at += 4
    for column in range(at, length):
        state = _rotated(state ^ (table[:, column].astype(np.uint64) * _P5), 11) * _P1
    state = (state ^ (state >> np.uint64(33))) * _P2
    state = (state ^ (state >> np.uint64(29))) * _P3
    return np.asarray(state ^ (state >> np.uint64(32)))


def _striped(lanes: U64) -> U64:
    sums = [_P1 + _P2, _P2, _ZERO, _ZERO - _P1]
    parts: list[U64] = [np.full(len(lanes), start) for start in sums]
    for stripe in range(0, lanes.shape[1], 4):
        parts = [_round(part, lanes[:, stripe + k]) for k, part in enumerate(parts)]
    turns = zip(parts, (1, 7, 12, 18), strict=True)
    state: U64 = np.zeros(len(lanes), np.uint64)
    for part, turn in turns:
        state = state + _rotated(part, turn)
    for part in parts:
        state = (state ^ _round(_ZERO, part)) * _P1 + _P4
    return state


def _lanes(table: NDArray[np.uint8]) -> U64:
    return np.ascontiguousarray(table).view("<u8").astype(np.uint64)


def _round(state: U64 | np.uint64, lane: U64) -> U64:
    return _rotated(np.asarray(state + lane * _P2), 31) * _P1


def _rotated(value: U64, turn: int) -> U64:
    return np.asarray((value << np.uint64(turn)) | (value >> np.uint64(64 - turn)))
