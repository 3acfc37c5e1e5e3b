"""How an HTTP client behaves: the settings that Prometheus shares between scrapes and discovery.

Documentation: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#http_config

Only files' names are kept where a secret is in a file: a file is read anew for each request, so
that a token that changes on disk is used without a reload.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vedette.kit.secrets import Secret
from vedette.kit.yamlpos import Section

TLS_VERSIONS = ("TLS10", "TLS11", "TLS12", "TLS13")
_OWN_HEADERS = frozenset(
    {
        "authorization", "host", "content-encoding", "content-length", "content-type",
        "user-agent", "connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "www-authenticate", "accept-encoding", "x-prometheus-remote-write-version",
        "x-prometheus-remote-read-version", "x-prometheus-scrape-timeout-seconds",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SecretSource:
    """A secret, or the file that holds it; both empty: there is none."""

    value: Secret | None = None
    file: str = ""

    def __bool__(self) -> bool:
        return self.value is not None or bool(self.file)

    def read(self) -> str:
        """Return the secret; raises ``OSError`` or ``UnicodeDecodeError`` for its file."""
        if self.value is not None:
            return self.value.reveal()
        return Path(self.file).read_text("utf-8").strip() if self.file else ""


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """User name and password."""

    username: SecretSource
    password: SecretSource


@dataclass(frozen=True, slots=True)
class Authorization:
    """The header ``Authorization: <type> <credentials>``."""

    type: str
    credentials: SecretSource


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS of a client; ``ca``, ``cert`` and ``key`` are PEM texts, the others name files."""

    ca: str = ""
    ca_file: str = ""
    cert: str = ""
    cert_file: str = ""
    key: Secret | None = None
    key_file: str = ""
    server_name: str = ""
    insecure_skip_verify: bool = False
    min_version: str = ""
    max_version: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it names."""
        return tuple(filter(None, (self.ca_file, self.cert_file, self.key_file)))


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Which proxy to use; ``url`` may hold a password."""

    url: Secret | None = None
    no_proxy: str = ""
    from_environment: bool = False
    connect_headers: tuple[tuple[str, Secret], ...] = ()


@dataclass(frozen=True, slots=True)
class OAuth2:
    """Client credentials that are exchanged for a token at ``token_url``."""

    client_id: str
    client_secret: SecretSource
    token_url: str
    scopes: tuple[str, ...] = ()
    endpoint_params: tuple[tuple[str, str], ...] = ()
    tls: TlsSettings = TlsSettings()
    proxy: ProxySettings = ProxySettings()


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """An HTTP client's settings, with Prometheus' defaults."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    oauth2: OAuth2 | None = None
    tls: TlsSettings = TlsSettings()
    proxy: ProxySettings = ProxySettings()
    follow_redirects: bool = True
    headers: tuple[tuple[str, tuple[SecretSource, ...]], ...] = ()


PLAIN = HttpSettings()
"""No credentials, the system's certificates, no proxy."""


def read_http_settings(section: Section, base: Path) -> HttpSettings:
    """Return the settings that stand in ``section`` beside other keys.

    Files are looked up from ``base``. Faults are noted in the section; unknown keys are left to it.
    """
    basic, authorization = _basic_auth(section, base), _authorization(section, base)
    oauth2 = _oauth2(section, base)
    if sum(each is not None for each in (basic, authorization, oauth2)) > 1:
        message = "only one of basic_auth, authorization, bearer_token and oauth2 can be used"
        section.faults.append(section.node.fault(message, "remove the others"))
    # There is one version of HTTP here; both words are understood.
    section.boolean("enable_http2", True)
    return HttpSettings(
        basic,
        authorization,
        oauth2,
        read_tls(section, base),
        read_proxy(section),
        section.boolean("follow_redirects", True),
        _headers(section, base),
    )


def in_folder(base: Path, name: str) -> str:
    """Return ``name`` as a path that starts at ``base``, or "" for ""."""
    return str(base / name) if name else ""


def read_source(section: Section, key: str, base: Path) -> SecretSource:
    """Return the secret at ``key`` or ``<key>_file``, of which one at most may be there."""
    value, file = section.scalar(key), section.text(f"{key}_file")
    if value is not None and file:
        section.fault(key, f'"{key}" and "{key}_file" stand beside each other', "keep one")
    return SecretSource(Secret(value.text) if value is not None else None, in_folder(base, file))


def _basic_auth(section: Section, base: Path) -> BasicAuth | None:
    inner = section.section("basic_auth")
    if inner is None:
        return None
    found = BasicAuth(read_source(inner, "username", base), read_source(inner, "password", base))
    inner.done()
    return found


def _authorization(section: Section, base: Path) -> Authorization | None:
    inner = section.section("authorization")
    bearer = read_source(section, "bearer_token", base)
    if inner is None:
        return Authorization("Bearer", bearer) if bearer else None
    if bearer:
        section.fault("bearer_token", "bearer_token and authorization stand beside each other")
    found = Authorization(inner.text("type", "Bearer"), read_source(inner, "credentials", base))
    if found.type.lower() == "basic":
        inner.fault("type", "authorization cannot be of the type Basic", 'use "basic_auth"')
    inner.done()
    return found


