"""Who may do what: checked once, in front of every endpoint.

Reads are open while the server listens on loopback only. Every write but ingest needs the admin
token, or the session cookie that the login link gives. Ingest keys belong to applications. A web
page anywhere can make a browser send requests to loopback, so Host and Origin are checked on every
request and WebSocket.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b, sha256
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from vedette.kit.clock import Clock
from vedette.web.errors import ApiError
from vedette.web.http import Scope, headers_of

COOKIE = "vedette_session"
SESSION_MS = 7 * 86_400_000
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Right(StrEnum):
    """What an endpoint asks of its caller."""

    OPEN = "open"
    READ = "read"
    INGEST = "ingest"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint and the right that it needs; ``{name}`` stands for one path segment or more."""

    methods: frozenset[str]
    path: str
    right: Right


def _endpoint(methods: str, path: str, right: Right) -> Endpoint:
    return Endpoint(frozenset(methods.split()), path, right)


# Every endpoint there is. A request that matches none of them is answered 404 before any code of
# a room runs; a house test holds this table against the routes.
ENDPOINTS = (
    _endpoint("GET", "/-/healthy", Right.OPEN),
    _endpoint("GET", "/-/ready", Right.OPEN),
    _endpoint("POST PUT", "/-/reload", Right.ADMIN),
    _endpoint("GET", "/login", Right.OPEN),
    _endpoint("GET", "/favicon.ico", Right.OPEN),
    _endpoint("GET", "/static/{path}", Right.OPEN),
    _endpoint("GET", "/", Right.READ),
    _endpoint("GET", "/dashboard", Right.READ),
    _endpoint("GET", "/metrics", Right.READ),
    _endpoint("GET", "/federate", Right.READ),
    _endpoint("GET POST", "/api/v1/query", Right.READ),
    _endpoint("GET POST", "/api/v1/query_range", Right.READ),
    _endpoint("GET POST", "/api/v1/query_exemplars", Right.READ),
    _endpoint("GET POST", "/api/v1/format_query", Right.READ),
    _endpoint("GET POST", "/api/v1/parse_query", Right.READ),
    _endpoint("GET POST", "/api/v1/series", Right.READ),
    _endpoint("GET POST", "/api/v1/labels", Right.READ),
    _endpoint("GET", "/api/v1/label/{name}/values", Right.READ),
    _endpoint("GET", "/api/v1/metadata", Right.READ),
    _endpoint("GET", "/api/v1/targets", Right.READ),
    _endpoint("GET", "/api/v1/targets/metadata", Right.READ),
    _endpoint("GET", "/api/v1/scrape_pools", Right.READ),
    _endpoint("GET", "/api/v1/rules", Right.READ),
    _endpoint("GET", "/api/v1/alerts", Right.READ),
    _endpoint("GET", "/api/v1/alertmanagers", Right.READ),
    _endpoint("GET", "/api/v1/status/config", Right.READ),
    _endpoint("GET", "/api/v1/status/flags", Right.READ),
    _endpoint("GET", "/api/v1/status/runtimeinfo", Right.READ),
    _endpoint("GET", "/api/v1/status/buildinfo", Right.READ),
    _endpoint("GET", "/api/v1/status/tsdb", Right.READ),
    _endpoint("GET", "/api/v1/status/walreplay", Right.READ),
    _endpoint("GET", "/api/v1/features", Right.READ),
    _endpoint("GET", "/api/v1/notifications", Right.READ),
    _endpoint("POST PUT", "/api/v1/admin/tsdb/delete_series", Right.ADMIN),
    _endpoint("POST PUT", "/api/v1/admin/tsdb/clean_tombstones", Right.ADMIN),
    _endpoint("POST PUT", "/api/v1/admin/tsdb/snapshot", Right.ADMIN),
    _endpoint("POST", "/api/snapshots", Right.ADMIN),
    _endpoint("POST", "/api/v1/read", Right.READ),
    _endpoint("POST", "/api/v1/write", Right.INGEST),
    _endpoint("POST", "/v1/metrics", Right.INGEST),
    _endpoint("PUT POST DELETE", "/metrics/{grouping}", Right.INGEST),
    _endpoint("POST", "/api/v1/import/prometheus", Right.INGEST),
    _endpoint("GET", "/api/v1/metrics", Right.READ),
    _endpoint("PUT", "/api/v1/admin/wipe", Right.ADMIN),
    _endpoint("POST", "/api/v1/otlp/v1/metrics", Right.INGEST),
    _endpoint("POST", "/api/events", Right.INGEST),
    _endpoint("GET", "/api/events", Right.READ),
    _endpoint("GET", "/api/events/count", Right.READ),
    _endpoint("GET", "/api/dashboards/operational", Right.READ),
    _endpoint("WEBSOCKET", "/api/dashboard/ws", Right.READ),
)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(path)))


