"""How the objects of each role become targets. Pure: a cluster's objects in, a group out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vedette.scrape.discovery.groups import TargetGroup, joined, pairs
from vedette.scrape.discovery.kubernetes_objects import (
    PREFIX,
    Cluster,
    Json,
    attached_node,
    containers,
    inner,
    items,
    metadata_labels,
    namespace_labels,
    node_address,
    node_labels,
    pod_labels,
    service_labels,
    text,
    texts,
)

Target = Mapping[str, str]
_SERVICE_OF_SLICE = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Role:
    """What a role looks at.

    Attributes:
        resource: its own objects, each of which is a group.
        path: of the resource's API.
        namespaced: whether its objects lie in namespaces.
        group: makes the group of one object.
        further: other resources that its targets get labels from.
    """

    resource: str
    path: str
    namespaced: bool
    group: Callable[[Json, Cluster], TargetGroup]
    further: tuple[str, ...] = ()


def _name(value: Json) -> tuple[str, str]:
    return text(value, "metadata", "namespace"), text(value, "metadata", "name")


def _group(source: str, labels: Mapping[str, str], targets: Iterator[Target]) -> TargetGroup:
    return TargetGroup(source, tuple(map(pairs, targets)), pairs(labels))


def node_group(node: Json, _cluster: Cluster) -> TargetGroup:
    """Return the kubelet of a node; its instance is the node's name."""
    name = text(node, "metadata", "name")
    port = text(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port")
    address = node_address(node)
    target = {"__address__": joined(address, port or "10250"), "instance": name}
    return _group(f"node/{name}", node_labels(node), iter([target] if address else []))


def service_group(service: Json, cluster: Cluster) -> TargetGroup:
    """Return one target a port of the service."""
    namespace, name = _name(service)
    kind = text(service, "spec", "type")
    common = {f"{PREFIX}service_type": kind}
    if kind == "ExternalName":
        common[f"{PREFIX}service_external_name"] = text(service, "spec", "externalName")
    else:
        common[f"{PREFIX}service_cluster_ip"] = text(service, "spec", "clusterIP")
    if kind == "LoadBalancer":
        common[f"{PREFIX}service_loadbalancer_ip"] = text(service, "spec", "loadBalancerIP")

    def targets() -> Iterator[Target]:
        for port in items(service, "spec", "ports"):
            number = text(port, "port")
            yield {
                "__address__": joined(f"{name}.{namespace}.svc", number),
                f"{PREFIX}service_port_name": text(port, "name"),
                f"{PREFIX}service_port_number": number,
                f"{PREFIX}service_port_protocol": text(port, "protocol") or "TCP",
                **common,
            }

    labels = namespace_labels(cluster, namespace) | service_labels(service)
    return _group(f"svc/{namespace}/{name}", labels, targets())


def pod_group(pod: Json, cluster: Cluster) -> TargetGroup:
    """Return one target a declared port of each container, or the pod's address without one."""
    namespace, name = _name(pod)
    address = text(pod, "status", "podIP")

    def targets() -> Iterator[Target]:
        for container in containers(pod) if address else ():
            for number, port in container.ports:
                yield {"__address__": joined(address, number), **container.labels, **port}
            if not container.ports:
                bare = f"[{address}]" if ":" in address else address
                yield {"__address__": bare, **container.labels}

    labels = namespace_labels(cluster, namespace) | pod_labels(pod)
    labels |= attached_node(cluster, text(pod, "spec", "nodeName"))
    return _group(f"pod/{namespace}/{name}", labels, targets())


def ingress_group(ingress: Json, cluster: Cluster) -> TargetGroup:
    """Return one target a path of each host."""
    namespace, name = _name(ingress)
    secure = [host for tls in items(ingress, "spec", "tls") for host in texts(tls, "hosts")]

    def targets() -> Iterator[Target]:
        for rule in items(ingress, "spec", "rules"):
            host = text(rule, "host")
            scheme = "https" if any(_host_matches(each, host) for each in secure) else "http"
            paths = [text(path, "path") or "/" for path in items(rule, "http", "paths")]
            for path in paths or ["/"]:
                yield {
                    "__address__": host,
                    f"{PREFIX}ingress_scheme": scheme,
                    f"{PREFIX}ingress_host": host,
                    f"{PREFIX}ingress_path": path,
                }

    labels = namespace_labels(cluster, namespace)
    labels[f"{PREFIX}ingress_name"] = name
    labels[f"{PREFIX}ingress_class_name"] = text(ingress, "spec", "ingressClassName")
    labels |= metadata_labels(ingress, "ingress")
    return _group(f"ingress/{namespace}/{name}", labels, targets())


def _host_matches(pattern: str, host: str) -> bool:
    if pattern == host:
        return True
    # A wildcard stands for exactly the first part of the name.
    return pattern.startswith("*.") and host.partition(".")[2] == pattern[2:] != ""


class _Pods:
    """The pods behind the targets of one object, and what of them is still to be shown."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._seen: dict[str, tuple[Json, set[int]]] = {}

    def labels(self, reference: Json, port: int) -> dict[str, str]:
        """Return the labels of the pod that ``reference`` names and of its container's port."""
        if text(reference, "kind") != "Pod":
            return {}
        namespace = text(reference, "namespace") or self._namespace
        name = text(reference, "name")
        pod = self._cluster.get("pods", namespace, name)
        if pod is None:
            return {}
        self._seen.setdefault(f"{namespace}/{name}", (pod, set()))[1].add(port)
        found = pod_labels(pod)
        found |= attached_node(self._cluster, text(pod, "spec", "nodeName"))
        for container in containers(pod):
            for number, labels in container.ports:
                if number == port:
                    return {**found, **container.labels, **labels}
        return found

    def undeclared(self) -> Iterator[Target]:
        """Yield the ports of those pods that the object itself does not name."""
        for pod, ports in self._seen.values():
            address = text(pod, "status", "podIP")
            for container in containers(pod) if address else ():
                for number, labels in container.ports:
                    if number not in ports:
                        yield {
                            "__address__": joined(address, number),
                            **pod_labels(pod),
                            **container.labels,
                            **labels,
                        }


def _reference_labels(reference: Json, prefix: str) -> dict[str, str]:
    if not reference:
        return {}
    return {
        f"{PREFIX}{prefix}_address_target_kind": text(reference, "kind"),
        f"{PREFIX}{prefix}_address_target_name": text(reference, "name"),
    }


def endpoints_group(endpoints: Json, cluster: Cluster) -> TargetGroup:
    """Return one target an address and port, and the further ports of the pods behind them."""
    namespace, name = _name(endpoints)
    pods = _Pods(cluster, namespace)

    def targets() -> Iterator[Target]:
        for subset in items(endpoints, "subsets"):
            for port in items(subset, "ports"):
                for member, ready in (("addresses", "true"), ("notReadyAddresses", "false")):
                    for address in items(subset, member):
                        yield _endpoint(address, port, ready, pods, cluster)
        yield from pods.undeclared()

    labels = namespace_labels(cluster, namespace)
    labels[f"{PREFIX}endpoints_name"] = name
    labels |= metadata_labels(endpoints, "endpoints")
    service = cluster.get("services", namespace, name)
    labels |= service_labels(service) if service else {}
    return _group(f"endpoints/{namespace}/{name}", labels, targets())


def _endpoint(address: Json, port: Json, ready: str, pods: _Pods, cluster: Cluster) -> Target:
    number = text(port, "port")
    reference = inner(address, "targetRef")
    found = {
        "__address__": joined(text(address, "ip"), number),
        f"{PREFIX}endpoint_port_name": text(port, "name"),
        f"{PREFIX}endpoint_port_protocol": text(port, "protocol") or "TCP",
        f"{PREFIX}endpoint_ready": ready,
        **_reference_labels(reference, "endpoint"),
    }
    for member, label in (("nodeName", "node_name"), ("hostname", "hostname")):
        if value := text(address, member):
            found[f"{PREFIX}endpoint_{label}"] = value
    found |= attached_node(cluster, text(address, "nodeName"))
    return found | pods.labels(reference, int(number or 0))


def endpointslice_group(part: Json, cluster: Cluster) -> TargetGroup:
    """Return one target an address and port of a slice, and the further ports of its pods."""
    namespace, name = _name(part)
    pods = _Pods(cluster, namespace)

    def targets() -> Iterator[Target]:
        for port in items(part, "ports"):
            for endpoint in items(part, "endpoints"):
                for address in texts(endpoint, "addresses"):
                    yield _slice_endpoint(address, endpoint, port, pods, cluster)
        yield from pods.undeclared()

    labels = namespace_labels(cluster, namespace)
    labels[f"{PREFIX}endpointslice_name"] = name
    labels[f"{PREFIX}endpointslice_address_type"] = text(part, "addressType")
    labels |= metadata_labels(part, "endpointslice")
    owner = text(part, "metadata", "labels", _SERVICE_OF_SLICE)
    service = cluster.get("services", namespace, owner)
    labels |= service_labels(service) if service else {}
    return _group(f"endpointslice/{namespace}/{name}", labels, targets())


def _slice_endpoint(
    address: str, endpoint: Json, port: Json, pods: _Pods, cluster: Cluster
) -> Target:
    slice_, number = f"{PREFIX}endpointslice", text(port, "port")
    reference = inner(endpoint, "targetRef")
    found = {
        "__address__": joined(address, number),
        f"{slice_}_port": number,
        f"{slice_}_port_name": text(port, "name"),
        f"{slice_}_port_protocol": text(port, "protocol") or "TCP",
        f"{slice_}_port_app_protocol": text(port, "appProtocol"),
        **_reference_labels(reference, "endpointslice"),
    }
    for condition in ("ready", "serving", "terminating"):
        if value := text(endpoint, "conditions", condition):
            found[f"{slice_}_endpoint_conditions_{condition}"] = value
    for member, label in (("hostname", "hostname"), ("nodeName", "node_name"), ("zone", "zone")):
        if value := text(endpoint, member):
            found[f"{slice_}_endpoint_{label}"] = value
    found |= attached_node(cluster, text(endpoint, "nodeName"))
    return found | pods.labels(reference, int(number or 0))


ROLES: Mapping[str, Role] = {
    "node": Role("nodes", "api/v1", False, node_group),
    "service": Role("services", "api/v1", True, service_group),
    "pod": Role("pods", "api/v1", True, pod_group),
    "ingress": Role("ingresses", "apis/networking.k8s.io/v1", True, ingress_group),
    "endpoints": Role("endpoints", "api/v1", True, endpoints_group, ("services", "pods")),
    "endpointslice": Role(
        "endpointslices",
        "apis/discovery.k8s.io/v1",
        True,
        endpointslice_group,
        ("services", "pods"),
    ),
}

SELECTED_BY: Mapping[str, str] = {role.resource: name for name, role in ROLES.items()}
"""The role whose selectors hold for a resource."""
