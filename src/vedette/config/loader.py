"""Reads vedette.yml, and everything that it names, into settings; or says all that is wrong.

Text → :class:`Node` → one reader per section → :class:`Settings`. Each room reads its own section.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vedette.alerting.settings import read_alerting_settings
from vedette.config.errors import ConfigError as ConfigError
from vedette.config.settings import (
    DashboardSettings,
    QuerySettings,
    ServerSettings,
    Settings,
    StorageSettings,
    WebSettings,
)
from vedette.forward.settings import read_destinations
from vedette.kit.yamlpos import Fault, Kind, Node, Section, compose
from vedette.notify.registry import read_receivers
from vedette.query.promql.features import FEATURES
from vedette.receive.settings import read_otlp, read_push
from vedette.rules.files import load_rule_files
from vedette.rules.settings import RulesSettings, read_rules_settings
from vedette.scrape.settings import ScrapeJob, ScrapeSettings, read_scrape_jobs

DEFAULT_PORT = 9797


def load(path: Path) -> Settings:
    """Return the settings in ``path``; rule files that it names are checked too.

    Raises:
        ConfigError: with every fault that was found.
    """
    faults: list[Fault] = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError([Fault(str(path), 1, 1, f"cannot be read: {reason}")]) from None
    settings = read(text, str(path), faults)
    rules = load_rule_files(
        settings.rules.files, path.parent, settings.rules.evaluation_interval_ms
    )
    faults += rules.faults
    if faults:
        raise ConfigError(faults)
    return settings


def read(text: str, file: str, faults: list[Fault]) -> Settings:
    """Return the settings in ``text``; what does not fit is appended to ``faults``."""
    node = compose(text, file, faults)
    if node is None:
        return Settings(file=file)
    root = Section(node, faults, "the file")
    scrape = root.value("scrape")
    settings = Settings(
        server=_server(root.section("server"), Path(file).parent),
        storage=_storage(root.section("storage")),
        query=_query(root.section("query"), Path(file).parent),
        web=_web(root.section("web")),
        dashboard=_dashboard(root.section("dashboard")),
        scrape=_named(read_scrape_jobs(scrape, faults)) if scrape else ScrapeSettings(),
        otlp=read_otlp(root.section("otlp")),
        push=read_push(root.section("push")),
        rules=_rules(root.section("rules")),
        **_alerting(root.section("alerting"), Path(file).parent),
        remote_write=read_destinations(
            root.sections("remote_write"), os.environ, Path(file).parent
        ),
        ingest_keys=_ingest_keys(root.value("ingest_keys"), faults),
        file=file,
    )
    root.done()
    return settings


def _named(scrape: ScrapeSettings) -> ScrapeSettings:
    """Give the series of jobs that name an application a label that says so."""
    jobs: list[ScrapeJob] = []
    for job in scrape.jobs:
        labels = dict(job.labels)
        if job.app != ScrapeJob("", ()).app:
            labels.setdefault("app", job.app)
        jobs.append(replace(job, labels=tuple(sorted(labels.items()))))
    return replace(scrape, jobs=tuple(jobs))


def _server(section: Section | None, base: Path) -> ServerSettings:
    if section is None:
        return ServerSettings(data_dir=base / "data")
    host, port = _listen(section)
    settings = ServerSettings(
        host=host,
        port=port,
        data_dir=base / section.text("data_dir", "data"),
        hosts=frozenset(section.texts("hosts")),
        external_url=section.text("external_url").rstrip("/"),
    )
    section.done()
    return settings


def _listen(section: Section) -> tuple[str, int]:
    text = section.text("listen", f"127.0.0.1:{DEFAULT_PORT}")
    try:
        return parse_listen(text)
    except ValueError as error:
        section.fault("listen", str(error), f'write it like "127.0.0.1:{DEFAULT_PORT}"')
        return "127.0.0.1", DEFAULT_PORT


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of ``host:port``, ``[v6]:port`` or ``:port``.

    Raises:
        ValueError: it is none of these.
    """
    host, colon, digits = text.rpartition(":")
    if not colon or not digits.isdecimal() or not 0 <= int(digits) <= 65_535:
        raise ValueError(f'"{text}" is not host:port')
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if host != "localhost":
        ipaddress.ip_address(host)
    return host, int(digits)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens on ``host``."""
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def _storage(section: Section | None) -> StorageSettings:
    if section is None:
        return StorageSettings()
    default = StorageSettings()
    settings = StorageSettings(
        state=_state(section),
        head_bytes=section.integer("head_bytes", default.head_bytes, 8 << 20, 1 << 40),
        segment_seconds=section.duration("segment", 300_000, minimum=1_000) / 1000,
        max_series=section.integer("max_series", default.max_series, 1_000, 1 << 31),
        max_series_per_metric=section.integer(
            "max_series_per_metric", default.max_series_per_metric, 0, 1 << 31
        ),
        max_series_per_target=section.integer(
            "max_series_per_target", default.max_series_per_target, 0, 1 << 31
        ),
        max_series_per_app=section.integer(
            "max_series_per_app", default.max_series_per_app, 0, 1 << 31
        ),
        **_retention(section.section("retention")),
    )
    section.done()
    return settings


def _retention(section: Section | None) -> dict[str, int]:
    if section is None:
        return {}
    default = StorageSettings()
    found = {
        "retention_ms": section.duration("time", default.retention_ms),
        "retention_bytes": section.size("size", default.retention_bytes),
    }
    section.done()
    return found


def _state(section: Section) -> str:
    """Return the address of the state's database, where it is one that Vedette can use."""
    node = section.scalar("state")
    if node is None:
        return ""
    # The address holds a password: what is said of it must not repeat it.
    message = state_fault(node.text)
    if not message and node.text and importlib.util.find_spec("psycopg") is None:
        section.fault(
            "state", "a PostgreSQL state needs psycopg", "pip install 'vedette[postgres]'"
        )
    elif message:
        section.fault(
            "state",
            message,
            "write postgresql://user:password@host:5432/database, "
            "or leave it out: SQLite in data_dir",
        )
    return "" if message else node.text


