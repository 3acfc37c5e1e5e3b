"""One entry of the list ``remote_write`` of a ``prometheus.yml``.

Documentation: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#remote_write
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vedette.forward.settings import (
    Destination,
    check_url,
    read_headers,
    read_version,
    short_name,
)
from vedette.kit.http_settings import HttpSettings, read_http_settings
from vedette.kit.relabel import read_relabel_rules
from vedette.kit.secrets import Secret
from vedette.kit.yamlpos import Kind, Node, Section

_EMPTY = Node("", 1, 1, Kind.MAPPING)
_CLOUDS = ("sigv4", "azuread", "google_iam")
_MOST_SHARDS = 64


def read_remote_write(section: Section, base: Path, warnings: list[str]) -> Destination | None:
    """Return a destination, or ``None`` and a warning where it asks for what is not there.

    Files are looked up from ``base``. ``external_labels`` stand elsewhere in the file.
    """
    section.require("url")
    url = Secret(section.text("url"))
    if section.has("url"):
        check_url(section, url)
    section.boolean("round_robin_dns", False)
    clouds = [key for key in _CLOUDS if section.has(key)]
    destination = Destination(
        name=section.text("name") or short_name(url),
        url=url,
        version=read_version(section),
        http=_http(section, base),
        relabel=read_relabel_rules(section, "write_relabel_configs"),
        timeout_ms=section.duration("remote_timeout", 30_000, minimum=1),
        send_exemplars=section.boolean("send_exemplars", False),
        send_histograms=section.boolean("send_native_histograms", False),
    )
    destination = _with_metadata(section, _with_queue(section, destination))
    section.done()
    if clouds:
        node = section.node
        warnings.append(
            f"{node.file}:{node.line}:{node.column}: remote_write to {destination.place} is left "
            f"out: {', '.join(clouds)} cannot be used"
        )
        return None
    return destination


def _http(section: Section, base: Path) -> HttpSettings:
    http = read_http_settings(section, base)
    return replace(http, follow_redirects=False, headers=http.headers + read_headers(section))


def _with_queue(section: Section, base: Destination) -> Destination:
    queue = section.section("queue_config") or Section(_EMPTY, section.faults)
    # The queue is on disk, and there are as many shards as there are full requests.
    for key in ("capacity", "min_shards"):
        queue.integer(key, 0)
    destination = replace(
        base,
        samples_per_request=min(queue.integer("max_samples_per_send", 2_000, 1), 100_000),
        shards=min(queue.integer("max_shards", base.shards, 1), _MOST_SHARDS),
        deadline_ms=queue.duration("batch_send_deadline", base.deadline_ms, minimum=1),
        min_backoff_ms=queue.duration("min_backoff", base.min_backoff_ms, minimum=1),
        max_backoff_ms=queue.duration("max_backoff", base.max_backoff_ms, minimum=1),
        retry_429=queue.boolean("retry_on_http_429", True),
        max_age_ms=queue.duration("sample_age_limit", 0),
    )
    queue.done()
    return destination


def _with_metadata(section: Section, base: Destination) -> Destination:
    inner = section.section("metadata_config") or Section(_EMPTY, section.faults)
    inner.integer("max_samples_per_send", 0)
    destination = replace(
        base,
        send_metadata=inner.boolean("send", True),
        metadata_ms=inner.duration("send_interval", base.metadata_ms, minimum=1),
    )
    inner.done()
    return destination
