"""Discovery in Kubernetes, against a server that lists and watches as an API server does."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scrape.discovery.support import (
    PATIENCE,
    Reply,
    Request,
    Seen,
    around,
    http_server,
    labels_of,
    running,
)
from vedette.kit.http_settings import Authorization, HttpSettings, SecretSource
from vedette.kit.secrets import Secret
from vedette.scrape.discovery.groups import DiscoveryError
from vedette.scrape.discovery.kubernetes import KubernetesTargets, resources
from vedette.scrape.discovery.kubernetes_access import access_of
from vedette.scrape.discovery.settings import KubernetesDiscovery, KubernetesSelector

Object = dict[str, Any]


class ApiServer:
    """Objects by resource, and every change of them with its version.

    It forgets old changes when told, and ends watches when told.
    """

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[str, dict[str, Object]] = {}
        self.events: list[tuple[int, str, bytes]] = []
        self.forgotten = 0
        self.asked: list[Request] = []
        self.page = 500
        self.broken = 0
        self.round = 0
        self._news = asyncio.Condition()

    async def change(self, kind: str, resource: str, value: Object) -> None:
        """Add, modify or delete an object."""
        self.version += 1
        meta = value["metadata"]
        value = {**value, "metadata": {**meta, "resourceVersion": str(self.version)}}
        kept = self.objects.setdefault(resource, {})
        key = f"{meta.get('namespace', '')}/{meta['name']}"
        if kind == "DELETED":
            kept.pop(key)
        else:
            kept[key] = value
        await self._tell(resource, {"type": kind, "object": value})

    async def bookmark(self, resource: str) -> None:
        """Say which version is reached, without a change."""
        self.version += 1
        meta = {"resourceVersion": str(self.version)}
        await self._tell(resource, {"type": "BOOKMARK", "object": {"metadata": meta}})

    async def _tell(self, resource: str, event: Object) -> None:
        async with self._news:
            self.events.append((self.version, resource, json.dumps(event).encode() + b"\n"))
            self._news.notify_all()

    async def end_watches(self, *, forget: bool = False) -> None:
        """End every answer to a watch; ``forget`` all changes so far."""
        async with self._news:
            self.round += 1
            if forget:
                self.forgotten = self.version
            self._news.notify_all()

    async def asked_for(self, check: Callable[[Request], bool]) -> Request:
        """Wait for a request that ``check`` accepts."""
        async with asyncio.timeout(PATIENCE), self._news:
            while not (found := [request for request in self.asked if check(request)]):
                await self._news.wait()
            return found[0]

    async def serve(self, request: Request) -> Reply:
        """Answer one request."""
        async with self._news:
            self.asked.append(request)
            self._news.notify_all()
        if self.broken:
            self.broken -= 1
            return Reply(500)
        resource = request.path.rpartition("/")[2]
        if request.query.get("watch"):
            since = int(request.query["resourceVersion"])
            if since < self.forgotten:
                status = {"kind": "Status", "code": 410, "message": "too old"}
                event = {"type": "ERROR", "object": status}
                return Reply(body=json.dumps(event).encode() + b"\n")
            return Reply(parts=self._watch(resource, since, self.round))
        space = (
            request.path.split("/namespaces/")[1].split("/")[0]
            if "/namespaces/" in request.path
            else ""
        )
        items = [
            value
            for value in self.objects.get(resource, {}).values()
            if not space or value["metadata"].get("namespace") == space
        ]
        start = int(request.query.get("continue", "0"))
        end = start + min(self.page, int(request.query["limit"]))
        meta = {"resourceVersion": str(self.version)}
        if end < len(items):
            meta["continue"] = str(end)
        return Reply(body=json.dumps({"metadata": meta, "items": items[start:end]}).encode())

    async def _watch(self, resource: str, since: int, began: int) -> AsyncIterator[bytes]:
        while True:
            async with self._news:
                fresh = [e for e in self.events if e[0] > since and e[1] == resource]
                if not fresh and self.round == began:
                    await self._news.wait()
                    continue
            if not fresh:
                return
            for version, _, line in fresh:
                since = version
                # In two pieces, because lines do not keep to the bounds of packets.
                yield line[:10]
                yield line[10:]


def pod(name: str, ip: str = "10.0.0.1", namespace: str = "default", **annotations: str) -> Object:
    """Return a pod with one container that has two ports, and one that initialises."""
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "labels": {"app": "web", "a.b/c": "d"},
            "annotations": {key.replace("__", "/"): value for key, value in annotations.items()},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "rs", "controller": True}],
        },
        "spec": {
            "nodeName": "n1",
            "containers": [
                {
                    "name": "main",
                    "image": "web:1",
                    "ports": [
                        {"name": "http", "containerPort": 8080, "protocol": "TCP"},
                        {"name": "m", "containerPort": 9100},
                    ],
                }
            ],
            "initContainers": [{"name": "init", "image": "i:1"}],
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "hostIP": "192.168.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "containerID": "containerd://x"}],
        },
    }


NODE: Object = {
    "metadata": {"name": "n1", "labels": {"zone": "a"}},
    "spec": {"providerID": "p://1"},
    "status": {
        "addresses": [
            {"type": "Hostname", "address": "n1"},
            {"type": "InternalIP", "address": "192.168.0.1"},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
    },
}
SERVICE: Object = {
    "metadata": {"name": "web", "namespace": "default", "labels": {"tier": "front"}},
    "spec": {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.1",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    },
}
ENDPOINTS: Object = {
    "metadata": {"name": "web", "namespace": "default"},
    "subsets": [
        {
            "addresses": [
                {"ip": "10.0.0.1", "nodeName": "n1", "targetRef": {"kind": "Pod", "name": "p1"}}
            ],
            "notReadyAddresses": [{"ip": "10.0.0.9"}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
    ],
}
SLICE: Object = {
    "metadata": {
        "name": "web-abc",
        "namespace": "default",
        "labels": {"kubernetes.io/service-name": "web"},
    },
    "addressType": "IPv6",
    "endpoints": [
        {
            "addresses": ["fd00::1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "n1",
            "zone": "z",
            "targetRef": {"kind": "Pod", "name": "p1", "namespace": "default"},
        }
    ],
    "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}],
}
INGRESS: Object = {
    "metadata": {"name": "in", "namespace": "default"},
    "spec": {
        "ingressClassName": "nginx",
        "tls": [{"hosts": ["*.example.org"]}],
        "rules": [
            {"host": "a.example.org", "http": {"paths": [{"path": "/x"}, {"path": ""}]}},
            {"host": "example.org"},
        ],
    },
}


@asynccontextmanager
async def discovered(api: ApiServer, role: str, **changes: Any) -> AsyncIterator[Seen]:
    """Run the discovery of ``role`` against ``api``."""
    async with http_server(api.serve) as address:
        settings = KubernetesDiscovery(role, f"http://{address}", **changes)
        async with running(KubernetesTargets(settings, around(), {})) as seen:
            yield seen


async def test_a_pod_gives_one_target_a_port() -> None:
    """Labels are those that Prometheus' documentation names; names are made valid."""
    api = ApiServer()
    await api.change("ADDED", "pods", pod("p1", prometheus_io__scrape="true"))
    async with discovered(api, "pod") as seen:
        await seen.until(lambda: seen.groups)
    group = seen.groups["pod/default/p1"]
    assert seen.addresses() == ["10.0.0.1", "10.0.0.1:8080", "10.0.0.1:9100"]
    labels = labels_of(group)
    prefix = "__meta_kubernetes_"
    assert {name.removeprefix(prefix): value for name, value in labels.items()} == {
        "__address__": "10.0.0.1:8080",
        "namespace": "default",
        "pod_name": "p1",
        "pod_ip": "10.0.0.1",
        "pod_ready": "true",
        "pod_phase": "Running",
        "pod_node_name": "n1",
        "pod_host_ip": "192.168.0.1",
        "pod_uid": "uid-p1",
        "pod_controller_kind": "ReplicaSet",
        "pod_controller_name": "rs",
        "pod_label_app": "web",
        "pod_labelpresent_app": "true",
        "pod_label_a_b_c": "d",
        "pod_labelpresent_a_b_c": "true",
        "pod_annotation_prometheus_io_scrape": "true",
        "pod_annotationpresent_prometheus_io_scrape": "true",
        "pod_container_name": "main",
        "pod_container_id": "containerd://x",
        "pod_container_image": "web:1",
        "pod_container_init": "false",
        "pod_container_port_name": "http",
        "pod_container_port_number": "8080",
        "pod_container_port_protocol": "TCP",
    }


