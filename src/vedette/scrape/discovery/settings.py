"""How targets are discovered: the settings of each mechanism and their readers.

Documentation: https://prometheus.io/docs/prometheus/latest/configuration/configuration/
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vedette.kit.http_settings import PLAIN, HttpSettings, in_folder, read_http_settings, read_url
from vedette.kit.yamlpos import Section
from vedette.scrape.discovery.groups import Discovery, TargetGroup, group_of

_FILE_PATTERN = re.compile(r"[^*]*(?:\*[^/]*)?\.(?:json|yml|yaml|JSON|YML|YAML)")
_ROLES = ("pod", "service", "endpoints", "endpointslice", "node", "ingress")
_DNS_TYPES = ("SRV", "A", "AAAA", "MX", "NS")
_MINUTE = 60_000

UNSUPPORTED = tuple(
    f"{name}_sd_configs"
    for name in (
        "aws", "azure", "consul", "digitalocean", "docker", "dockerswarm", "ec2", "ecs", "eureka",
        "gce", "hetzner", "ionos", "kuma", "lightsail", "linode", "marathon", "msk", "nerve",
        "nomad", "openstack", "ovhcloud", "puppetdb", "rds", "elasticache", "scaleway",
        "serverset", "stackit", "triton", "uyuni", "vultr", "outscale",
    )
)  # fmt: skip
"""Mechanisms of Prometheus that are not here; their jobs get a warning."""


@dataclass(frozen=True, slots=True)
class StaticDiscovery:
    """Groups that the configuration itself names."""

    groups: tuple[TargetGroup, ...]


@dataclass(frozen=True, slots=True)
class FileDiscovery:
    """Files of groups; ``files`` are patterns whose last part may have wildcards."""

    files: tuple[str, ...]
    refresh_ms: int = 5 * _MINUTE


@dataclass(frozen=True, slots=True)
class HttpDiscovery:
    """An address that answers with a list of groups as JSON."""

    url: str
    http: HttpSettings = PLAIN
    refresh_ms: int = _MINUTE


@dataclass(frozen=True, slots=True)
class DnsDiscovery:
    """Names that are looked up; ``port`` is of records that have none."""

    names: tuple[str, ...]
    type: str = "SRV"
    port: int = 0
    refresh_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class KubernetesSelector:
    """Which objects of a role are listed, by the API server's own selectors."""

    role: str
    label: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class KubernetesDiscovery:
    """Objects of a Kubernetes API server.

    Attributes:
        role: pod, service, endpoints, endpointslice, node or ingress.
        api_server: its address; empty: that of the cluster that Vedette runs in, or of
            ``kubeconfig_file``.
        namespaces: which to look at; empty: all. ``own_namespace`` adds Vedette's own.
        attach_node, attach_namespace: whether labels of the node and of the namespace are added.
    """

    role: str
    api_server: str = ""
    kubeconfig_file: str = ""
    http: HttpSettings = PLAIN
    namespaces: tuple[str, ...] = ()
    own_namespace: bool = False
    selectors: tuple[KubernetesSelector, ...] = ()
    attach_node: bool = False
    attach_namespace: bool = False


DiscoverySettings = (
    StaticDiscovery | FileDiscovery | HttpDiscovery | DnsDiscovery | KubernetesDiscovery
)

Discoverer = Callable[[DiscoverySettings], Discovery]
"""Makes the discovery that settings describe."""


def read_discoveries(
    section: Section, base: Path, warnings: list[str]
) -> tuple[DiscoverySettings, ...]:
    """Return the mechanisms of a scrape configuration; those that are not here are warned of."""
    found: list[DiscoverySettings] = []
    static = _static(section)
    if static is not None:
        found.append(static)
    found += [_file(inner, base) for inner in section.sections("file_sd_configs")]
    found += [_http(inner, base) for inner in section.sections("http_sd_configs")]
    found += [_dns(inner) for inner in section.sections("dns_sd_configs")]
    found += [
        _kubernetes(inner, base, warnings) for inner in section.sections("kubernetes_sd_configs")
    ]
    for key in UNSUPPORTED:
        if section.has(key):
            node = section.node
            warnings.append(
                f"{node.file}:{node.line}: {key} is not supported; the job gets no targets by it. "
                "Write the targets to a file and use file_sd_configs, or serve them to "
                "http_sd_configs"
            )
    return tuple(found)


