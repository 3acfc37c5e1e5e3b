"""Reads ``prometheus.yml`` as it is: what Vedette does with it, and what it does not do yet.

Documentation: https://prometheus.io/docs/prometheus/latest/configuration/configuration/
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vedette.config.errors import ConfigError
from vedette.config.settings import Settings
from vedette.forward.prometheus import read_remote_write
from vedette.forward.settings import Destination
from vedette.kit.http_settings import HttpSettings, secret_files
from vedette.kit.relabel import read_relabel_rules
from vedette.kit.yamlpos import Fault, Node, Section, compose
from vedette.receive.settings import OtlpSettings, read_otlp
from vedette.rules.files import load_rule_files
from vedette.scrape.prometheus import GlobalScrape, read_global_scrape, read_scrape_config
from vedette.scrape.settings import ScrapeJob, SettingFault, job_faults

_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")
_UNUSED = ("runtime", "storage", "tracing", "remote_read")
_KEYS = {
    "job": "job_name",
    "interval": "scrape_interval",
    "timeout": "scrape_timeout",
    "path": "metrics_path",
    "targets": "static_configs",
}


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """What a ``prometheus.yml`` says.

    Attributes:
        jobs: its scrape configurations, those of ``scrape_config_files`` too.
        rule_files: patterns of rule files, absolute.
        evaluation_interval_ms: of rule groups that name none.
        external_labels: pairs that are added to what is sent on.
        remote_write: stores that samples are sent on to.
        otlp: how OTLP metrics are translated; ``None`` where it says nothing of it.
        warnings: what it says that is not done (yet), with its place.
    """

    jobs: tuple[ScrapeJob, ...] = ()
    rule_files: tuple[str, ...] = ()
    evaluation_interval_ms: int = 60_000
    external_labels: tuple[tuple[str, str], ...] = ()
    remote_write: tuple[Destination, ...] = ()
    otlp: OtlpSettings | None = None
    warnings: tuple[str, ...] = ()


def load_prometheus(path: Path) -> PrometheusSettings:
    """Return the settings in ``path``; the rule files that it names are checked too.

    Raises:
        ConfigError: with every fault that was found.
    """
    faults: list[Fault] = []
    settings = read_prometheus(_text(path), str(path), faults)
    rules = load_rule_files(settings.rule_files, path.parent, settings.evaluation_interval_ms)
    faults += rules.faults
    if faults:
        raise ConfigError(faults)
    return settings


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError([Fault(str(path), 1, 1, f"cannot be read: {reason}")]) from None


def read_prometheus(text: str, file: str, faults: list[Fault]) -> PrometheusSettings:
    """Return the settings in ``text``; what does not fit is appended to ``faults``."""
    node = compose(text, file, faults)
    if node is None:
        return PrometheusSettings()
    return _Reader(Section(node, faults, "the file"), Path(file).parent, faults).read()


class _Reader:
    """Reads one file; collects faults and warnings on the way."""

    def __init__(self, root: Section, base: Path, faults: list[Fault]) -> None:
        self._root = root
        self._base = base
        self._faults = faults
        self._warnings: list[str] = []
        self._places: dict[str, Node] = {}

    def read(self) -> PrometheusSettings:
        """Read everything."""
        root = self._root
        section = root.section("global")
        common = read_global_scrape(section, self._warnings)
        evaluation, external = self._global(section)
        jobs = [self._job(inner, common, self._base) for inner in root.sections("scrape_configs")]
        jobs += self._job_files(common)
        for key in _UNUSED:
            if root.has(key):
                self._warn(root.value(key), f"{key} is not used yet")
        self._alerting(root.section("alerting"))
        settings = PrometheusSettings(
            tuple(jobs),
            tuple(str((self._base / each).absolute()) for each in root.texts("rule_files")),
            evaluation,
            external,
            tuple(self._remote_write(external)),
            read_otlp(root.section("otlp")) if root.has("otlp") else None,
            tuple(self._warnings),
        )
        root.done()
        return settings

    def _global(self, section: Section | None) -> tuple[int, tuple[tuple[str, str], ...]]:
        if section is None:
            return 60_000, ()
        evaluation = section.duration("evaluation_interval", 0) or 60_000
        external = tuple(
            sorted(
                (k.text, expanded(v.text, os.environ)) for k, v in section.pairs("external_labels")
            )
        )
        for key in ("query_log_file", "rule_query_offset"):
            if section.text(key):
                self._warn(section.value(key), f"{key} is not used yet")
        runtime = section.section("runtime")
        if runtime is not None:
            runtime.integer("gogc", 0)
            runtime.done()
        section.done()
        return evaluation, external

    def _job(self, section: Section, common: GlobalScrape, base: Path) -> ScrapeJob:
        job = read_scrape_config(section, common, base, self._warnings)
        for fault in job_faults(job, set()):
            self._faults.append(_place(section, fault))
        first = self._places.setdefault(job.job, section.node)
        if job.job and first is not section.node:
            message = f'the job_name "{job.job}" stands here a second time'
            section.fault("job_name", message, f"see {first.file}:{first.line}; name it otherwise")
        self._unreadable(section, job.http, f'the job "{job.job}" cannot be scraped')
        return job

    def _unreadable(self, section: Section, http: HttpSettings, so: str) -> None:
        """Warn of files that cannot be read; they may still come, so it is no fault."""
        for name in dict.fromkeys(secret_files(http)):
            try:
                with Path(name).open("rb"):
                    pass
            except (OSError, ValueError) as error:
                reason = (isinstance(error, OSError) and error.strerror) or str(error)
                self._warn(section.node, f"{so}: {name} cannot be read: {reason}")

    def _job_files(self, common: GlobalScrape) -> list[ScrapeJob]:
        jobs: list[ScrapeJob] = []
        for node in self._root.scalars("scrape_config_files"):
            pattern = self._base / node.text
            for path in sorted(pattern.parent.glob(pattern.name)):
                jobs += self._job_file(path, common)
            if not pattern.exists() and not any(sign in node.text for sign in "*?["):
                self._faults.append(node.fault(f"there is no file {pattern}"))
        return jobs

    def _job_file(self, path: Path, common: GlobalScrape) -> list[ScrapeJob]:
        try:
            text = _text(path)
        except ConfigError as error:
            self._faults += error.faults
            return []
        found = compose(text, str(path), self._faults)
        if found is None:
            return []
        root = Section(found, self._faults, "the file")
        jobs = [self._job(inner, common, path.parent) for inner in root.sections("scrape_configs")]
        root.done()
        return jobs

    def _alerting(self, section: Section | None) -> None:
        if section is None:
            return
        read_relabel_rules(section, "alert_relabel_configs")
        if section.items("alertmanagers") or section.has("alert_relabel_configs"):
            message = (
                "alerts are not sent to Alertmanager: Vedette routes and notifies itself, by the "
                "section alerting of vedette.yml"
            )
            self._warn(section.node, message)
        section.done()

    def _remote_write(self, external: tuple[tuple[str, str], ...]) -> list[Destination]:
        found: dict[str, Destination] = {}
        for section in self._root.sections("remote_write", "a remote write"):
            destination = read_remote_write(section, self._base, self._warnings)
            if destination is None:
                continue
            so = f"nothing can be sent to {destination.place}"
            self._unreadable(section, destination.http, so)
            name = destination.name
            if name in found and section.text("name"):
                section.fault("name", f'"{name}" is there a second time')
            # Without names the same address may be there with other relabelling.
            number = 2
            while name in found:
                name, number = f"{destination.name}-{number}", number + 1
            found[name] = replace(destination, name=name, external_labels=external)
        return list(found.values())

    def _warn(self, node: Node | None, message: str) -> None:
        place = node or self._root.node
        self._warnings.append(f"{place.file}:{place.line}:{place.column}: {message}")


def _place(section: Section, fault: SettingFault) -> Fault:
    """Return a fault of a job where the file says what is wrong."""
    node = section.value(_KEYS.get(fault.key, fault.key)) or section.node
    return node.fault(fault.message)


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """Return ``text`` with ``$NAME`` and ``${NAME}`` replaced; ``$$`` stands for a dollar."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        return "$" if name is None else environment.get(name, "")

    return _VARIABLE.sub(value, text)