async def test_changes_are_followed() -> None:
    """What is added, modified and deleted shows, also after the server ended the watch."""
    api = ApiServer()
    await api.change("ADDED", "pods", pod("p1"))
    async with discovered(api, "pod") as seen:
        await seen.until(lambda: seen.groups)
        await api.change("ADDED", "pods", pod("p2", "10.0.0.2"))
        await seen.until(lambda: "10.0.0.2:8080" in seen.addresses())
        await api.change("MODIFIED", "pods", pod("p2", "10.0.0.3"))
        await seen.until(lambda: "10.0.0.3:8080" in seen.addresses())
        assert "10.0.0.2:8080" not in seen.addresses()
        await api.end_watches()
        await api.change("DELETED", "pods", pod("p1"))
        await seen.until(lambda: "10.0.0.1:8080" not in seen.addresses())
    lists = [request for request in api.asked if not request.query.get("watch")]
    assert len(lists) == 1


async def test_a_forgotten_version_leads_to_a_new_list() -> None:
    """410 Gone costs one list; what vanished meanwhile is gone, what stayed is not told again."""
    api = ApiServer()
    await api.change("ADDED", "pods", pod("p1"))
    await api.change("ADDED", "pods", pod("p2", "10.0.0.2"))
    async with discovered(api, "pod") as seen:
        await seen.until(lambda: len(seen.groups) == 2)
        api.objects["pods"].pop("default/p1")
        api.version += 10
        await api.end_watches(forget=True)
        await seen.until(lambda: list(seen.groups) == ["pod/default/p2"])
        assert seen.times == 2


