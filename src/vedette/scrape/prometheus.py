"""Scrape configurations of ``prometheus.yml``, read as they are.

Documentation: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#scrape_config
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from vedette.kit.http_settings import read_http_settings
from vedette.kit.relabel import read_relabel_rules
from vedette.kit.yamlpos import Section
from vedette.scrape.discovery.settings import StaticDiscovery, read_discoveries
from vedette.scrape.formats import ESCAPINGS, FormatOptions, ScrapeProtocol
from vedette.scrape.settings import ScrapeJob, ScrapeLimits

# Without limits in the file these keep one target from taking all memory.
_MOST_BYTES = 512 << 20
_MOST_SAMPLES = 5_000_000
_MOST_LABELS = 1_000
_MOST_CHARS = 1 << 20
_VALIDATION = ("utf8", "legacy")


@dataclass(frozen=True, slots=True)
class GlobalScrape:
    """What ``global`` says of scrapes, which each job may say otherwise; times in ms."""

    interval_ms: int = 60_000
    timeout_ms: int = 10_000
    body_bytes: int = 0
    samples: int = 0
    labels: int = 0
    name_length: int = 0
    value_length: int = 0
    targets: int = 0
    dropped: int = 0
    formats: FormatOptions = field(default_factory=FormatOptions)
    legacy_names: bool = False
    extra_metrics: bool = False


def read_global_scrape(section: Section | None, warnings: list[str]) -> GlobalScrape:
    """Return what the section ``global`` says of scrapes; other keys are left to the caller."""
    if section is None:
        return GlobalScrape()
    default = GlobalScrape()
    interval = section.duration("scrape_interval", 0) or default.interval_ms
    found = _with_limits(section, default)
    return replace(
        found,
        interval_ms=interval,
        timeout_ms=_timeout(section, interval, default.timeout_ms),
        formats=_formats(section, default.formats, warnings),
        legacy_names=section.text("metric_name_validation_scheme") == "legacy",
        extra_metrics=section.boolean("extra_scrape_metrics", False),
    )


def read_scrape_config(
    section: Section, common: GlobalScrape, base: Path, warnings: list[str]
) -> ScrapeJob:
    """Return one job. Files are looked up from ``base``; faults are noted in ``section``.

    What is understood but not done yet becomes a warning.
    """
    section.require("job_name")
    interval = section.duration("scrape_interval", 0) or common.interval_ms
    discovery = read_discoveries(section, base, warnings)
    limits = _with_limits(section, common)
    job = ScrapeJob(
        job=section.text("job_name"),
        targets=(),
        interval_ms=interval,
        timeout_ms=_timeout(section, interval, common.timeout_ms),
        path=section.text("metrics_path", "/metrics"),
        scheme=section.text("scheme", "http").lower(),
        params=_params(section),
        honor_labels=section.boolean("honor_labels", False),
        honor_timestamps=section.boolean("honor_timestamps", True),
        track_stale_timestamps=section.boolean("track_timestamps_staleness", False),
        http=read_http_settings(section, base),
        compression=section.boolean("enable_compression", True),
        legacy_names=_legacy(section, common),
        extra_metrics=section.boolean("extra_scrape_metrics", common.extra_metrics),
        limits=_limits(limits),
        formats=_formats(section, common.formats, warnings),
        discovery=discovery or (StaticDiscovery(()),),
        relabel=read_relabel_rules(section, "relabel_configs"),
        metric_relabel=read_relabel_rules(section, "metric_relabel_configs"),
        target_limit=limits.targets,
        keep_dropped=limits.dropped,
    )
    for key in ("native_histogram_bucket_limit", "native_histogram_min_bucket_factor"):
        if section.number(key, 0.0):
            _unused(section, key, warnings)
    section.done()
    return job


def _legacy(section: Section, common: GlobalScrape) -> bool:
    given = section.text("metric_name_validation_scheme")
    return given == "legacy" if given else common.legacy_names


def _unused(section: Section, key: str, warnings: list[str]) -> None:
    node = section.value(key) or section.node
    warnings.append(f"{node.file}:{node.line}:{node.column}: {key} is not used yet")


def _timeout(section: Section, interval: int, default: int) -> int:
    given = section.duration("scrape_timeout", 0)
    if given > interval:
        message = f"the scrape_timeout of {given} ms is longer than the interval of {interval} ms"
        section.fault("scrape_timeout", message, "make it shorter")
    return given or min(default, interval)


def _params(section: Section) -> tuple[tuple[str, str], ...]:
    inner = section.section("params")
    if inner is None:
        return ()
    return tuple(
        (key.text, value) for key, _ in inner.node.members for value in inner.texts(key.text)
    )


def _with_limits(section: Section, common: GlobalScrape) -> GlobalScrape:
    return replace(
        common,
        body_bytes=section.size("body_size_limit", common.body_bytes),
        samples=section.integer("sample_limit", common.samples),
        labels=section.integer("label_limit", common.labels),
        name_length=section.integer("label_name_length_limit", common.name_length),
        value_length=section.integer("label_value_length_limit", common.value_length),
        targets=section.integer("target_limit", common.targets),
        dropped=section.integer("keep_dropped_targets", common.dropped),
    )


def _limits(given: GlobalScrape) -> ScrapeLimits:
    return ScrapeLimits(
        body_bytes=given.body_bytes or _MOST_BYTES,
        samples=_MOST_SAMPLES,
        line_bytes=2 * _MOST_CHARS,
        labels=given.labels or _MOST_LABELS,
        name_length=given.name_length or _MOST_CHARS,
        value_length=given.value_length or _MOST_CHARS,
        strict=True,
        kept_samples=given.samples,
    )


def _formats(section: Section, common: FormatOptions, warnings: list[str]) -> FormatOptions:
    always = section.boolean("always_scrape_classic_histograms", common.classic_histograms)
    if section.has("scrape_classic_histograms"):
        always = section.boolean("scrape_classic_histograms", always)
    validation = section.text("metric_name_validation_scheme", "utf8")
    if validation not in _VALIDATION:
        fix = f"one of {', '.join(_VALIDATION)}"
        section.fault("metric_name_validation_scheme", f'unknown scheme "{validation}"', fix)
    escaping = section.text("metric_name_escaping_scheme", common.escaping)
    if validation == "legacy" and not section.has("metric_name_escaping_scheme"):
        escaping = "underscores"
    if escaping not in ESCAPINGS:
        fix = f"one of {', '.join(ESCAPINGS)}"
        section.fault("metric_name_escaping_scheme", f'unknown scheme "{escaping}"', fix)
        escaping = common.escaping
    if section.text("scrape_failure_log_file"):
        _unused(section, "scrape_failure_log_file", warnings)
    return replace(
        common,
        protocols=_protocols(section) or common.protocols,
        fallback=_protocol(section, "fallback_scrape_protocol") or common.fallback,
        escaping=escaping,
        native_histograms=section.boolean("scrape_native_histograms", common.native_histograms),
        classic_histograms=always,
        convert_classic=section.boolean(
            "convert_classic_histograms_to_nhcb", common.convert_classic
        ),
    )


def _protocols(section: Section) -> tuple[ScrapeProtocol, ...]:
    found: list[ScrapeProtocol] = []
    for node in section.scalars("scrape_protocols"):
        try:
            protocol = ScrapeProtocol(node.text)
        except ValueError:
            fix = f"one of {', '.join(ScrapeProtocol)}"
            section.faults.append(node.fault(f'unknown protocol "{node.text}"', fix))
            continue
        if protocol in found:
            section.faults.append(node.fault(f'"{node.text}" stands here twice', "remove one"))
        found.append(protocol)
    return tuple(found)


def _protocol(section: Section, key: str) -> ScrapeProtocol | None:
    text = section.text(key)
    if not text:
        return None
    try:
        return ScrapeProtocol(text)
    except ValueError:
        section.fault(key, f'unknown protocol "{text}"', f"one of {', '.join(ScrapeProtocol)}")
        return None
