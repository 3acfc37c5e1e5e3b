"""Kubernetes' objects as JSON, and the labels that each of them gives. Pure.

Meta labels: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#kubernetes_sd_config
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

PREFIX = "__meta_kubernetes_"

Json = Mapping[str, object]
Objects = Mapping[str, Json]
"""Objects of one resource by ``namespace/name`` (``/name`` where there is no namespace)."""

_NOT_IN_NAME = re.compile(r"[^a-zA-Z0-9_]")
_NOTHING: Objects = {}
_NODE_ADDRESSES = (
    "InternalIP",
    "InternalDNS",
    "ExternalIP",
    "ExternalDNS",
    "LegacyHostIP",
    "Hostname",
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is known of a cluster: objects by resource and key, and which metadata is wanted."""

    objects: Mapping[str, Objects] = field(default_factory=dict)
    attach_node: bool = False
    attach_namespace: bool = False

    def get(self, resource: str, namespace: str, name: str) -> Json | None:
        """Return one object."""
        return self.objects.get(resource, _NOTHING).get(f"{namespace}/{name}")


def text(value: Json, *path: str) -> str:
    """Return the text or number at ``path``; "" where there is none."""
    found: object = value
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found) if isinstance(found, str | int) else ""


def inner(value: Json, *path: str) -> Json:
    """Return the mapping at ``path``; an empty one where there is none."""
    found: object = value
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def items(value: Json, *path: str) -> Iterator[Json]:
    """Yield the mappings in the list at ``path``."""
    found = inner(value, *path[:-1]).get(path[-1])
    for each in found if isinstance(found, Sequence) and not isinstance(found, str) else ():
        if isinstance(each, Mapping):
            yield each


def texts(value: Json, *path: str) -> list[str]:
    """Return the texts in the list at ``path``."""
    found = inner(value, *path[:-1]).get(path[-1])
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def key_of(value: Json) -> str:
    """Return ``namespace/name`` of an object."""
    return f"{text(value, 'metadata', 'namespace')}/{text(value, 'metadata', 'name')}"


def metadata_labels(value: Json, what: str) -> dict[str, str]:
    """Return labels and annotations of an object, and that they are there."""
    found: dict[str, str] = {}
    for kind, member in (("label", "labels"), ("annotation", "annotations")):
        for name, content in inner(value, "metadata", member).items():
            safe = _NOT_IN_NAME.sub("_", name)
            found[f"{PREFIX}{what}_{kind}_{safe}"] = content if isinstance(content, str) else ""
            found[f"{PREFIX}{what}_{kind}present_{safe}"] = "true"
    return found


def namespace_labels(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Return the name of the namespace, and its labels where they are wanted."""
    found = {f"{PREFIX}namespace": namespace}
    known = cluster.get("namespaces", "", namespace) if cluster.attach_namespace else None
    return found | (metadata_labels(known, "namespace") if known else {})


def attached_node(cluster: Cluster, name: str) -> dict[str, str]:
    """Return the labels of the node ``name`` where they are wanted."""
    known = cluster.get("nodes", "", name) if cluster.attach_node and name else None
    if known is None:
        return {}
    return {f"{PREFIX}node_name": name, **metadata_labels(known, "node")}


def node_labels(node: Json) -> dict[str, str]:
    """Return the labels of a node as a target of its own."""
    found = {
        f"{PREFIX}node_name": text(node, "metadata", "name"),
        f"{PREFIX}node_provider_id": text(node, "spec", "providerID"),
        **metadata_labels(node, "node"),
    }
    for address in items(node, "status", "addresses"):
        name = f"{PREFIX}node_address_{_NOT_IN_NAME.sub('_', text(address, 'type'))}"
        found.setdefault(name, text(address, "address"))
    return found


def node_address(node: Json) -> str:
    """Return the address of a node that is most likely to be reached, or ""."""
    by_type: dict[str, str] = {}
    for address in items(node, "status", "addresses"):
        by_type.setdefault(text(address, "type"), text(address, "address"))
    return next((by_type[kind] for kind in _NODE_ADDRESSES if kind in by_type), "")


def service_labels(service: Json) -> dict[str, str]:
    """Return what a service gives to its own targets and to those of its endpoints."""
    return {
        f"{PREFIX}service_name": text(service, "metadata", "name"),
        **metadata_labels(service, "service"),
    }


def pod_labels(pod: Json) -> dict[str, str]:
    """Return what a pod gives to all its ports."""
    found = {
        f"{PREFIX}pod_name": text(pod, "metadata", "name"),
        f"{PREFIX}pod_ip": text(pod, "status", "podIP"),
        f"{PREFIX}pod_ready": _ready(pod),
        f"{PREFIX}pod_phase": text(pod, "status", "phase"),
        f"{PREFIX}pod_node_name": text(pod, "spec", "nodeName"),
        f"{PREFIX}pod_host_ip": text(pod, "status", "hostIP"),
        f"{PREFIX}pod_uid": text(pod, "metadata", "uid"),
        **metadata_labels(pod, "pod"),
    }
    for owner in items(pod, "metadata", "ownerReferences"):
        if owner.get("controller") is True:
            found[f"{PREFIX}pod_controller_kind"] = text(owner, "kind")
            found[f"{PREFIX}pod_controller_name"] = text(owner, "name")
            break
    return found


def _ready(pod: Json) -> str:
    for condition in items(pod, "status", "conditions"):
        if text(condition, "type") == "Ready":
            return text(condition, "status").lower() or "unknown"
    return "unknown"


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod: its labels, and its ports with theirs."""

    labels: Mapping[str, str]
    ports: tuple[tuple[int, Mapping[str, str]], ...]


def containers(pod: Json) -> Iterator[Container]:
    """Yield the containers of a pod, those that only initialise it last."""
    ids = {
        text(status, "name"): text(status, "containerID")
        for member in ("containerStatuses", "initContainerStatuses")
        for status in items(pod, "status", member)
    }
    for member, initial in (("containers", "false"), ("initContainers", "true")):
        for container in items(pod, "spec", member):
            name = text(container, "name")
            labels = {
                f"{PREFIX}pod_container_name": name,
                f"{PREFIX}pod_container_id": ids.get(name, ""),
                f"{PREFIX}pod_container_image": text(container, "image"),
                f"{PREFIX}pod_container_init": initial,
            }
            yield Container(labels, tuple(_ports(container)))


def _ports(container: Json) -> Iterator[tuple[int, Mapping[str, str]]]:
    for port in items(container, "ports"):
        number = text(port, "containerPort")
        if number.isdecimal():
            yield (
                int(number),
                {
                    f"{PREFIX}pod_container_port_name": text(port, "name"),
                    f"{PREFIX}pod_container_port_number": number,
                    f"{PREFIX}pod_container_port_protocol": text(port, "protocol") or "TCP",
                },
            )