async def test_a_bookmark_moves_the_version_on() -> None:
    """A watch begins again where the latest bookmark stood."""
    api = ApiServer()
    await api.change("ADDED", "pods", pod("p1"))
    async with discovered(api, "pod") as seen:
        await seen.until(lambda: seen.groups)
        await api.asked_for(lambda r: "watch" in r.query)
        await api.bookmark("pods")
        await api.end_watches()
        again = await api.asked_for(lambda r: r.query.get("resourceVersion") == str(api.version))
    assert again.query["allowWatchBookmarks"] == "true"
    assert seen.times == 1


async def test_pages_and_failures() -> None:
    """A long list comes in pages; a server that fails is asked again, and the failure counted."""
    api = ApiServer()
    api.page, api.broken = 2, 2
    for i in range(5):
        await api.change("ADDED", "pods", pod(f"p{i}", f"10.0.1.{i}"))
    async with http_server(api.serve) as address:
        settings = KubernetesDiscovery("pod", f"http://{address}")
        surroundings = around()
        async with running(KubernetesTargets(settings, surroundings, {})) as seen:
            await seen.until(lambda: len(seen.groups) == 5)
    assert surroundings.stats.failures["kubernetes_sd", "status"] == 2


async def test_nodes_services_and_ingresses() -> None:
    """Each of them gives the targets and labels of its role."""
    api = ApiServer()
    await api.change("ADDED", "nodes", NODE)
    await api.change("ADDED", "services", SERVICE)
    await api.change("ADDED", "ingresses", INGRESS)
    async with discovered(api, "node") as seen:
        await seen.until(lambda: seen.groups)
        node = labels_of(seen.groups["node/n1"])
    assert (node["__address__"], node["instance"]) == ("192.168.0.1:10250", "n1")
    assert node["__meta_kubernetes_node_label_zone"] == "a"
    assert node["__meta_kubernetes_node_address_InternalIP"] == "192.168.0.1"
    async with discovered(api, "service") as seen:
        await seen.until(lambda: seen.groups)
        service = labels_of(seen.groups["svc/default/web"])
    assert service["__address__"] == "web.default.svc:80"
    assert service["__meta_kubernetes_service_cluster_ip"] == "10.96.0.1"
    async with discovered(api, "ingress") as seen:
        await seen.until(lambda: seen.groups)
        group = seen.groups["ingress/default/in"]
    wanted = ("ingress_scheme", "ingress_host", "ingress_path")
    assert [
        tuple(labels_of(group, i)[f"__meta_kubernetes_{name}"] for name in wanted) for i in range(3)
    ] == [
        ("https", "a.example.org", "/x"),
        ("https", "a.example.org", "/"),
        ("http", "example.org", "/"),
    ]


