"""ClickHouse's Native format: columns as bytes, https://clickhouse.com/docs/interfaces/formats/Native.

A block is the number of columns and of rows, then for each column its name, its type and its data;
a result is a run of blocks. Only the types that the store's own statements use are known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vedette.kit.varint import varint
from vedette.model.arrays import I64
from vedette.storage.interface import StorageError

_SCALARS: dict[str, np.dtype[Any]] = {
    "Int8": np.dtype("<i1"),
    "UInt8": np.dtype("<u1"),
    "Int16": np.dtype("<i2"),
    "Int32": np.dtype("<i4"),
    "UInt32": np.dtype("<u4"),
    "Int64": np.dtype("<i8"),
    "UInt64": np.dtype("<u8"),
    "Float64": np.dtype("<f8"),
}

Flat: TypeAlias = NDArray[Any] | list[bytes]


@dataclass(frozen=True, slots=True)
class Nested:
    """A column of arrays: row r has ``items[offsets[r]:offsets[r + 1]]``."""

    offsets: I64
    items: Flat


Column: TypeAlias = Flat | Nested


def numbers(column: Column) -> NDArray[Any]:
    """Return a column of numbers or fixed strings.

    Raises:
        StorageError: it is none; the same for the next two.
    """
    if isinstance(column, np.ndarray):
        return column
    raise StorageError("the store answered with a column of another type than asked for: numbers")


def texts(column: Column) -> list[bytes]:
    """Return a column of strings."""
    if isinstance(column, list):
        return column
    raise StorageError("the store answered with a column of another type than asked for: strings")


def nested(column: Column) -> Nested:
    """Return a column of arrays."""
    if isinstance(column, Nested):
        return column
    raise StorageError("the store answered with a column of another type than asked for: arrays")


def text(value: bytes) -> bytes:
    """Return ``value`` with its length before it, as a cell of type String."""
    return varint(len(value)) + value


def array_offsets(lengths: NDArray[np.integer]) -> bytes:
    """Return the offsets of an array column, as the format wants them: the ends of each row."""
    return np.cumsum(lengths, dtype=np.uint64).tobytes()


def block(rows: int, columns: Sequence[tuple[str, str, bytes]]) -> bytes:
    """Return one block of ``rows`` rows; a column is its name, type and data."""
    parts = [varint(len(columns)), varint(rows)]
    for name, kind, data in columns:
        parts += [text(name.encode()), text(kind.encode()), data]
    return b"".join(parts)


class _Reader:
    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data
        self.at = 0

    def varint(self) -> int:
        number = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def text(self) -> bytes:
        size = self.varint()
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def numbers(self, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        found = np.frombuffer(self.data, dtype, count, self.at)
        self.at += found.nbytes
        return found

    def column(self, kind: str, rows: int) -> Column:
        if kind in _SCALARS:
            return self.numbers(_SCALARS[kind], rows)
        if kind == "String":
            return [self.text() for _ in range(rows)]
        if kind.startswith("FixedString("):
            return self.numbers(np.dtype(f"S{int(kind[12:-1])}"), rows)
        if kind.startswith("Array("):
            offsets = np.zeros(rows + 1, np.int64)
            offsets[1:] = self.numbers(_SCALARS["UInt64"], rows)
            items = self.column(kind[6:-1], int(offsets[-1]))
            if isinstance(items, Nested):
                raise StorageError("arrays of arrays are not read")
            return Nested(offsets, items)
        if kind.startswith("SimpleAggregateFunction("):
            return self.column(kind[:-1].partition(", ")[2], rows)
        raise StorageError(f"a column of type {kind} is not read: cast it in the statement")


def parse(data: bytes | bytearray) -> dict[str, Column]:
    """Return the columns of a result by name; empty when the result has no block.

    Arrays may share the memory of ``data``. FixedString columns are of numpy's type ``S``.

    Raises:
        StorageError: a column's type is unknown here, or the data is cut short.
    """
    reader = _Reader(data)
    found: dict[str, list[Column]] = {}
    try:
        while reader.at < len(data):
            columns, rows = reader.varint(), reader.varint()
            for _ in range(columns):
                name, kind = reader.text().decode(), reader.text().decode()
                found.setdefault(name, []).append(reader.column(kind, rows))
    except (IndexError, ValueError) as error:
        raise StorageError(f"the store's answer is damaged at byte {reader.at}: {error}") from error
    return {name: _joined(parts) for name, parts in found.items()}


def _joined(parts: list[Column]) -> Column:
    if len(parts) == 1:
        return parts[0]
    arrays = [part for part in parts if isinstance(part, Nested)]
    if arrays:
        lengths = np.concatenate([np.diff(part.offsets) for part in arrays])
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return Nested(offsets, _flat([part.items for part in arrays]))
    return _flat([part for part in parts if not isinstance(part, Nested)])


def _flat(parts: list[Flat]) -> Flat:
    if isinstance(parts[0], list):
        return [item for part in parts for item in part]
    return np.concatenate([np.asarray(part) for part in parts])