def _static(section: Section) -> StaticDiscovery | None:
    groups = []
    for i, inner in enumerate(section.sections("static_configs", "a static configuration")):
        labels = {name.text: value.text for name, value in inner.pairs("labels")}
        # With rules a target may be anything, such as the address that a prober is to call.
        for node in () if section.has("relabel_configs") else inner.scalars("targets"):
            if "/" in node.text:
                fix = 'write host:port; the path goes into "metrics_path"'
                inner.faults.append(node.fault(f'"{node.text}" is not an address', fix))
        groups.append(group_of(str(i), inner.texts("targets"), labels))
        inner.done()
    return StaticDiscovery(tuple(groups)) if groups else None


def _file(section: Section, base: Path) -> FileDiscovery:
    section.require("files")
    files = section.scalars("files")
    for node in files:
        if not _FILE_PATTERN.fullmatch(node.text):
            fix = "it must end in .json, .yml or .yaml; a * may stand in its last part"
            section.faults.append(node.fault(f'"{node.text}" names no file of targets', fix))
    found = FileDiscovery(
        tuple(in_folder(base, node.text) for node in files),
        section.duration("refresh_interval", 5 * _MINUTE, minimum=1),
    )
    section.done()
    return found


def _http(section: Section, base: Path) -> HttpDiscovery:
    section.require("url")
    found = HttpDiscovery(
        read_url(section, "url"),
        read_http_settings(section, base),
        section.duration("refresh_interval", _MINUTE, minimum=1),
    )
    section.done()
    return found


def _dns(section: Section) -> DnsDiscovery:
    section.require("names")
    found = DnsDiscovery(
        section.texts("names"),
        section.text("type", "SRV").upper(),
        section.integer("port", 0, 0, 65_535),
        section.duration("refresh_interval", 30_000, minimum=1),
    )
    if found.type not in _DNS_TYPES:
        section.fault("type", f'unknown type "{found.type}"', f"one of {', '.join(_DNS_TYPES)}")
    elif found.type != "SRV" and not found.port:
        message = f"records of type {found.type} have no port"
        section.fault("type", message, "add port: …")
    section.done()
    return found


def _kubernetes(section: Section, base: Path, warnings: list[str]) -> KubernetesDiscovery:
    section.require("role")
    role = section.text("role").lower()
    if role and role not in _ROLES:
        section.fault("role", f'unknown role "{role}"', f"one of {', '.join(_ROLES)}")
    names, own = _namespaces(section)
    attach = section.section("attach_metadata")
    node = attach.boolean("node", False) if attach else False
    namespace = attach.boolean("namespace", False) if attach else False
    if attach:
        for key in ("deployment", "job", "cronjob"):
            if attach.boolean(key, False):
                place = f"{attach.node.file}:{attach.node.line}:{attach.node.column}"
                warnings.append(f"{place}: attach_metadata of a {key} is not used yet")
        attach.done()
    found = KubernetesDiscovery(
        role,
        read_url(section, "api_server").rstrip("/"),
        in_folder(base, section.text("kubeconfig_file")),
        read_http_settings(section, base),
        names,
        own,
        tuple(_selectors(section)),
        node,
        namespace,
    )
    if found.api_server and found.kubeconfig_file:
        section.fault("kubeconfig_file", "kubeconfig_file and api_server exclude each other")
    if found.http != PLAIN and not found.api_server:
        message = "credentials and TLS are used together with api_server only"
        section.faults.append(section.node.fault(message, "add api_server, or leave them out"))
    section.done()
    return found


def _namespaces(section: Section) -> tuple[tuple[str, ...], bool]:
    inner = section.section("namespaces")
    if inner is None:
        return (), False
    found = inner.texts("names"), inner.boolean("own_namespace", False)
    inner.done()
    return found


def _selectors(section: Section) -> list[KubernetesSelector]:
    found = []
    for inner in section.sections("selectors", "a selector"):
        role = inner.text("role").lower()
        if role not in _ROLES:
            inner.fault("role", f'unknown role "{role}"', f"one of {', '.join(_ROLES)}")
        found.append(KubernetesSelector(role, inner.text("label"), inner.text("field")))
        inner.done()
    return found