def with_prometheus(settings: Settings, path: Path) -> Settings:
    """Return ``settings`` with everything that the ``prometheus.yml`` at ``path`` adds.

    Raises:
        ConfigError: the file has faults, or both configurations name the same job.
    """
    found = load_prometheus(path)
    taken = {job.job for job in settings.scrape.jobs}
    faults = [
        Fault(str(path), 1, 1, f'the job "{job.job}" stands in {settings.file} too', "rename one")
        for job in found.jobs
        if job.job in taken
    ]
    names = {each.name for each in settings.remote_write}
    faults += [
        Fault(
            str(path),
            1,
            1,
            f'the remote_write "{each.name}" to {each.place} stands in {settings.file} too',
            'give one of them another "name"',
        )
        for each in found.remote_write
        if each.name in names
    ]
    if faults:
        raise ConfigError(faults)
    rules = settings.rules
    if not rules.files:
        rules = replace(rules, evaluation_interval_ms=found.evaluation_interval_ms)
    if not rules.external_labels:
        rules = replace(rules, external_labels=found.external_labels)
    return replace(
        settings,
        scrape=replace(settings.scrape, jobs=settings.scrape.jobs + found.jobs),
        otlp=settings.otlp if found.otlp is None else replace(found.otlp, grpc=settings.otlp.grpc),
        rules=replace(rules, files=rules.files + found.rule_files),
        remote_write=settings.remote_write + found.remote_write,
        warnings=settings.warnings + found.warnings,
    )