_PATTERNS = [(_pattern(e.path), e) for e in ENDPOINTS if "{" in e.path]
_EXACT: dict[str, list[Endpoint]] = {}
for _listed in ENDPOINTS:
    _EXACT.setdefault(_listed.path, []).append(_listed)


def find_endpoints(path: str) -> list[Endpoint]:
    """Return the endpoints at ``path``, one for each set of methods."""
    return _EXACT.get(path) or [e for pattern, e in _PATTERNS if pattern.fullmatch(path)]


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """What the guard is told.

    Attributes:
        admin_token: the secret that grants everything.
        hosts: host names under which the server may be addressed, besides loopback's.
        ingest_keys: from key to application; empty: ingest from loopback needs no key.
        loopback_only: whether the server listens on loopback only; then reads are open.
        secure_cookie: whether browsers reach the server by https only.
        cors_origins: origins in lower case whose pages may read.
    """

    admin_token: str = field(repr=False)
    hosts: frozenset[str] = frozenset()
    ingest_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    loopback_only: bool = True
    secure_cookie: bool = False
    cors_origins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: ``app`` is set where an ingest key named it; ``address`` is the client's."""

    admin: bool = False
    app: str = ""
    address: str = ""

    @property
    def who(self) -> str:
        """The caller as the query log names it."""
        name = "admin" if self.admin else self.app
        return f"{name}@{self.address}" if name else self.address


