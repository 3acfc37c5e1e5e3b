"""What to scrape, and how: the settings of this room, their check, and their reader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from vedette.kit.http_settings import HttpSettings
from vedette.kit.relabel import RelabelRule
from vedette.kit.yamlpos import Fault, Kind, Node, Section
from vedette.scrape.discovery.settings import DiscoverySettings, KubernetesDiscovery
from vedette.scrape.formats import FormatOptions
from vedette.scrape.presets import KUBERNETES, annotation_rules, role_of

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^\s:/?#@\[\]]+)(?::([0-9]{1,5}))?")
_SMALLEST_INTERVAL_MS = 100
_CAREFUL = HttpSettings(follow_redirects=False)


@dataclass(frozen=True, slots=True)
class ScrapeLimits:
    """Bounds of one scrape.

    Attributes:
        body_bytes: of the answer after decompression; above it the scrape fails.
        samples: per answer; above it the scrape fails before anything is read.
        kept_samples: per scrape, of those that the rules leave; above it the scrape fails, as by
            Prometheus' ``sample_limit``. 0: no limit.
        line_bytes: of one line; a longer one is refused, the others are kept.
        labels: per series, the target's own included.
        name_length, value_length: characters of a label name and of a label value.
        strict: whether a series beyond the limits of labels makes the whole scrape fail, as in
            Prometheus; else only that series is refused.
    """

    body_bytes: int = 64 * 1024 * 1024
    samples: int = 200_000
    line_bytes: int = 64 * 1024
    labels: int = 64
    name_length: int = 512
    value_length: int = 4096
    strict: bool = False
    kept_samples: int = 0


@dataclass(frozen=True, slots=True)
class ScrapeJob:
    """Targets that are scraped in the same way.

    Attributes:
        job: the label ``job`` of every target.
        targets: ``host:port``; also the label ``instance``.
        discovery: where further targets come from; ``relabel`` makes them what they are.
        app: the application that the samples belong to.
        interval_ms, timeout_ms: milliseconds; the time-out is at most the interval.
        path, scheme, params: of the URL; ``params`` are name and value pairs of the query string.
        labels: further labels of every target.
        honor_labels: whether scraped labels win over the target's; else they are kept as
            ``exported_<name>``.
        honor_timestamps: whether a sample's own timestamp is used.
        track_stale_timestamps: whether series whose samples have their own timestamps get
            staleness markers too.
        http: credentials, TLS, proxy. Redirects are not followed unless asked for: a target may
            send Vedette anywhere with them.
        compression: whether gzip is asked for.
        legacy_names: whether a name beyond letters, digits, ``_`` and ``:`` fails the scrape.
        formats: which exposition formats are asked for, and what is kept of histograms.
        relabel, metric_relabel: rules for discovered targets, and for scraped series.
        extra_metrics: whether scrapes also report their time-out, sample limit and body size.
        target_limit: with more targets than this none is scraped; 0: no limit.
        keep_dropped: how many dropped targets are shown; 0: all (up to a bound of our own).

    :func:`settings_faults` says which values fit.
    """

    job: str
    targets: tuple[str, ...]
    app: str = "default"
    interval_ms: int = 15_000
    timeout_ms: int = 10_000
    path: str = "/metrics"
    scheme: str = "http"
    params: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    honor_labels: bool = False
    honor_timestamps: bool = True
    track_stale_timestamps: bool = False
    http: HttpSettings = _CAREFUL
    compression: bool = True
    legacy_names: bool = False
    limits: ScrapeLimits = ScrapeLimits()
    formats: FormatOptions = field(default_factory=FormatOptions)
    discovery: tuple[DiscoverySettings, ...] = ()
    relabel: tuple[RelabelRule, ...] = ()
    metric_relabel: tuple[RelabelRule, ...] = ()
    extra_metrics: bool = False
    target_limit: int = 0
    keep_dropped: int = 0


@dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """All scrape jobs.

    ``normalise_buckets`` writes the labels ``le`` and ``quantile`` of classic histograms and
    summaries as floats (``1`` becomes ``1.0``), as Prometheus 3 does; off is the 2.x behaviour.
    """

    jobs: tuple[ScrapeJob, ...] = ()
    normalise_buckets: bool = True


@dataclass(frozen=True, slots=True)
class SettingFault:
    """What is wrong: the key, the value that it is about ("": all of it), and how to mend it."""

    key: str
    value: str
    message: str


def settings_faults(settings: ScrapeSettings) -> Iterator[SettingFault]:
    """Yield everything that is wrong with ``settings``."""
    seen: set[tuple[str, str]] = set()
    for job in settings.jobs:
        yield from job_faults(job, seen)


def job_faults(job: ScrapeJob, seen: set[tuple[str, str]]) -> Iterator[SettingFault]:
    """Yield what is wrong with ``job``; ``seen`` holds job and target of the jobs before it."""
    if not job.job:
        yield SettingFault("job", "", 'a scrape job needs a name, such as "job: my-app"')
    if not job.app:
        yield SettingFault("app", "", 'app is empty; leave it out for the application "default"')
    if job.scheme not in ("http", "https"):
        yield SettingFault("scheme", "", f'scheme "{job.scheme}" is unknown; use http or https')
    if not job.path.startswith("/"):
        yield SettingFault("path", "", f'path "{job.path}" must start with "/"')
    if job.interval_ms < _SMALLEST_INTERVAL_MS:
        message = f"an interval of {job.interval_ms} ms is too short; at least 100 ms"
        yield SettingFault("interval", "", message)
    if not 0 < job.timeout_ms <= job.interval_ms:
        message = (
            f"a timeout of {job.timeout_ms} ms must be above zero and at most the interval, "
            f"which is {job.interval_ms} ms"
        )
        yield SettingFault("timeout", "", message)
    yield from _target_faults(job, seen)
    for name, _ in job.labels:
        if not _LABEL_NAME.fullmatch(name) or name.startswith("__"):
            message = f'label name "{name}" is not allowed; use letters, digits and single "_"'
            yield SettingFault("labels", name, message)


def _target_faults(job: ScrapeJob, seen: set[tuple[str, str]]) -> Iterator[SettingFault]:
    if not job.targets and not job.discovery:
        message = 'a scrape job needs targets: ["host:port"], or kubernetes: pods'
        yield SettingFault("targets", "", message)
    for target in job.targets:
        fault = address_fault(target)
        if not fault and (job.job, target) in seen:
            fault = (
                f'target "{target}" stands twice in job "{job.job}"; their series would be the '
                "same, so remove one or give it another job name"
            )
        seen.add((job.job, target))
        if fault:
            yield SettingFault("targets", target, fault)


def address_fault(target: str) -> str:
    """Return what is wrong with the address ``target``, or the empty string."""
    if target.isdecimal():
        return f'target "{target}" is a number, not an address; write "127.0.0.1:{target}"'
    match = _ADDRESS.fullmatch(target)
    if match is None:
        return f'target "{target}" is not an address; write host:port, the rest goes into "path"'
    port = match.group(1)
    if port is not None and not 0 < int(port) < 65_536:
        return f'target "{target}" has a port outside 1 to 65535'
    return ""


def read_scrape_jobs(node: Node, faults: list[Fault]) -> ScrapeSettings:
    """Return the jobs in the list ``node``; what does not fit is appended to ``faults``.

    A job with a fault is left out of the result.
    """
    if node.kind is not Kind.SEQUENCE:
        fix = "write a dash before each job"
        faults.append(node.fault(f"scrape must be a list of jobs, not {node.kind}", fix))
        return ScrapeSettings()
    jobs: list[ScrapeJob] = []
    names: dict[str, int] = {}
    for item in node.items:
        before = len(faults)
        section = Section(item, faults, "a scrape job")
        job = _read_job(section)
        if job.job in names:
            message = f'the job name "{job.job}" is used twice'
            section.fault("job", message, f"see line {names[job.job]}; give one another name")
        elif (name := section.value("job")) is not None:
            names[job.job] = name.line
        faults += [_place(section, f).fault(f.message) for f in job_faults(job, set())]
        if len(faults) == before:
            jobs.append(job)
    return ScrapeSettings(tuple(jobs))


def _read_job(section: Section) -> ScrapeJob:
    interval = section.duration("interval", 15_000)
    discovery, rules = _read_kubernetes(section)
    job = ScrapeJob(
        job=section.text("job"),
        targets=section.texts("targets"),
        app=section.text("app", "default"),
        interval_ms=interval,
        timeout_ms=section.duration("timeout", min(10_000, max(interval, 1))),
        path=section.text("path", "/metrics"),
        scheme=section.text("scheme", "http"),
        params=tuple((name.text, value.text) for name, value in section.pairs("params")),
        labels=tuple((name.text, value.text) for name, value in section.pairs("labels")),
        honor_labels=section.boolean("honor_labels", False),
        honor_timestamps=section.boolean("honor_timestamps", True),
        http=HttpSettings(follow_redirects=section.boolean("follow_redirects", False)),
        limits=_read_limits(section.section("limits")),
        discovery=discovery,
        relabel=rules,
    )
    section.done()
    return job


def _read_kubernetes(
    section: Section,
) -> tuple[tuple[DiscoverySettings, ...], tuple[RelabelRule, ...]]:
    """Return what ``kubernetes: pods`` or ``kubernetes: services`` stands for."""
    what, config = section.text("kubernetes"), section.text("kubeconfig_file")
    if not what:
        if config:
            section.fault("kubeconfig_file", 'kubeconfig_file needs "kubernetes: pods"')
        return (), ()
    if what not in KUBERNETES:
        fix = f"one of {', '.join(KUBERNETES)}"
        section.fault("kubernetes", f'"{what}" cannot be scraped in Kubernetes', fix)
        return (), ()
    return (KubernetesDiscovery(role_of(what), kubeconfig_file=config),), annotation_rules(what)


def _read_limits(section: Section | None) -> ScrapeLimits:
    default = ScrapeLimits()
    if section is None:
        return default
    limits = ScrapeLimits(
        body_bytes=section.integer("body_bytes", default.body_bytes, 1024),
        samples=section.integer("samples", default.samples, 1),
        line_bytes=section.integer("line_bytes", default.line_bytes, 1024),
        labels=section.integer("labels", default.labels, 3),
        name_length=section.integer("name_length", default.name_length, 8),
        value_length=section.integer("value_length", default.value_length, 8),
    )
    section.done()
    return limits


def _place(section: Section, fault: SettingFault) -> Node:
    """Return the node that ``fault`` is about, or the nearest one around it."""
    node = section.value(fault.key) or section.node
    if fault.value and node.kind is Kind.SEQUENCE:
        # Of two targets of one text the later one is at fault.
        return next((item for item in reversed(node.items) if item.text == fault.value), node)
    if fault.value and node.kind is Kind.MAPPING:
        return next((key for key, _ in node.members if key.text == fault.value), node)
    return node
