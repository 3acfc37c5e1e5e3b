"""Labels of pushed series: their rules, how version 1 writes them, and their refs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import I32
from vedette.model.labels import METRIC_NAME, Labels
from vedette.receive.wire.errors import LabelsError, OtherFieldsError, WireError
from vedette.receive.wire.protobuf import BYTES, fields
from vedette.receive.wire.request import ReadSeries, Refusals, WriteLimits, too_many
from vedette.receive.wire.sender import SenderCache
from vedette.storage.interface import SeriesIndex

ReadLabels = Callable[[bytes, WriteLimits, int], Labels]


@dataclass(frozen=True, slots=True)
class Numbering:
    """Turns the bytes that tell labels into refs."""

    cache: SenderCache
    index: SeriesIndex
    limits: WriteLimits
    refusals: Refusals
    read_labels: ReadLabels

    def check_number(self, series: int) -> None:
        """Raise ``TooLargeError`` for more series of one sample than a request may hold."""
        if series > self.limits.series:
            raise too_many("series", self.limits.series)
        if series > self.limits.samples:
            raise too_many("samples", self.limits.samples)

    def refs(self, series: Sequence[ReadSeries]) -> I32:
        """Return int32[n]; refused series are counted and have −1.

        Raises:
            WireError: the bytes of the labels are malformed.
        """
        refs = np.full(len(series), -1, np.int32)
        pending: list[tuple[int, Labels]] = []
        for i, each in enumerate(series):
            ref = self.cache.refs.get(each.key)
            if ref is not None:
                refs[i] = ref
                continue
            try:
                pending.append((i, self.read_labels(each.key, self.limits, each.offset)))
            except LabelsError as error:
                self.refusals.add(error.reason, str(error), each.samples)
        if not pending:
            return refs
        given = self.index.refs([labels for _, labels in pending]).tolist()
        for (i, labels), ref in zip(pending, given, strict=True):
            refs[i] = ref
            if ref >= 0:
                self.cache.remember(series[i].key, ref)
            else:
                message = f"the limit of series is reached: {labels}"
                self.refusals.add("series_limit", message, series[i].samples)
        return refs


def read_labels(key: bytes, limits: WriteLimits, offset: int = 0) -> Labels:
    """Return the labels in ``key``, label fields one after another; unsorted ones are sorted.

    Raises:
        LabelsError: they break a rule of the protocol or a limit.
        OtherFieldsError: other fields stand between them.
        WireError: the bytes are malformed; ``offset`` is that of ``key`` in the body.
    """
    try:
        labels = _label_dict(key, limits)
        return finished(labels, limits, 0)
    except WireError as error:
        raise type(error)(error.reason, error.what, error.offset + offset) from None


def _label_dict(key: bytes, limits: WriteLimits) -> dict[str, str]:
    labels: dict[str, str] = {}
    for number, kind, start, begin, end in fields(key, 0, len(key)):
        if number != 1 or kind != BYTES:
            raise OtherFieldsError("malformed", f"field {number} stands among labels", start)
        name, value = _plain_label(key, begin, end) or read_label(key, begin, end)
        add_label(labels, name, value, limits, start)
    return labels


def add_label(
    labels: dict[str, str], name: str, value: str, limits: WriteLimits, offset: int
) -> None:
    """Put one more label to those of a series; raises ``LabelsError``."""
    if not name:
        raise LabelsError("label_name", "a label has no name", offset)
    if name in labels:
        raise LabelsError("duplicate_label", f'label "{name[:80]}" stands twice', offset)
    if len(name) > limits.name_length or len(value) > limits.value_length:
        message = f'label "{name[:80]}" has {len(name)} and {len(value)} characters'
        raise LabelsError("label_length", message, offset)
    labels[name] = value


def finished(labels: dict[str, str], limits: WriteLimits, offset: int) -> Labels:
    """Return the labels of a series, sorted; raises ``LabelsError``."""
    if len(labels) > limits.labels:
        message = f"a series has {len(labels)} labels, more than {limits.labels},"
        raise LabelsError("label_limit", message, offset)
    if not labels.get(METRIC_NAME):
        raise LabelsError("no_name", f'a series has no label "{METRIC_NAME}"', offset)
    return Labels.of(labels)


def _plain_label(key: bytes, begin: int, end: int) -> tuple[str, str] | None:
    """Return name and value where both are short, in order and UTF-8: nearly always."""
    try:
        middle = begin + 2 + key[begin + 1]
        tags = key[begin] == 0x0A and key[middle] == 0x12
        short = key[begin + 1] < 0x80 and key[middle + 1] < 0x80
        if tags and short and middle + 2 + key[middle + 1] == end:
            return key[begin + 2 : middle].decode(), key[middle + 2 : end].decode()
    except (IndexError, UnicodeDecodeError):
        return None
    return None


def read_label(key: bytes, begin: int, end: int) -> tuple[str, str]:
    """Return name and value of one Label message; raises ``LabelsError`` and ``WireError``."""
    parts = [b"", b""]
    for number, kind, _, start, stop in fields(key, begin, end):
        if number in (1, 2) and kind == BYTES:
            parts[number - 1] = key[start:stop]
    try:
        return parts[0].decode(), parts[1].decode()
    except UnicodeDecodeError:
        raise LabelsError("encoding", "a label is not UTF-8", begin) from None
