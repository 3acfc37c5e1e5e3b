"""Targets: from what was configured or discovered, by relabelling, to an address and labels.

The steps and special labels are those of Prometheus 3:
https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from urllib.parse import quote, urlencode

from vedette.kit.duration import format_duration, parse_duration
from vedette.kit.relabel import Relabeller
from vedette.model.labels import Labels
from vedette.scrape.discovery.groups import Pairs, TargetGroup
from vedette.scrape.formats import FormatOptions
from vedette.scrape.settings import ScrapeJob, ScrapeSettings

_ADDRESS = "__address__"
_INTERVAL = "__scrape_interval__"
_TIMEOUT = "__scrape_timeout__"
_PATH = "__metrics_path__"
_SCHEME = "__scheme__"
_NATIVE = "__scrape_native_histograms__"
_CLASSIC = "__always_scrape_classic_histograms__"
_CONVERT = "__convert_classic_histograms_to_nhcb__"
_PARAM = "__param_"
_PATH_SAFE = "/:@!$&'()*+,;=~%"


@dataclass(frozen=True, slots=True)
class Found:
    """What relabelling made of a discovered target; times in ms.

    ``discovered`` are the labels before, as Prometheus' API shows them. They are left out of
    comparisons: a target whose meta labels change without an effect is the same target.
    """

    labels: Labels
    discovered: Labels = field(compare=False)
    scheme: str
    path: str
    params: Pairs
    interval_ms: int
    timeout_ms: int
    formats: FormatOptions
    identity: str


@dataclass(frozen=True, slots=True)
class Target:
    """An address that is scraped as its job says; two are equal if they are scraped alike.

    ``found`` is ``None`` for an address that the job itself names.
    """

    job: ScrapeJob
    address: str
    normalise_buckets: bool = True
    found: Found | None = None

    @property
    def key(self) -> str:
        """What tells this target from all others: ``job/address``, and what relabelling added."""
        suffix = f"#{self.found.identity}" if self.found else ""
        return f"{self.job.job}/{self.address}{suffix}"

    @property
    def interval_ms(self) -> int:
        """Milliseconds from one scrape to the next."""
        return self.found.interval_ms if self.found else self.job.interval_ms

    @property
    def timeout_ms(self) -> int:
        """Milliseconds that a scrape may take."""
        return self.found.timeout_ms if self.found else self.job.timeout_ms

    @property
    def formats(self) -> FormatOptions:
        """The formats that are asked for, and what is kept of histograms."""
        return self.found.formats if self.found else self.job.formats

    @property
    def url(self) -> str:
        """The address that is fetched."""
        if self.found is None:
            return _url(self.job.scheme, self.address, self.job.path, self.job.params)
        found = self.found
        return _url(found.scheme, self.address, found.path, found.params)

    @property
    def labels(self) -> Labels:
        """The labels that every series of the target gets."""
        if self.found is not None:
            return self.found.labels
        own = {"job": self.job.job, "instance": self.address}
        return Labels.of(own | dict(self.job.labels))

    @property
    def discovered(self) -> Labels:
        """What is known of the target before any rule was applied, as Prometheus' API shows it."""
        if self.found is not None:
            return self.found.discovered
        return Labels.of(
            _with_defaults(self.job, {_ADDRESS: self.address, **dict(self.job.labels)})
        )


def _url(scheme: str, address: str, path: str, params: Pairs) -> str:
    query = f"?{urlencode(params)}" if params else ""
    return f"{scheme}://{address}{path}{query}"


def targets_of(settings: ScrapeSettings) -> list[Target]:
    """Return the targets that the jobs themselves name."""
    return [target for job in settings.jobs for target in named_targets(job, settings)]


def named_targets(job: ScrapeJob, settings: ScrapeSettings) -> list[Target]:
    """Return the targets that ``job`` itself names.

    The job of each names only its own address: the others concern it not.
    """
    return [
        Target(replace(job, targets=(address,)), address, settings.normalise_buckets)
        for address in job.targets
    ]


class TargetError(ValueError):
    """Relabelling left a target that cannot be scraped."""


def _word(value: bool) -> str:
    return "true" if value else "false"