def state_fault(address: str) -> str:
    """Return why ``address`` cannot be the state's database, or ""; no secret is repeated."""
    scheme, separator, _ = address.partition("://")
    if not separator:
        return "storage.state is not the address of a database"
    if scheme not in ("postgresql", "postgresql+psycopg"):
        known = re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]{0,30}", scheme)
        return f"the state cannot live in {scheme if known else 'such a database'}"
    try:
        parts = urlsplit(address)
        # Reading the port raises where it is no number.
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "host or port in storage.state cannot be read"
    if not parts.path.strip("/"):
        return "storage.state names no database"
    if not host and "host=" not in parts.query:
        return "storage.state names no host"
    return ""


def _query(section: Section | None, base: Path) -> QuerySettings:
    if section is None:
        return QuerySettings()
    default = QuerySettings()
    log = section.text("log")
    features = section.texts("features")
    for name in features:
        if name not in FEATURES:
            fix = f"known are {', '.join(sorted(FEATURES))}"
            section.fault("features", f'"{name}" is no feature of queries', fix)
    settings = QuerySettings(
        lookback_ms=section.duration("lookback", default.lookback_ms, minimum=1_000),
        timeout_seconds=section.duration("timeout", 120_000, minimum=100) / 1000,
        max_samples=section.integer("max_samples", default.max_samples, 1_000),
        max_cells=section.integer("max_cells", default.max_cells, 1_000),
        max_bytes=section.integer("max_bytes", default.max_bytes, 1 << 20),
        concurrency=section.integer("concurrency", default.concurrency, 1, 256),
        queue=section.integer("queue", default.queue, 0, 100_000),
        log=base / log if log else None,
        log_slow_seconds=section.duration("log_slow", 0) / 1000,
        prometheus_2_windows=section.boolean("prometheus_2_windows", False),
        features=frozenset(features) & FEATURES.keys(),
    )
    section.done()
    return settings


def _web(section: Section | None) -> WebSettings:
    if section is None:
        return WebSettings()
    origins = section.texts("cors_origins")
    for origin in origins:
        if not re.fullmatch(r"https?://[^/\s*]+", origin):
            fix = "write scheme and host, e.g. https://grafana.example"
            section.fault("cors_origins", f'"{origin}" is not an origin', fix)
    settings = WebSettings(
        enable_admin_api=section.boolean("enable_admin_api", False),
        cors_origins=frozenset(origin.lower() for origin in origins),
    )
    section.done()
    return settings


def _dashboard(section: Section | None) -> DashboardSettings:
    if section is None:
        return DashboardSettings()
    section.duration("window", 60_000, minimum=1_000)
    settings = DashboardSettings(
        namespace=section.text("namespace", "chatbot"),
        app=section.text("app"),
        window=section.text("window", "1m"),
        refresh_seconds=section.duration("refresh", 1_000, minimum=500) / 1000,
    )
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", settings.namespace):
        section.fault("namespace", "a namespace is the beginning of a metric name", "e.g. chatbot")
    section.done()
    return settings


def _alerting(section: Section | None, base: Path) -> dict[str, Any]:
    if section is None:
        return {}
    receivers = read_receivers(section, os.environ, base)
    names = [receiver.name for receiver in receivers]
    alerting = read_alerting_settings(section, names)
    return {} if alerting is None else {"alerting": alerting, "receivers": receivers}


def _rules(section: Section | None) -> RulesSettings:
    return RulesSettings() if section is None else read_rules_settings(section)


def _ingest_keys(node: Node | None, faults: list[Fault]) -> dict[str, str]:
    """Return applications by key; written as ``application: key``."""
    if node is None:
        return {}
    if node.kind is not Kind.MAPPING:
        faults.append(node.fault("ingest_keys must be a mapping", "write `application: key`"))
        return {}
    keys: dict[str, str] = {}
    for app, key in node.members:
        if key.kind is not Kind.SCALAR or len(key.text) < 16:
            faults.append(
                key.fault(
                    f'the ingest key of "{app.text}" is shorter than 16 characters',
                    "make one with `openssl rand -hex 24`",
                )
            )
        elif key.text in keys:
            message = f'"{app.text}" has the same ingest key as "{keys[key.text]}"'
            faults.append(key.fault(message, "each application needs a key of its own"))
        else:
            keys[key.text] = app.text
    return keys
