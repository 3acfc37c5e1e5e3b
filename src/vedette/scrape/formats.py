"""Which exposition formats there are, how they are asked for, and how an answer names its own.

Source: content negotiation of https://prometheus.io/docs/instrumenting/content_negotiation/ and
``escaping`` of https://prometheus.io/docs/instrumenting/escaping_schemes/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Format(StrEnum):
    """How a body is written."""

    TEXT = "text"
    OPENMETRICS = "openmetrics"
    PROTOBUF = "protobuf"


class ScrapeProtocol(StrEnum):
    """A format with its version, named as in ``scrape_protocols`` of ``prometheus.yml``."""

    PROTO = "PrometheusProto"
    OPENMETRICS_1_0_0 = "OpenMetricsText1.0.0"
    OPENMETRICS_0_0_1 = "OpenMetricsText0.0.1"
    TEXT_1_0_0 = "PrometheusText1.0.0"
    TEXT_0_0_4 = "PrometheusText0.0.4"

    @property
    def form(self) -> Format:
        """The format, whatever its version."""
        if self is ScrapeProtocol.PROTO:
            return Format.PROTOBUF
        return Format.OPENMETRICS if self.value.startswith("Open") else Format.TEXT


DEFAULT_PROTOCOLS = (
    ScrapeProtocol.OPENMETRICS_1_0_0,
    ScrapeProtocol.OPENMETRICS_0_0_1,
    ScrapeProtocol.TEXT_1_0_0,
    ScrapeProtocol.TEXT_0_0_4,
)

_TYPES = {
    ScrapeProtocol.PROTO: "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
    "encoding=delimited",
    ScrapeProtocol.OPENMETRICS_1_0_0: "application/openmetrics-text;version=1.0.0",
    ScrapeProtocol.OPENMETRICS_0_0_1: "application/openmetrics-text;version=0.0.1",
    ScrapeProtocol.TEXT_1_0_0: "text/plain;version=1.0.0",
    ScrapeProtocol.TEXT_0_0_4: "text/plain;version=0.0.4",
}
_WITH_ESCAPING = frozenset((ScrapeProtocol.OPENMETRICS_1_0_0, ScrapeProtocol.TEXT_1_0_0))

ESCAPINGS = ("allow-utf-8", "underscores", "dots", "values")
"""How a target may be asked to write names that are not in the classic alphabet."""


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """What a job asks its targets for, and what it keeps of the answer.

    Attributes:
        protocols: asked for in this order (``scrape_protocols``); empty: the usual ones, with
            protobuf before them when native histograms are wanted.
        fallback: what an answer without a known content type is read as; ``None``: an answer
            without any type is text, one of an unknown type an error.
        escaping: one of ``ESCAPINGS`` (``metric_name_escaping_scheme``).
        native_histograms: keep native histograms (``scrape_native_histograms``).
        classic_histograms: keep the classic buckets of a histogram that also is native, or that is
            converted (``always_scrape_classic_histograms``).
        convert_classic: turn classic histograms into native ones with custom buckets
            (``convert_classic_histograms_to_nhcb``).
        created_series: keep ``_created`` series as such; they are start timestamps in any case.
    """

    protocols: tuple[ScrapeProtocol, ...] = ()
    fallback: ScrapeProtocol | None = None
    escaping: str = "allow-utf-8"
    native_histograms: bool = False
    classic_histograms: bool = False
    convert_classic: bool = False
    created_series: bool = True

    @property
    def accept(self) -> str:
        """The Accept header, as Prometheus 3 sends it."""
        return accept_header(self.asked, self.escaping)

    @property
    def asked(self) -> tuple[ScrapeProtocol, ...]:
        """The protocols in the order in which they are asked for."""
        if self.protocols:
            return self.protocols
        first = (ScrapeProtocol.PROTO,) if self.native_histograms else ()
        return first + DEFAULT_PROTOCOLS


@dataclass(frozen=True, slots=True)
class Answer:
    """What a target answered: the decompressed body and the format that it is written in."""

    body: bytes
    format: Format = Format.TEXT


def accept_header(protocols: Sequence[ScrapeProtocol], escaping: str) -> str:
    """Return the Accept header that asks for ``protocols``, the first one most."""
    weight = len(_TYPES) + 1
    parts = []
    for protocol in protocols:
        with_escaping = f";escaping={escaping}" if protocol in _WITH_ESCAPING else ""
        parts.append(f"{_TYPES[protocol]}{with_escaping};q=0.{weight}")
        weight -= 1
    return ",".join([*parts, f"*/*;q=0.{weight}"])


def format_of(content_type: str, fallback: ScrapeProtocol | None = None) -> Format | None:
    """Return the format that ``content_type`` names; ``None`` for one that cannot be read."""
    kind, *rest = content_type.lower().split(";")
    parameters = {part.strip().replace('"', "") for part in rest}
    match kind.strip():
        case "application/openmetrics-text":
            return Format.OPENMETRICS
        case "text/plain":
            return Format.TEXT
        case "application/vnd.google.protobuf" if _is_delimited(parameters):
            return Format.PROTOBUF
        case "" if fallback is None:
            return Format.TEXT
        case _:
            return fallback.form if fallback else None


def _is_delimited(parameters: set[str]) -> bool:
    named = dict(part.partition("=")[::2] for part in parameters)
    proto = named.get("proto", "io.prometheus.client.metricfamily")
    encoding = named.get("encoding", "delimited")
    return proto == "io.prometheus.client.metricfamily" and encoding == "delimited"
