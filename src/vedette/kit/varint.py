"""Numbers of variable length: unsigned LEB128, as protobuf and ClickHouse's format write them."""

from __future__ import annotations


def varint(number: int) -> bytes:
    """Return an int64, or an unsigned one, in one to ten bytes; a negative one takes ten."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
