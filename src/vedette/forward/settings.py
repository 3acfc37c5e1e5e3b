"""Settings of sending on: the list ``remote_write`` of vedette.yml."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from vedette.kit.addresses import url_problem
from vedette.kit.http_settings import (
    PLAIN,
    Authorization,
    HttpSettings,
    SecretSource,
    read_http_settings,
)
from vedette.kit.relabel import RelabelRule, read_relabel_rules
from vedette.kit.secrets import Secret, read_secret
from vedette.kit.yamlpos import Section

MESSAGES = {"prometheus.WriteRequest": 1, "io.prometheus.write.v2.Request": 2}
"""Versions of the protocol by what Prometheus calls their message."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A store that takes Prometheus' remote write.

    Attributes:
        name: of its cursor and of its metrics.
        url: of the endpoint; it may hold a user and password.
        version: of the protocol, 1 or 2.
        http: credentials, TLS, proxy and headers; redirects are never followed.
        external_labels: added to series that do not have them.
        relabel: rules that every series goes through before it is sent.
        timeout_ms: of one request.
        samples_per_request: at most.
        shards: requests under way at once; the samples of a series stay in their order.
        deadline_ms: how long a request may wait to become full.
        min_backoff_ms, max_backoff_ms: pauses between attempts.
        retry_429: whether requests that were one too many are tried again.
        max_age_ms: samples that are older are not sent any more; 0: all are.
        send_exemplars, send_histograms: whether these are sent too.
        send_metadata: whether types, helps and units are sent: with the series in version 2, every
            ``metadata_ms`` in version 1.
    """

    name: str
    url: Secret
    version: int = 1
    http: HttpSettings = PLAIN
    external_labels: tuple[tuple[str, str], ...] = ()
    relabel: tuple[RelabelRule, ...] = ()
    timeout_ms: int = 30_000
    samples_per_request: int = 2_000
    shards: int = 4
    deadline_ms: int = 5_000
    min_backoff_ms: int = 30
    max_backoff_ms: int = 5_000
    retry_429: bool = True
    max_age_ms: int = 0
    send_exemplars: bool = False
    send_histograms: bool = True
    send_metadata: bool = True
    metadata_ms: int = 60_000

    @property
    def place(self) -> str:
        """Host and port, for messages: the whole address may hold secrets."""
        try:
            parts = urlsplit(self.url.reveal())
            port = parts.port
        except ValueError:
            return "an address that cannot be read"
        return f"{parts.hostname}:{port}" if port else str(parts.hostname)


def read_destinations(
    sections: Sequence[Section], environment: Mapping[str, str], base: Path
) -> tuple[Destination, ...]:
    """Return the destinations; what does not fit is noted as faults of the sections."""
    found: dict[str, Destination] = {}
    for section in sections:
        destination = _destination(section, environment, base)
        if destination.name in found:
            fix = 'give each a "name" of its own'
            section.fault("name", f'"{destination.name}" is there a second time', fix)
        found[destination.name] = destination
    return tuple(found.values())


def short_name(url: Secret) -> str:
    """Return a name for a destination that was given none: the same for the same address."""
    return hashlib.sha256(url.reveal().encode()).hexdigest()[:6]


def read_version(section: Section) -> int:
    """Return the version of the protocol that ``protobuf_message`` names."""
    message = section.text("protobuf_message", "prometheus.WriteRequest")
    if message not in MESSAGES:
        section.fault("protobuf_message", f'unknown message "{message}"', " or ".join(MESSAGES))
    return MESSAGES.get(message, 1)


def read_headers(section: Section) -> tuple[tuple[str, tuple[SecretSource, ...]], ...]:
    """Return the mapping ``headers``, in the form of ``http_headers``."""
    pairs = section.pairs("headers")
    return tuple((key.text, (SecretSource(Secret(value.text)),)) for key, value in pairs)


def _destination(section: Section, environment: Mapping[str, str], base: Path) -> Destination:
    url = read_secret(section, "url", environment, base) or Secret("http://unknown")
    check_url(section, url)
    default = Destination("", url)
    destination = Destination(
        name=section.text("name") or short_name(url),
        url=url,
        version=read_version(section),
        http=_http(section, environment, base),
        external_labels=tuple(
            sorted((key.text, value.text) for key, value in section.pairs("external_labels"))
        ),
        relabel=read_relabel_rules(section, "write_relabel_configs"),
        timeout_ms=section.duration("timeout", default.timeout_ms, minimum=100),
        samples_per_request=section.integer("samples_per_request", 2_000, 1, 100_000),
        shards=section.integer("shards", default.shards, 1, 64),
        deadline_ms=section.duration("deadline", default.deadline_ms, minimum=100),
        min_backoff_ms=section.duration("min_backoff", default.min_backoff_ms, minimum=1),
        max_backoff_ms=section.duration("max_backoff", default.max_backoff_ms, minimum=10),
        retry_429=section.boolean("retry_on_http_429", True),
        max_age_ms=section.duration("sample_age_limit", 0),
        send_exemplars=section.boolean("send_exemplars", False),
        send_histograms=section.boolean("send_native_histograms", True),
        send_metadata=section.boolean("send_metadata", True),
        metadata_ms=section.duration("metadata_interval", default.metadata_ms, minimum=1_000),
    )
    if destination.min_backoff_ms > destination.max_backoff_ms:
        section.fault("min_backoff", "min_backoff is longer than max_backoff")
    section.done()
    return destination


def _http(section: Section, environment: Mapping[str, str], base: Path) -> HttpSettings:
    http = read_http_settings(section, base)
    if section.has("bearer_token_env"):
        token = read_secret(section, "bearer_token", environment, base)
        http = replace(http, authorization=Authorization("Bearer", SecretSource(token)))
    return replace(http, follow_redirects=False, headers=http.headers + read_headers(section))


def check_url(section: Section, url: Secret) -> None:
    """Note a fault unless ``url`` can be written to."""
    problem = url_problem(url.reveal())
    if problem:
        section.fault("url", f"the address {problem}", "such as https://host/api/v1/write")
