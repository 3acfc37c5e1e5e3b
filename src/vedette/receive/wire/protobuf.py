"""The parts of the protobuf wire format that the decoders share.

Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

from vedette.receive.wire.errors import TooLargeError, WireError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def varint(data: bytes | memoryview, at: int, end: int) -> tuple[int, int]:
    """Return the unsigned 64-bit number at ``at`` and the place behind it.

    Raises:
        WireError: it ends beyond ``end``, or is longer than ten bytes.
    """
    result = 0
    for shift in range(0, 7 * _LONGEST_VARINT, 7):
        if at >= end:
            raise WireError("truncated", "a number ends too early", at)
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, at
    raise WireError("malformed", "a number is longer than ten bytes", at)


def field_end(data: bytes | memoryview, at: int, end: int) -> int:
    """Return where the field at ``at`` ends; raises as :func:`fields`."""
    return next(fields(data, at, end))[4]


def signed(number: int) -> int:
    """Return the int64 whose two's complement is ``number``."""
    return number - (1 << 64) if number >> 63 else number


def fields(data: bytes | memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield number, wire type, start of the field, start of its content, and its end.

    The content of a varint is the varint, of bytes what follows their length.

    Raises:
        WireError: a field does not fit into ``at`` to ``end``, or has a forbidden number or type.
    """
    while at < end:
        start = at
        tag, at = varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise WireError("malformed", f"field number {number} does not exist", start)
        content = at
        if kind == VARINT:
            _, at = varint(data, at, end)
        elif kind == BYTES:
            size, content = varint(data, at, end)
            at = content + size
        elif kind == FIXED64:
            at += 8
        elif kind == FIXED32:
            at += 4
        else:
            raise WireError("malformed", f"wire type {kind} is not supported", start)
        if at > end:
            message = f"field {number} of {at - content} bytes ends beyond its message"
            raise WireError("truncated", message, start)
        yield number, kind, start, content, at


class Reader:
    """Reads fields of one body, all in all no more than ``most``: each costs time, however small.

    ``data`` is the body.
    """

    def __init__(self, data: bytes, most: int) -> None:
        self.data = data
        self._most = most
        self._left = most

    def fields(self, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield the fields of a message, as :func:`fields` does.

        Raises:
            TooLargeError: ``most`` fields were read.
            WireError: as :func:`fields`.
        """
        for each in fields(self.data, at, end):
            self.spend(1)
            yield each

    def spend(self, count: int) -> None:
        """Count numbers or fields that are read otherwise; raises as :meth:`fields`."""
        self._left -= count
        if self._left < 0:
            message = f"the request holds more than {self._most} fields outside of the usual shape"
            raise TooLargeError("too_many_fields", message)

    def packed(self, at: int, end: int) -> list[int]:
        """Return the varints that lie from ``at`` to ``end``; raises as :meth:`fields`."""
        found: list[int] = []
        while at < end:
            number, at = varint(self.data, at, end)
            found.append(number)
            self.spend(1)
        return found
