"""Keeps groups of pushed metrics in a file, so that a restart loses none."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import orjson

from vedette.model.histograms import HistogramValue
from vedette.model.labels import Labels
from vedette.receive.push_groups import Group, GroupKey, PushedFamily, PushedSample

_VERSION = 1

log = logging.getLogger(__name__)


class GroupFile:
    """One JSON file, replaced as a whole; floats stand in it as text, bit for bit but for NaN."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> list[Group]:
        """Return the groups; none when there is no file, or one that cannot be read.

        A damaged file is kept beside, under a name that ends with ``.damaged``.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        try:
            said = orjson.loads(data)
            if said["version"] != _VERSION:
                raise ValueError(f"version {said['version']} is not {_VERSION}")
            return [_group(each) for each in said["groups"]]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            aside = self._path.with_name(self._path.name + ".damaged")
            self._path.replace(aside)
            log.warning("pushed groups are lost: %s is damaged (%s), kept as %s",
                        self._path, error, aside)  # fmt: skip
            return []

    def save(self, groups: Iterable[Group]) -> None:
        """Replace the file; raises ``OSError``."""
        data = orjson.dumps({"version": _VERSION, "groups": [_plain(group) for group in groups]})
        fresh = self._path.with_name(self._path.name + ".new")
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _plain(group: Group) -> dict[str, object]:
    return {
        "app": group.key.app,
        "labels": group.key.labels.pairs,
        "pushed": group.pushed,
        "failed": group.failed,
        "families": [
            {
                "name": family.name,
                "type": family.type,
                "help": family.help,
                "unit": family.unit,
                "at": family.at,
                "samples": [_plain_sample(sample) for sample in family.samples],
            }
            for family in group.families.values()
        ],
    }


def _plain_sample(sample: PushedSample) -> list[object]:
    plain: list[object] = [sample.labels.pairs, repr(sample.value), sample.start]
    found = sample.histogram
    if found is not None:
        plain.append(
            [
                found.schema,
                repr(found.count),
                repr(found.sum),
                repr(found.zero_threshold),
                repr(found.zero_count),
                found.reset_hint,
                [(number, repr(count)) for number, count in found.positive],
                [(number, repr(count)) for number, count in found.negative],
                [repr(bound) for bound in found.custom_bounds],
            ]
        )
    return plain


def _group(said: dict[str, list[dict[str, list[list[str]]]]]) -> Group:
    families = [_family(each) for each in said["families"]]
    return Group(
        GroupKey(str(said["app"]), _labels(said["labels"])),
        {family.name: family for family in families},
        _whole(said["pushed"]),
        _whole(said["failed"]),
    )


def _family(said: dict[str, list[list[str]]]) -> PushedFamily:
    texts = [str(said[key]) for key in ("name", "type", "help", "unit")]
    samples = tuple(_sample(each) for each in said["samples"])
    return PushedFamily(texts[0], texts[1], texts[2], texts[3], samples, _whole(said["at"]))


def _sample(said: object) -> PushedSample:
    if not isinstance(said, list):
        raise TypeError("a sample is no list")
    labels, value, start, *native = said
    histogram = _histogram(native[0]) if native else None
    return PushedSample(_labels(labels), float(value), _whole(start), histogram)


def _histogram(said: object) -> HistogramValue:
    if not isinstance(said, list):
        raise TypeError("a histogram is no list")
    schema, count, sum_, threshold, zeros, hint, positive, negative, bounds = said
    return HistogramValue(
        _whole(schema),
        float(count),
        float(sum_),
        float(threshold),
        float(zeros),
        _whole(hint),
        tuple((_whole(number), float(amount)) for number, amount in positive),
        tuple((_whole(number), float(amount)) for number, amount in negative),
        tuple(float(bound) for bound in bounds),
    )


def _labels(said: object) -> Labels:
    if not isinstance(said, list):
        raise TypeError("labels are no list")
    return Labels(tuple((str(name), str(value)) for name, value in said))


def _whole(said: object) -> int:
    if not isinstance(said, int):
        raise TypeError(f"{said!r} is no integer")
    return said
