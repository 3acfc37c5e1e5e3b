"""Labels of a series, and the identity that hangs on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

METRIC_NAME = "__name__"

# Part of every stored id: a change of the canonical form needs a new version here.
_SERIES_ID_VERSION = b"vedette-series-1"
_NAME_FIRST = METRIC_NAME.encode() + b"\xff"


@dataclass(frozen=True, slots=True)
class Labels:
    """Label pairs sorted by name, each name once, no empty values (empty means absent)."""

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, labels: Mapping[str, str] | Iterable[tuple[str, str]]) -> Labels:
        """Return canonical labels; pairs with an empty value are dropped."""
        items = labels.items() if isinstance(labels, Mapping) else labels
        return cls(tuple(sorted((name, value) for name, value in items if value)))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def get(self, name: str, default: str = "") -> str:
        """Return the value of ``name``, or ``default``."""
        for key, value in self.pairs:
            if key == name:
                return value
        return default

    @property
    def metric(self) -> str:
        """The metric name, or the empty string."""
        return self.get(METRIC_NAME)

    def as_dict(self) -> dict[str, str]:
        """Return a new dict of the pairs."""
        return dict(self.pairs)

    def without(self, *names: str) -> Labels:
        """Return the labels less ``names``."""
        return Labels(tuple(pair for pair in self.pairs if pair[0] not in names))

    def merged(self, labels: Mapping[str, str]) -> Labels:
        """Return the labels with ``labels`` set over them."""
        return Labels.of(self.as_dict() | dict(labels))

    def canonical(self) -> bytes:
        """Return the bytes that identities are computed from: name, 0xFF, value, 0xFF, …"""
        # 0xFF occurs in no UTF-8 text, so that no two label sets share their canonical form.
        text = b"\xff".join(part.encode() for pair in self.pairs for part in pair)
        return text + b"\xff" if text else b""

    def __str__(self) -> str:
        body = ", ".join(
            f"{name}={quote(value)}" for name, value in self.pairs if name != METRIC_NAME
        )
        return f"{self.metric}{{{body}}}" if body or not self.metric else self.metric


def quote(value: str) -> str:
    """Return ``value`` as a double-quoted PromQL string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def series_id(labels: Labels) -> bytes:
    """Return the 16-byte identity of a series: a versioned hash of its canonical labels."""
    return canonical_id(labels.canonical())


def canonical_id(canonical: bytes) -> bytes:
    """Return the :func:`series_id` of the series with these canonical bytes."""
    return blake2b(canonical, digest_size=16, person=_SERIES_ID_VERSION).digest()


def parse_canonical(canonical: bytes) -> Labels:
    """Return the labels that ``canonical`` is the canonical form of."""
    parts = [part.decode() for part in canonical.split(b"\xff")[:-1]]
    return Labels(tuple(zip(parts[::2], parts[1::2], strict=True)))


def canonical_metric(canonical: bytes) -> str:
    """Return the metric name in canonical bytes, or the empty string."""
    # Nearly always the first label: only capitals sort before it.
    if canonical.startswith(_NAME_FIRST):
        return canonical[len(_NAME_FIRST) : canonical.index(b"\xff", len(_NAME_FIRST))].decode()
    return parse_canonical(canonical).metric