def _oauth2(section: Section, base: Path) -> OAuth2 | None:
    inner = section.section("oauth2")
    if inner is None:
        return None
    inner.require("client_id")
    inner.require("token_url")
    found = OAuth2(
        inner.text("client_id"),
        read_source(inner, "client_secret", base),
        read_url(inner, "token_url"),
        inner.texts("scopes"),
        tuple((name.text, value.text) for name, value in inner.pairs("endpoint_params")),
        read_tls(inner, base),
        read_proxy(inner),
    )
    inner.done()
    return found


def read_tls(section: Section, base: Path) -> TlsSettings:
    """Return what stands at ``tls_config``."""
    inner = section.section("tls_config")
    if inner is None:
        return TlsSettings()
    key = inner.scalar("key")
    tls = TlsSettings(
        inner.text("ca"),
        in_folder(base, inner.text("ca_file")),
        inner.text("cert"),
        in_folder(base, inner.text("cert_file")),
        None if key is None else Secret(key.text),
        in_folder(base, inner.text("key_file")),
        inner.text("server_name"),
        inner.boolean("insecure_skip_verify", False),
        inner.text("min_version"),
        inner.text("max_version"),
    )
    for name, version in (("min_version", tls.min_version), ("max_version", tls.max_version)):
        if version and version not in TLS_VERSIONS:
            fix = f"one of {', '.join(TLS_VERSIONS)}"
            inner.fault(name, f'unknown version of TLS "{version}"', fix)
    if bool(tls.cert or tls.cert_file) != bool(tls.key or tls.key_file):
        message = "a client certificate needs both cert and key"
        inner.faults.append(inner.node.fault(message, "give cert_file and key_file"))
    for name in ("ca", "cert", "key"):
        if inner.has(name) and inner.has(f"{name}_file"):
            inner.fault(name, f'"{name}" and "{name}_file" stand beside each other', "keep one")
    inner.done()
    return tls


def read_proxy(section: Section) -> ProxySettings:
    """Return ``proxy_url``, ``no_proxy``, ``proxy_from_environment`` and their headers."""
    url = section.text("proxy_url")
    if url and urlsplit(url).scheme not in ("http", "https"):
        section.fault("proxy_url", "only proxies of http and https are supported")
    proxy = ProxySettings(
        Secret(url) if url else None,
        section.text("no_proxy"),
        section.boolean("proxy_from_environment", False),
        tuple(_connect_headers(section)),
    )
    if proxy.from_environment and (url or proxy.no_proxy):
        message = "proxy_from_environment cannot stand beside proxy_url or no_proxy"
        section.fault("proxy_from_environment", message, "keep one")
    if proxy.no_proxy and not url:
        section.fault("no_proxy", "no_proxy needs a proxy_url")
    return proxy


def _connect_headers(section: Section) -> Iterator[tuple[str, Secret]]:
    node = section.value("proxy_connect_header")
    if node is None:
        return
    inner = Section(node, section.faults, "proxy_connect_header")
    for key, _ in node.members:
        for value in inner.texts(key.text):
            yield key.text, Secret(value)


def _headers(section: Section, base: Path) -> tuple[tuple[str, tuple[SecretSource, ...]], ...]:
    inner = section.section("http_headers")
    if inner is None:
        return ()
    found = []
    for key, node in inner.node.members:
        if key.text.lower() in _OWN_HEADERS:
            section.faults.append(key.fault(f'the header "{key.text}" is set by the client itself'))
        header = Section(node, section.faults, "a header")
        sources = [
            *(SecretSource(Secret(text)) for text in header.texts("values")),
            *(SecretSource(Secret(text)) for text in header.texts("secrets")),
            *(SecretSource(file=in_folder(base, name)) for name in header.texts("files")),
        ]
        header.done()
        found.append((key.text, tuple(sources)))
    return tuple(found)


def read_url(section: Section, key: str) -> str:
    """Return the address at ``key``; a fault is noted unless it begins with http or https."""
    url = section.text(key)
    if url and not _is_http(url):
        section.fault(key, f'"{key}" must be an address of http or https with a host')
    return url


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def secret_files(settings: HttpSettings) -> Iterable[str]:
    """Yield the files that ``settings`` names."""
    yield from settings.tls.files
    sources: list[SecretSource] = []
    if settings.basic_auth:
        sources += [settings.basic_auth.username, settings.basic_auth.password]
    if settings.authorization:
        sources.append(settings.authorization.credentials)
    if settings.oauth2:
        sources.append(settings.oauth2.client_secret)
        yield from settings.oauth2.tls.files
    for _, values in settings.headers:
        sources += values
    yield from (source.file for source in sources if source.file)
