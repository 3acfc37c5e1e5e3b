"""XOR chunks of floats, as Prometheus' database writes them, and the checksum of their frames.

Source: "Gorilla: A Fast, Scalable, In-Memory Time Series Database" (VLDB 2015), with the widths of
``tsdb/docs/format/chunks.md`` of Prometheus. A chunk is the number of its samples in two bytes and
then a stream of bits:

    the first sample     timestamp as a varint, value as 64 bits
    the second           difference of the timestamps as an unsigned varint, value
    every further one    difference of the differences, value

A value that is that of the sample before is one bit 0; of any other, the bits that differ follow.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vedette.model.arrays import F64, I64

SAMPLES = 120
_WIDTHS = ((14, 0b10, 2), (17, 0b110, 3), (20, 0b1110, 4))
_POLYNOMIAL = 0x82F63B78


def xor_chunks(ts: I64, values: F64) -> Iterator[tuple[int, int, bytes]]:
    """Yield first and last timestamp and the bytes of chunks of at most 120 samples.

    ``ts`` int64[n] ascending, ``values`` float64[n].
    """
    for begin in range(0, len(ts), SAMPLES):
        times = ts[begin : begin + SAMPLES].tolist()
        found = np.ascontiguousarray(values[begin : begin + SAMPLES]).view(np.uint64).tolist()
        yield times[0], times[-1], _chunk(times, found)


class _Bits:
    """Bits in the order in which they are written."""

    def __init__(self) -> None:
        self._number = 0
        self._count = 0

    def write(self, number: int, width: int) -> None:
        """Append the lowest ``width`` bits of ``number``."""
        self._number = self._number << width | number & (1 << width) - 1
        self._count += width

    def write_bytes(self, data: bytes) -> None:
        """Append whole bytes."""
        self.write(int.from_bytes(data, "big"), 8 * len(data))

    def finish(self) -> bytes:
        """Return all bytes, the last one filled up with zeros."""
        rest = -self._count % 8
        return (self._number << rest).to_bytes((self._count + rest) // 8, "big")


def _chunk(times: list[int], values: list[int]) -> bytes:
    out = _Bits()
    out.write(len(times), 16)
    out.write_bytes(_uvarint((times[0] << 1) ^ (times[0] >> 63)))
    out.write(values[0], 64)
    leading, trailing = 0xFF, 0
    delta = 0
    for k in range(1, len(times)):
        step = times[k] - times[k - 1]
        if k == 1:
            out.write_bytes(_uvarint(step))
        else:
            _write_step(out, step - delta)
        delta = step
        leading, trailing = _write_value(out, values[k] ^ values[k - 1], leading, trailing)
    return out.finish()


def _write_step(out: _Bits, change: int) -> None:
    if change == 0:
        out.write(0, 1)
        return
    for width, prefix, size in _WIDTHS:
        if -((1 << (width - 1)) - 1) <= change <= 1 << (width - 1):
            out.write(prefix, size)
            out.write(change, width)
            return
    out.write(0b1111, 4)
    out.write(change, 64)


def _write_value(out: _Bits, changed: int, leading: int, trailing: int) -> tuple[int, int]:
    """Write the bits of a value that differ; return the window that the next may use again."""
    if not changed:
        out.write(0, 1)
        return leading, trailing
    ahead = min(64 - changed.bit_length(), 31)
    behind = (changed & -changed).bit_length() - 1
    if leading != 0xFF and ahead >= leading and behind >= trailing:
        out.write(0b10, 2)
        out.write(changed >> trailing, 64 - leading - trailing)
        return leading, trailing
    width = 64 - ahead - behind
    out.write(0b11, 2)
    out.write(ahead, 5)
    out.write(width, 6)  # 64 does not fit and is written as 0
    out.write(changed >> behind, width)
    return ahead, behind


def _uvarint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def _table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of ``data``."""
    crc = 0xFFFF_FFFF
    table = _TABLE
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF_FFFF
