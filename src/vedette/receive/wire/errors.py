"""What decoders raise."""

from __future__ import annotations


class WireError(Exception):
    """Bytes that are not what they claim to be; ``offset`` is the place in the decompressed body.

    ``reason`` is a metric label.
    """

    def __init__(self, reason: str, message: str, offset: int = -1) -> None:
        super().__init__(f"{message} at byte {offset}" if offset >= 0 else message)
        self.reason = reason
        self.what = message
        self.offset = offset


class TooLargeError(WireError):
    """A body beyond a limit of size."""


class LabelsError(WireError):
    """The labels of one series cannot be stored; other series are not concerned."""


class OtherFieldsError(WireError):
    """Something else than labels stands where a guess at the shape put only labels."""