@pytest.mark.parametrize(
    ("role", "resource", "value", "address"),
    [
        ("endpoints", "endpoints", ENDPOINTS, "10.0.0.1:8080"),
        ("endpointslice", "endpointslices", SLICE, "[fd00::1]:8080"),
    ],
)
async def test_endpoints_know_their_service_pods_and_nodes(
    role: str, resource: str, value: Object, address: str
) -> None:
    """A target has labels of all of them, changes with them, and brings undeclared ports along."""
    api = ApiServer()
    await api.change("ADDED", resource, value)
    await api.change("ADDED", "services", SERVICE)
    await api.change("ADDED", "pods", pod("p1"))
    await api.change("ADDED", "nodes", NODE)
    await api.change("ADDED", "namespaces", {"metadata": {"name": "default", "labels": {"x": "y"}}})
    async with discovered(api, role, attach_node=True, attach_namespace=True) as seen:
        await seen.until(lambda: seen.groups)
        (group,) = seen.groups.values()
        labels = labels_of(group)
        assert labels["__address__"] == address
        assert labels["__meta_kubernetes_service_label_tier"] == "front"
        assert labels["__meta_kubernetes_pod_container_port_name"] == "http"
        assert labels["__meta_kubernetes_node_label_zone"] == "a"
        assert labels["__meta_kubernetes_namespace_label_x"] == "y"
        assert "10.0.0.1:9100" in seen.addresses()
        changed = pod("p1")
        changed["metadata"]["labels"] = {"app": "other"}
        await api.change("MODIFIED", "pods", changed)
        label = "__meta_kubernetes_pod_label_app"
        (source,) = seen.groups
        await seen.until(lambda: labels_of(seen.groups[source])[label] == "other")


async def test_credentials_namespaces_and_selectors_are_sent() -> None:
    """Only what is asked for is listed, with the token."""
    api = ApiServer()
    await api.change("ADDED", "pods", pod("p1", namespace="a"))
    await api.change("ADDED", "pods", pod("p2", namespace="b"))
    token = Authorization("Bearer", SecretSource(Secret("t0ken")))
    async with discovered(
        api,
        "pod",
        http=HttpSettings(authorization=token),
        namespaces=("a",),
        selectors=(KubernetesSelector("pod", "app=web", "spec.nodeName=n1"),),
    ) as seen:
        await seen.until(lambda: seen.groups)
        assert list(seen.groups) == ["pod/a/p1"]
    request = api.asked[0]
    assert request.path == "/api/v1/namespaces/a/pods"
    assert request.headers["authorization"] == "bearer t0ken"
    assert request.query["labelSelector"] == "app=web"
    assert request.query["fieldSelector"] == "spec.nodeName=n1"


def test_the_own_namespace_is_added() -> None:
    """``own_namespace`` means that of the pod in which Vedette runs."""
    settings = KubernetesDiscovery("endpoints", namespaces=("a",), own_namespace=True)
    assert [(r.name, r.namespace) for r in resources(settings, "mine")] == [
        ("endpoints", "a"),
        ("endpoints", "mine"),
        ("services", "a"),
        ("services", "mine"),
        ("pods", "a"),
        ("pods", "mine"),
    ]


def test_access_from_inside_a_pod(tmp_path: Path) -> None:
    """Address of the environment, token and authority of the service account."""
    (tmp_path / "namespace").write_text("mine\n")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    access = access_of(KubernetesDiscovery("pod"), environment, tmp_path)
    assert (access.url, access.namespace) == ("https://[fd00::1]:6443", "mine")
    assert access.http.tls.ca_file == str(tmp_path / "ca.crt")
    with pytest.raises(DiscoveryError, match="no pod of a cluster"):
        access_of(KubernetesDiscovery("pod"), {}, tmp_path)


def test_access_by_a_kubeconfig(tmp_path: Path) -> None:
    """The current context names server, credentials and namespace."""
    pem = base64.b64encode(b"PEM").decode()
    (tmp_path / "config").write_text(
        f"""
current-context: c
contexts: [{{name: c, context: {{cluster: k, user: u, namespace: ns}}}}]
clusters: [{{name: k, cluster: {{server: 'https://k:6443/', certificate-authority-data: {pem}}}}}]
users: [{{name: u, user: {{token: secret, client-key: key.pem, client-certificate: c.pem}}}}]
"""
    )
    settings = KubernetesDiscovery("pod", kubeconfig_file=str(tmp_path / "config"))
    access = access_of(settings, {})
    assert (access.url, access.namespace) == ("https://k:6443", "ns")
    assert access.http.tls.ca == "PEM"
    assert access.http.tls.key_file == str(tmp_path / "key.pem")
    assert access.http.authorization is not None
    assert access.http.authorization.credentials.read() == "secret"
    (tmp_path / "config").write_text("[]")
    with pytest.raises(DiscoveryError, match="no kubeconfig"):
        access_of(settings, {})
