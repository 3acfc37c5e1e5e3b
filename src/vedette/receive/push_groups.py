"""Groups of pushed metrics, as Pushgateway keeps them: decisions without clock or network.

Source: "API" in the README of https://github.com/prometheus/pushgateway.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from vedette.model.histograms import HistogramValue
from vedette.model.labels import METRIC_NAME, Labels
from vedette.receive.wire.errors import WireError

PUSH_TIME, FAILURE_TIME = "push_time_seconds", "push_failure_time_seconds"
_HELP = {
    PUSH_TIME: "Last Unix time when changing this group in the Pushgateway succeeded.",
    FAILURE_TIME: "Last Unix time when changing this group in the Pushgateway failed.",
}
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_BASE64 = "@base64"
_MOST_LABELS = 32


@dataclass(frozen=True, slots=True)
class PushedSample:
    """One sample; ``labels`` with ``__name__``; ``start`` in ms, 0 for unknown."""

    labels: Labels
    value: float
    start: int = 0
    histogram: HistogramValue | None = None


@dataclass(frozen=True, slots=True)
class PushedFamily:
    """A metric family of a push; ``at`` is when it was pushed, in ms."""

    name: str
    type: str
    help: str
    unit: str
    samples: tuple[PushedSample, ...]
    at: int = 0


@dataclass(frozen=True, slots=True)
class GroupKey:
    """What a group is known by: the application and the grouping labels, ``job`` among them.

    Unlike those of series, the labels may have empty values: they part groups all the same.
    """

    app: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Group:
    """A group: its families by name, and when the last push succeeded or failed (ms, 0: never)."""

    key: GroupKey
    families: Mapping[str, PushedFamily] = field(default_factory=dict)
    pushed: int = 0
    failed: int = 0

    def samples(self) -> Iterator[PushedSample]:
        """Yield what a scrape of the group would bring, its push times included."""
        own = self.key.labels.as_dict()
        for family in self.families.values():
            for sample in family.samples:
                yield replace(sample, labels=sample.labels.merged(own))
        for name, ms in ((PUSH_TIME, self.pushed), (FAILURE_TIME, self.failed)):
            yield PushedSample(self.key.labels.merged({METRIC_NAME: name}), ms / 1000)


def grouping_key(path: str, app: str) -> GroupKey:
    """Return the key in the percent-encoded ``path`` behind ``/metrics/``.

    Raises:
        WireError: for ``grouping``: it is none.
    """
    try:
        parts = [unquote(part, errors="strict") for part in path.split("/")]
    except UnicodeDecodeError:
        raise _no_grouping(
            "the path is not UTF-8; write values percent-encoded in UTF-8, or as LABEL@base64"
        ) from None
    if len(parts) % 2:
        raise _no_grouping("label names and values must come in pairs: /metrics/job/NAME/LABEL/…")
    if len(parts) > 2 * _MOST_LABELS:
        raise _no_grouping(f"more than {_MOST_LABELS} grouping labels")
    labels: dict[str, str] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        value = text
        if name.endswith(_BASE64):
            name, value = name.removesuffix(_BASE64), _decoded(text)
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            raise _no_grouping(f'"{name[:80]}" cannot be a grouping label')
        if name in labels:
            raise _no_grouping(f'the grouping label "{name[:80]}" stands twice')
        labels[name] = value
    if next(iter(labels)) != "job" or not labels["job"]:
        raise _no_grouping("the first grouping label must be job, and not empty")
    return GroupKey(app, Labels(tuple(sorted(labels.items()))))


def _decoded(text: str) -> str:
    try:
        raw = base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
        return raw.decode()
    except (binascii.Error, ValueError):
        raise _no_grouping(f'"{text[:80]}" is not base64url of UTF-8') from None


def _no_grouping(message: str) -> WireError:
    return WireError("grouping", message)


def pushed(
    before: Group | None,
    key: GroupKey,
    families: Iterable[PushedFamily],
    now: int,
    *,
    replace_all: bool,
) -> Group:
    """Return the group after a successful push at ``now`` ms.

    ``replace_all`` replaces everything (PUT), else only families of the same names (POST).

    Raises:
        WireError: for ``inconsistent``: two samples would be of one series.
    """
    kept = {} if before is None or replace_all else dict(before.families)
    for family in families:
        if family.name not in _HELP:
            kept[family.name] = replace(family, at=now)
    group = Group(key, kept, now, before.failed if before else 0)
    seen: set[Labels] = set()
    for sample in group.samples():
        if sample.labels in seen:
            message = f"two samples of {sample.labels}, once the grouping labels are set"
            raise WireError("inconsistent", message)
        seen.add(sample.labels)
    return group


def type_conflict(groups: Iterable[Group], families: Iterable[PushedFamily]) -> str:
    """Return why ``families`` cannot stand beside ``groups``, or the empty string.

    One name has one type, or a scrape of all groups would not be well-formed.
    """
    types = {family.name: family.type for group in groups for family in group.families.values()}
    for family in families:
        known = types.get(family.name, family.type)
        if known != family.type:
            return f"{family.name} has the type {family.type} here and {known} in another group"
    return ""


def shown(group: Group) -> dict[str, object]:
    """Return the group as Pushgateway's ``/api/v1/metrics`` shows it, times in ms as ``ms``."""
    own = group.key.labels.as_dict()
    out: dict[str, object] = {
        "labels": own,
        "last_push_successful": group.pushed > 0 and group.failed <= group.pushed,
    }
    for name, ms in ((PUSH_TIME, group.pushed), (FAILURE_TIME, group.failed)):
        family = PushedFamily(
            name,
            "gauge",
            _HELP[name],
            "",
            (PushedSample(Labels.of({METRIC_NAME: name}), ms / 1000),),
            max(group.pushed, group.failed),
        )
        out[name] = _shown_family(family, own)
    for family in group.families.values():
        out[family.name] = _shown_family(family, own)
    return out


def _shown_family(family: PushedFamily, own: Mapping[str, str]) -> dict[str, object]:
    metrics: dict[Labels, dict[str, object]] = {}
    for sample in family.samples:
        whole = sample.labels.merged(own).without(METRIC_NAME, "le", "quantile")
        told = metrics.setdefault(whole, {"labels": {"instance": "", **own, **whole.as_dict()}})
        _show_sample(family, sample, told)
    return {
        "ms": family.at,
        "type": family.type.upper() if family.type != "unknown" else "UNTYPED",
        "help": family.help,
        "metrics": list(metrics.values()),
    }


def _show_sample(family: PushedFamily, sample: PushedSample, told: dict[str, object]) -> None:
    """Add one sample to the metric that it is part of: a bucket, a quantile, count, sum, value."""
    value, suffix = _go_number(sample.value), sample.labels.metric.removeprefix(family.name)
    if sample.histogram is not None:
        told["count"] = _go_number(sample.histogram.count)
        told["sum"] = _go_number(sample.histogram.sum)
    elif suffix in ("_count", "_sum"):
        told[suffix[1:]] = value
    elif suffix == "_bucket" or sample.labels.get("quantile"):
        part, label = ("buckets", "le") if suffix == "_bucket" else ("quantiles", "quantile")
        held = told.setdefault(part, {})
        if isinstance(held, dict):
            held[sample.labels.get(label)] = value
    else:
        told["value"] = value


def _go_number(value: float) -> str:
    """Return the number as text, whole ones without a fraction."""
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(repr(value), repr(value))