def _with_defaults(job: ScrapeJob, labels: Mapping[str, str]) -> dict[str, str]:
    """Return ``labels`` with what the job says where they say nothing."""
    defaults = {
        "job": job.job,
        _INTERVAL: format_duration(job.interval_ms),
        _TIMEOUT: format_duration(job.timeout_ms),
        _PATH: job.path,
        _SCHEME: job.scheme,
        _NATIVE: _word(job.formats.native_histograms),
        _CLASSIC: _word(job.formats.classic_histograms),
        _CONVERT: _word(job.formats.convert_classic),
    }
    merged = {**labels, **{k: v for k, v in defaults.items() if not labels.get(k)}}
    for name, value in reversed(job.params):
        # Of several values of one parameter the rules see the first.
        merged[_PARAM + name] = value
    return merged


class TargetMaker:
    """Makes the targets of one job from groups of discovered ones."""

    def __init__(self, job: ScrapeJob, normalise_buckets: bool) -> None:
        # What only decides which targets there are makes none of them another target.
        self._job = replace(
            job, targets=(), discovery=(), relabel=(), target_limit=0, keep_dropped=0
        )
        self._normalise = normalise_buckets
        self._relabel = Relabeller(job.relabel)

    def make(self, group: TargetGroup) -> tuple[list[Target], list[Labels], list[str]]:
        """Return the targets of ``group``, labels of those that rules drop, and faults."""
        kept: list[Target] = []
        dropped: list[Labels] = []
        faults: list[str] = []
        for own in group.targets:
            discovered = _with_defaults(
                self._job, {**dict(self._job.labels), **dict(group.labels), **dict(own)}
            )
            labels = self._relabel(discovered)
            if labels is None:
                dropped.append(Labels.of(discovered))
                continue
            try:
                kept.append(self._target(labels, Labels.of(discovered)))
            except TargetError as error:
                faults.append(f"job {self._job.job}, group {group.source}: {error}")
        return kept, dropped, faults

    def _target(self, labels: dict[str, str], discovered: Labels) -> Target:
        address = labels.get(_ADDRESS, "")
        if not address:
            raise TargetError("a target has no address")
        if "/" in address:
            raise TargetError(f'"{address}" is not host:port')
        interval, timeout = _duration(labels, _INTERVAL), _duration(labels, _TIMEOUT)
        if timeout > interval:
            raise TargetError(f"the scrape time-out of {address} is longer than its interval")
        scheme = labels.get(_SCHEME, "")
        if scheme not in ("http", "https"):
            raise TargetError(f'the scheme of {address} is "{scheme}", not http or https')
        public = {k: v for k, v in labels.items() if not k.startswith("__")}
        public.setdefault("instance", address)
        path = quote(labels.get(_PATH, ""), safe=_PATH_SAFE)
        path = path if not path or path.startswith("/") else f"/{path}"
        params = _params(self._job.params, labels)
        own = Labels.of(public)
        url = _url(scheme, address, path, params)
        identity = blake2b(own.canonical() + url.encode(), digest_size=6).hexdigest()
        formats = replace(
            self._job.formats,
            native_histograms=_boolean(labels, _NATIVE),
            classic_histograms=_boolean(labels, _CLASSIC),
            convert_classic=_boolean(labels, _CONVERT),
        )
        found = Found(own, discovered, scheme, path, params, interval, timeout, formats, identity)
        return Target(self._job, address, self._normalise, found)


def _duration(labels: Mapping[str, str], name: str) -> int:
    try:
        value = parse_duration(labels.get(name, ""))
    except ValueError as error:
        raise TargetError(f"{name}: {error}") from None
    if not value:
        raise TargetError(f"{name} is zero")
    return value


def _boolean(labels: Mapping[str, str], name: str) -> bool:
    word = labels.get(name, "false")
    if word not in ("true", "false"):
        raise TargetError(f'{name} is "{word}", not true or false')
    return word == "true"


def _params(configured: Pairs, labels: Mapping[str, str]) -> Pairs:
    """Return the parameters of the address, sorted; ``__param_*`` replaces the first value."""
    values: dict[str, list[str]] = {}
    for name, value in configured:
        values.setdefault(name, []).append(value)
    for label, value in labels.items():
        if label.startswith(_PARAM):
            name = label.removeprefix(_PARAM)
            values[name] = [value, *values.get(name, [""])[1:]]
    return tuple((name, value) for name in sorted(values) for value in values[name])