class Guard:
    """Decides on requests; holds no state but its settings and a clock."""

    def __init__(self, settings: AccessSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._keys = {_digest(key): app for key, app in settings.ingest_keys.items()}
        self._admin = _digest(settings.admin_token)

    def guest(self, scope: Scope) -> str:
        """Return the foreign origin of a request whose page may read the answer, else ""."""
        if not self._settings.cors_origins:
            return ""
        origin = headers_of(scope).get("origin", "")
        return origin if origin.lower() in self._settings.cors_origins else ""

    def admit(self, scope: Scope) -> Caller:
        """Return the caller of a request or WebSocket.

        Raises:
            ApiError: 404 no such endpoint, 405 not with this method, 403 a foreign Host or Origin,
                401 the endpoint needs a token or key that was not given.
        """
        headers = headers_of(scope)
        guest = self._check_origin(headers)
        endpoint = _endpoint_of(scope)
        if guest and endpoint.right not in (Right.OPEN, Right.READ):
            raise ApiError(403, "foreign_origin", "pages of other sites may only read")
        client = scope.get("client")
        caller = self._caller(headers, client[0] if client else "")
        if not self._may(caller, endpoint.right):
            raise ApiError(401, "unauthorized", *_what_is_needed(endpoint.right))
        return caller

    def login_cookie(self, token: str) -> str:
        """Return the Set-Cookie value for the right token.

        Raises:
            ApiError: 401, the token is wrong.
        """
        if not hmac.compare_digest(_digest(token), self._admin):
            raise ApiError(401, "unauthorized", "this login link is not valid", "start anew")
        expires = self._clock.now_ms() + SESSION_MS
        text = f"{expires}.{secrets.token_urlsafe(16)}"
        value = f"{text}.{self._sign(text)}"
        age = SESSION_MS // 1000
        secure = "; Secure" if self._settings.secure_cookie else ""
        return f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}"

    def _check_origin(self, headers: Mapping[str, str]) -> bool:
        """Return whether the request comes from a page of another site that is let in."""
        if not self._known_host(headers.get("host", "")):
            raise ApiError(
                403,
                "foreign_host",
                "this server does not answer to that Host",
                "add the name under server.hosts in vedette.yml",
            )
        origin = headers.get("origin")
        if origin is None or self._own_origin(origin, headers["host"]):
            return False
        if origin.lower() in self._settings.cors_origins:
            return True
        raise ApiError(
            403,
            "foreign_origin",
            "requests from other sites are refused",
            "add the origin under web.cors_origins in vedette.yml if its pages shall read",
        )

    def _known_host(self, netloc: str) -> bool:
        name = _host_name(netloc)
        return name in _LOOPBACK or name in self._settings.hosts

    def _own_origin(self, origin: str, host: str) -> bool:
        # Another port of loopback is another program: its pages are as foreign as any.
        netloc = origin.partition("://")[2].lower()
        return netloc == host.lower() or _host_name(netloc) in self._settings.hosts

    def _caller(self, headers: Mapping[str, str], address: str) -> Caller:
        scheme, _, credential = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and credential:
            digest = _digest(credential.strip())
            if hmac.compare_digest(digest, self._admin):
                return Caller(admin=True, address=address)
            return Caller(app=self._keys.get(digest, ""), address=address)
        return Caller(self._valid_session(headers.get("cookie", "")), address=address)

    def _valid_session(self, header: str) -> bool:
        if COOKIE not in header:
            return False
        try:
            morsel = SimpleCookie(header).get(COOKIE)
        except CookieError:
            return False
        text, _, signature = (morsel.value if morsel else "").rpartition(".")
        expires = text.partition(".")[0]
        valid = hmac.compare_digest(signature.encode(), self._sign(text).encode())
        return valid and expires.isdecimal() and int(expires) > self._clock.now_ms()

    def _sign(self, text: str) -> str:
        key = blake2b(self._settings.admin_token.encode(), person=b"vedette-session").digest()
        return base64.urlsafe_b64encode(hmac.digest(key, text.encode(), sha256)).decode()

    def _may(self, caller: Caller, right: Right) -> bool:
        settings = self._settings
        if right is Right.OPEN or caller.admin:
            return True
        if right is Right.READ:
            return settings.loopback_only
        if right is Right.INGEST:
            return bool(caller.app) or (settings.loopback_only and not settings.ingest_keys)
        return False


def methods_at(path: str) -> list[str]:
    """Return the methods that ``path`` takes, sorted; none when there is nothing."""
    return sorted({m for e in find_endpoints(path) for m in e.methods} - {"WEBSOCKET"})


def _endpoint_of(scope: Scope) -> Endpoint:
    endpoints = find_endpoints(scope["path"])
    if not endpoints:
        raise ApiError(404, "not_found", f"there is nothing at {scope['path']}")
    method = "WEBSOCKET" if scope["type"] == "websocket" else scope["method"]
    if method == "HEAD":
        method = "GET"
    for endpoint in endpoints:
        if method in endpoint.methods:
            return endpoint
    allowed = ", ".join(methods_at(scope["path"]))
    raise ApiError(405, "method_not_allowed", f"{scope['path']} takes {allowed}")


def _host_name(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _what_is_needed(right: Right) -> tuple[str, str]:
    if right is Right.INGEST:
        return "an ingest key is needed", "send it as `Authorization: Bearer <key>`"
    return "the admin token is needed", "open the login link, or send `Authorization: Bearer …`"
