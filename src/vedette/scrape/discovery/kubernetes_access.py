"""How to reach a Kubernetes API server: as configured, by a kubeconfig, or from inside a pod."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from vedette.kit.http_settings import (
    Authorization,
    BasicAuth,
    HttpSettings,
    ProxySettings,
    SecretSource,
    TlsSettings,
)
from vedette.kit.secrets import Secret
from vedette.scrape.discovery.groups import DiscoveryError
from vedette.scrape.discovery.kubernetes_objects import Json, inner, items, text
from vedette.scrape.discovery.settings import KubernetesDiscovery

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Access:
    """The address of the API server, how to talk to it, and Vedette's own namespace ("")."""

    url: str
    http: HttpSettings
    namespace: str = ""


def access_of(
    settings: KubernetesDiscovery, environment: Mapping[str, str], account: Path = ACCOUNT
) -> Access:
    """Return how to reach the API server that ``settings`` mean. Reads files.

    Raises:
        DiscoveryError: it is not known how.
    """
    if settings.api_server:
        return Access(settings.api_server, settings.http, _own_namespace(account))
    if settings.kubeconfig_file:
        return _of_kubeconfig(Path(settings.kubeconfig_file))
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise DiscoveryError(
            "access",
            "this is no pod of a cluster; give api_server or kubeconfig_file",
        )
    host = f"[{host}]" if ":" in host else host
    token = Authorization("Bearer", SecretSource(file=str(account / "token")))
    http = HttpSettings(authorization=token, tls=TlsSettings(ca_file=str(account / "ca.crt")))
    return Access(f"https://{host}:{port}", http, _own_namespace(account))


def _own_namespace(account: Path) -> str:
    try:
        return (account / "namespace").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _of_kubeconfig(path: Path) -> Access:
    try:
        found: object = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DiscoveryError("access", f"{path} cannot be read: {error}") from None
    if not isinstance(found, Mapping):
        raise DiscoveryError("access", f"{path} is no kubeconfig")
    config: Json = found
    context = inner(_named(config, "contexts", text(config, "current-context")), "context")
    cluster = inner(_named(config, "clusters", text(context, "cluster")), "cluster")
    user = inner(_named(config, "users", text(context, "user")), "user")
    url = text(cluster, "server")
    if not url:
        raise DiscoveryError("access", f"{path}: the current context names no server")
    if "exec" in user or "auth-provider" in user:
        message = f"{path}: credentials by a command or provider are not supported; use a token"
        raise DiscoveryError("access", message)
    return Access(url.rstrip("/"), _http(cluster, user, path.parent), text(context, "namespace"))


def _named(config: Json, member: str, name: str) -> Json:
    return next((each for each in items(config, member) if text(each, "name") == name), {})


def _http(cluster: Json, user: Json, base: Path) -> HttpSettings:
    key = _decoded(user, "client-key-data")
    tls = TlsSettings(
        ca=_decoded(cluster, "certificate-authority-data"),
        ca_file=_file(cluster, "certificate-authority", base),
        cert=_decoded(user, "client-certificate-data"),
        cert_file=_file(user, "client-certificate", base),
        key=Secret(key) if key else None,
        key_file=_file(user, "client-key", base),
        server_name=text(cluster, "tls-server-name"),
        insecure_skip_verify=text(cluster, "insecure-skip-tls-verify") == "true",
    )
    proxy = text(cluster, "proxy-url")
    token, token_file = text(user, "token"), _file(user, "tokenFile", base)
    credentials = SecretSource(Secret(token) if token else None, "" if token else token_file)
    password = SecretSource(Secret(text(user, "password")))
    name = text(user, "username")
    return HttpSettings(
        basic_auth=BasicAuth(SecretSource(Secret(name)), password) if name else None,
        authorization=Authorization("Bearer", credentials) if credentials else None,
        tls=tls,
        proxy=ProxySettings(Secret(proxy) if proxy else None),
    )


def _file(value: Json, name: str, base: Path) -> str:
    given = text(value, name)
    return str(base / given) if given else ""


def _decoded(value: Json, name: str) -> str:
    try:
        return base64.b64decode(text(value, name), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise DiscoveryError("access", f"{name} of the kubeconfig is not base64") from None
