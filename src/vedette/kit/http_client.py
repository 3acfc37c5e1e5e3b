"""HTTP clients as :mod:`vedette.kit.http_settings` describes them: credentials, TLS, proxies.

Connections are kept per settings. A client whose TLS files have changed on disk is made anew.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from vedette.kit.clock import Clock, SystemClock
from vedette.kit.http_direct import DirectTransport
from vedette.kit.http_settings import HttpSettings, OAuth2, ProxySettings, TlsSettings

_MAX_REDIRECTS = 10
_TOKEN_SPARE_SECONDS = 10.0
_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_ORIGIN = "vedette_origin"
_PRIVATE = "vedette_private"


class CredentialsError(Exception):
    """Credentials, certificates or a proxy cannot be used; the message holds no secret."""


@dataclass(slots=True)
class _Token:
    text: str = field(repr=False)
    until: float


class HttpClients:
    """Clients by settings; ``transport`` replaces the network in tests."""

    def __init__(
        self,
        user_agent: str,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._user_agent = user_agent
        self._transport = transport
        self._clock = clock or SystemClock()
        self._environment = os.environ if environment is None else environment
        self._clients: dict[tuple[TlsSettings, ProxySettings, str], _Client] = {}
        self._tokens: dict[OAuth2, _Token] = {}

    @asynccontextmanager
    async def stream(
        self,
        settings: HttpSettings,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        content: bytes | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and yield the answer, whose body is not read yet.

        There is no time-out but the caller's. Credentials go to the host of ``url`` only, also
        when it redirects elsewhere.

        Raises:
            CredentialsError: a file cannot be read, or a token was not given.
            httpx.HTTPError, httpx.InvalidURL: the exchange failed.
        """
        own = await self._credentials(settings)
        client = self._client(settings.tls, settings.proxy, url)
        origin = _origin(httpx.URL(url))
        extensions: dict[str, object] = {_ORIGIN: origin, _PRIVATE: tuple(own)}
        if settings.tls.server_name:
            extensions["sni_hostname"] = settings.tls.server_name
        request = client.stream(
            method,
            url,
            headers=[*(headers or {}).items(), *((n, v) for n, vs in own.items() for v in vs)],
            content=content,
            follow_redirects=settings.follow_redirects,
            extensions=extensions,
        )
        async with request as response:
            yield response

    async def aclose(self) -> None:
        """Close all connections."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.http.aclose()

    async def _credentials(self, settings: HttpSettings) -> dict[str, list[str]]:
        """Return the headers that must go to no other host."""
        found: dict[str, list[str]] = {}
        try:
            for name, sources in settings.headers:
                found[name] = [source.read() for source in sources]
            if settings.basic_auth is not None:
                basic = settings.basic_auth
                pair = f"{basic.username.read()}:{basic.password.read()}"
                found["Authorization"] = [f"Basic {base64.b64encode(pair.encode()).decode()}"]
            if settings.authorization is not None:
                given = settings.authorization
                if secret := given.credentials.read():
                    found["Authorization"] = [f"{given.type} {secret}"]
            if settings.oauth2 is not None:
                found["Authorization"] = [f"Bearer {await self._token(settings.oauth2)}"]
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsError(f"a file with credentials cannot be read: {error}") from None
        for values in found.values():
            if any("\n" in value or "\r" in value for value in values):
                raise CredentialsError("credentials with a line break cannot be sent")
        return found

    async def _token(self, oauth2: OAuth2) -> str:
        known = self._tokens.get(oauth2)
        if known is not None and self._clock.monotonic() < known.until:
            return known.text
        form = {
            "grant_type": "client_credentials",
            **({"scope": " ".join(oauth2.scopes)} if oauth2.scopes else {}),
            **dict(oauth2.endpoint_params),
        }
        client = self._client(oauth2.tls, oauth2.proxy, oauth2.token_url)
        answer = await client.post(
            oauth2.token_url, data=form, auth=(oauth2.client_id, oauth2.client_secret.read())
        )
        try:
            token = answer.json()["access_token"] if answer.is_success else None
            seconds = float(answer.json().get("expires_in", 3600)) if token else 0.0
        except (ValueError, KeyError, TypeError, AttributeError):
            token = None
        if not isinstance(token, str):
            raise CredentialsError(f"the token endpoint answered {answer.status_code} and no token")
        until = self._clock.monotonic() + max(seconds - _TOKEN_SPARE_SECONDS, 0.0)
        self._tokens[oauth2] = _Token(token, until)
        return token

    def _client(self, tls: TlsSettings, proxy: ProxySettings, url: str) -> httpx.AsyncClient:
        through = proxy_of(proxy, url, self._environment)
        key = (tls, proxy, through)
        try:
            stamp = tuple(Path(name).stat().st_mtime_ns for name in tls.files)
            known = self._clients.get(key)
            if known is None or known.stamp != stamp:
                # One that is replaced closes its connections when the last answer has been read.
                known = self._clients[key] = _Client(stamp, self._make(tls, proxy, through))
        except (OSError, ssl.SSLError) as error:
            message = f"the TLS files cannot be used: {error}"
            raise CredentialsError(message) from None
        except ValueError as error:
            raise CredentialsError(f"TLS or the proxy cannot be used: {error}") from None
        return known.http

    def _make(self, tls: TlsSettings, proxy: ProxySettings, through: str) -> httpx.AsyncClient:
        headers = [(name, secret.reveal()) for name, secret in proxy.connect_headers]
        given = httpx.Proxy(through, headers=headers) if through else None
        limits = httpx.Limits(max_connections=None, keepalive_expiry=120.0)
        transport = self._transport
        if transport is None and given is None:
            context = context_of(tls)
            others = httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)
            transport = DirectTransport(context, others)
        return httpx.AsyncClient(
            headers={"User-Agent": self._user_agent},
            limits=limits,
            timeout=None,  # noqa: S113 - the caller bounds the whole exchange
            trust_env=False,
            max_redirects=_MAX_REDIRECTS,
            verify=True if transport else context_of(tls),
            proxy=given if transport is None else None,
            transport=transport,
            event_hooks={"request": [_keep_private]},
        )


@dataclass(frozen=True, slots=True)
class _Client:
    stamp: tuple[int, ...]
    http: httpx.AsyncClient


async def _keep_private(request: httpx.Request) -> None:
    # A redirect to another host must not carry what was meant for the first one.
    if request.extensions.get(_ORIGIN, "") not in ("", _origin(request.url)):
        for name in request.extensions.get(_PRIVATE, ()):
            request.headers.pop(name, None)


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.host}:{url.port}"


def context_of(tls: TlsSettings) -> ssl.SSLContext:
    """Return what verifies servers and shows our certificate.

    Raises:
        OSError, ssl.SSLError: a file cannot be read or holds no certificate or key.
    """
    if tls.ca or tls.ca_file:
        context = ssl.create_default_context(cafile=tls.ca_file or None, cadata=tls.ca or None)
    else:
        context = ssl.create_default_context()
    if tls.cert or tls.cert_file:
        _load_own(context, tls)
    if tls.min_version:
        context.minimum_version = _VERSIONS[tls.min_version]
    if tls.max_version:
        context.maximum_version = _VERSIONS[tls.max_version]
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_own(context: ssl.SSLContext, tls: TlsSettings) -> None:
    # The ssl module reads certificates from files only; a folder of mode 0700 holds them meanwhile.
    with tempfile.TemporaryDirectory() as folder:
        cert, key = tls.cert_file, tls.key_file
        if tls.cert:
            cert = str(Path(folder) / "cert.pem")
            Path(cert).write_text(tls.cert)
        if tls.key is not None:
            key = str(Path(folder) / "key.pem")
            Path(key).write_text(tls.key.reveal())
        context.load_cert_chain(cert, key)


def proxy_of(settings: ProxySettings, url: str, environment: Mapping[str, str]) -> str:
    """Return the address of the proxy for ``url``, or "".

    ``no_proxy`` and the variables of the environment mean what they mean to Go's ``httpproxy``.
    """
    if settings.url is not None:
        direct = bool(settings.no_proxy) and is_direct(url, settings.no_proxy)
        return "" if direct else settings.url.reveal()
    if not settings.from_environment:
        return ""
    name = "https_proxy" if url.startswith("https:") else "http_proxy"
    proxy = environment.get(name.upper()) or environment.get(name, "")
    direct = is_direct(url, environment.get("NO_PROXY") or environment.get("no_proxy", ""))
    if not proxy or direct:
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def is_direct(url: str, no_proxy: str) -> bool:
    """Return whether ``url`` is reached without a proxy; loopback always is."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".").lower()
    port = str(parts.port or (443 if parts.scheme == "https" else 80))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    entries = (entry.strip().lower() for entry in no_proxy.split(","))
    return any(_matches(entry, host, port, address) for entry in entries if entry)


def _matches(
    entry: str,
    host: str,
    port: str,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None,
) -> bool:
    if entry == "*":
        return True
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    else:
        return address is not None and address in network
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal():
        entry = name
        if number != port:
            return False
    entry = entry.removeprefix("*")
    if entry.startswith("."):
        return host.endswith(entry)
    return host == entry or host.endswith(f".{entry}")
