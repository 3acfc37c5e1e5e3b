"""Settings of sending on: the list ``remote_write`` of vedette.yml."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vedette.kit.secrets import Secret, read_secret
from vedette.kit.yamlpos import Section

URL_EXAMPLE = "such as https://host/api/v1/write"


@dataclass(frozen=True, slots=True)
class Destination:
    """A store that takes Prometheus' remote write 1.0.

    Attributes:
        name: of its cursor and of its metrics.
        url: of the endpoint; it may hold a user and password.
        headers: sent with each request; values may be secrets.
        token: sent as ``Authorization: Bearer``, when it is given.
        external_labels: added to series that do not have them.
        timeout_ms: of one request.
        samples_per_request: at most.
        shards: requests under way at once; the samples of a series stay in their order.
        deadline_ms: how long a request may wait to become full.
        min_backoff_ms, max_backoff_ms: pauses between attempts.
        send_exemplars, send_histograms: whether these are sent too.
    """

    name: str
    url: Secret
    headers: tuple[tuple[str, Secret], ...] = ()
    token: Secret | None = None
    external_labels: tuple[tuple[str, str], ...] = ()
    timeout_ms: int = 30_000
    samples_per_request: int = 2_000
    shards: int = 4
    deadline_ms: int = 5_000
    min_backoff_ms: int = 30
    max_backoff_ms: int = 5_000
    send_exemplars: bool = False
    send_histograms: bool = True

    @property
    def place(self) -> str:
        """Host and port, for messages: the whole address may hold secrets."""
        parts = urlsplit(self.url.reveal())
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


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


def _destination(section: Section, environment: Mapping[str, str], base: Path) -> Destination:
    url = read_secret(section, "url", environment, base) or Secret("http://unknown")
    problem = url_problem(url.reveal())
    if problem:
        section.fault("url", f"the address {problem}", URL_EXAMPLE)
    token = None
    if any(section.has(f"bearer_token{suffix}") for suffix in ("", "_env", "_file")):
        token = read_secret(section, "bearer_token", environment, base)
    default = Destination("", url)
    destination = Destination(
        name=section.text("name") or hashlib.sha256(url.reveal().encode()).hexdigest()[:6],
        url=url,
        headers=tuple((key.text, Secret(value.text)) for key, value in section.pairs("headers")),
        token=token,
        external_labels=tuple(
            sorted((key.text, value.text) for key, value in section.pairs("external_labels"))
        ),
        timeout_ms=section.duration("timeout", default.timeout_ms, minimum=100),
        samples_per_request=section.integer("samples_per_request", 2_000, 1, 100_000),
        shards=section.integer("shards", default.shards, 1, 64),
        deadline_ms=section.duration("deadline", default.deadline_ms, minimum=100),
        min_backoff_ms=section.duration("min_backoff", default.min_backoff_ms, minimum=1),
        max_backoff_ms=section.duration("max_backoff", default.max_backoff_ms, minimum=10),
        send_exemplars=section.boolean("send_exemplars", False),
        send_histograms=section.boolean("send_native_histograms", True),
    )
    if destination.min_backoff_ms > destination.max_backoff_ms:
        section.fault("min_backoff", "min_backoff is longer than max_backoff")
    section.done()
    return destination


def url_problem(url: str) -> str:
    """Return what is wrong with the address of a destination, "" where nothing is."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "cannot be read"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    return "names no host" if not parts.hostname or port == 0 else ""
