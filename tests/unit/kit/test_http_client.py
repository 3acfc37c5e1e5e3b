"""HTTP clients: credentials, proxies, and what a redirect may carry."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from vedette.kit.clock import FakeClock
from vedette.kit.http_client import CredentialsError, HttpClients, is_direct, proxy_of
from vedette.kit.http_settings import HttpSettings, ProxySettings, read_http_settings
from vedette.kit.secrets import Secret
from vedette.kit.yamlpos import Fault, Section, compose

Answer = Callable[[httpx.Request], httpx.Response]


def read(text: str, base: Path = Path()) -> tuple[HttpSettings, list[str]]:
    """Return the settings in ``text`` and the faults."""
    faults: list[Fault] = []
    node = compose(text, "p.yml", faults)
    assert node is not None
    section = Section(node, faults)
    settings = read_http_settings(section, base)
    section.done()
    return settings, [str(fault) for fault in faults]


async def asked(text: str, base: Path, answer: Answer | None = None) -> list[httpx.Request]:
    """Send one request as ``text`` says; return all requests that were made."""
    seen: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answer(request) if answer else httpx.Response(200)

    settings, faults = read(text, base)
    assert faults == []
    clients = HttpClients("Vedette/1", httpx.MockTransport(serve), FakeClock())
    for _ in range(2):
        async with clients.stream(settings, "http://h:1/metrics"):
            pass
    await clients.aclose()
    return seen


async def test_basic_auth_from_text_and_file(tmp_path: Path) -> None:
    """User and password are sent; the password may stand in a file beside the configuration."""
    (tmp_path / "p").write_text("s3cret\n")
    text = "{basic_auth: {username: ada, password_file: p}}"
    (first, _) = await asked(text, tmp_path)
    expected = base64.b64encode(b"ada:s3cret").decode()
    assert first.headers["authorization"] == f"Basic {expected}"
    assert "s3cret" not in repr(read("{basic_auth: {username: a, password: s3cret}}")[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{authorization: {credentials: t0ken}}", "Bearer t0ken"),
        ("{authorization: {type: Token, credentials_file: t}}", "Token of-file"),
        ("{bearer_token_file: t}", "Bearer of-file"),
    ],
)
async def test_authorization(text: str, expected: str, tmp_path: Path) -> None:
    """Type and credentials make the header."""
    (tmp_path / "t").write_text("of-file\n")
    assert (await asked(text, tmp_path))[0].headers["authorization"] == expected


async def test_a_token_file_is_read_for_each_request(tmp_path: Path) -> None:
    """A token that was renewed on disk is used without a reload."""
    file = tmp_path / "t"
    file.write_text("old")

    def renew(_: httpx.Request) -> httpx.Response:
        file.write_text("new")
        return httpx.Response(200)

    first, second = await asked("{authorization: {credentials_file: t}}", tmp_path, renew)
    assert first.headers["authorization"] == "Bearer old"
    assert second.headers["authorization"] == "Bearer new"


async def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(CredentialsError, match="absent"):
        await asked("{authorization: {credentials_file: absent}}", tmp_path)


async def test_oauth2_asks_for_a_token_once(tmp_path: Path) -> None:
    """The token of the endpoint is used until it is about to expire."""
    text = (
        "{oauth2: {client_id: me, client_secret: s, token_url: 'http://auth/t', scopes: [a, b],"
        " endpoint_params: {audience: x}}}"
    )

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.host == "auth":
            return httpx.Response(200, json={"access_token": "T", "expires_in": 60})
        return httpx.Response(200)

    seen = await asked(text, tmp_path, serve)
    assert [request.url.host for request in seen] == ["auth", "h", "h"]
    assert seen[0].content == b"grant_type=client_credentials&scope=a+b&audience=x"
    assert seen[2].headers["authorization"] == "Bearer T"
    with pytest.raises(CredentialsError, match="401"):
        await asked(text, tmp_path, lambda _: httpx.Response(401))


async def test_a_redirect_carries_no_secret_to_another_host(tmp_path: Path) -> None:
    """Neither Authorization nor configured headers leave the host that they are for."""
    text = "{authorization: {credentials: t}, http_headers: {X-Key: {secrets: [k]}}}"

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.host == "h" and request.url.path == "/metrics":
            return httpx.Response(302, headers={"location": "http://h:1/there"})
        if request.url.host == "h":
            return httpx.Response(302, headers={"location": "http://other/"})
        return httpx.Response(200)

    first, second, third, *_ = await asked(text, tmp_path, serve)
    assert first.headers["x-key"] == second.headers["x-key"] == "k"
    assert second.headers["authorization"] == "Bearer t"
    assert third.url.host == "other"
    assert "x-key" not in third.headers
    assert "authorization" not in third.headers


async def test_redirects_are_followed_only_if_asked_for(tmp_path: Path) -> None:
    """``follow_redirects: false`` gives the answer as it is."""
    seen = await asked(
        "{follow_redirects: false}",
        tmp_path,
        lambda _: httpx.Response(302, headers={"location": "/b"}),
    )
    assert {request.url.path for request in seen} == {"/metrics"}


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("http://a.example/", "example", True),
        ("http://example/", "example", True),
        ("http://example/", ".example", False),
        ("http://anexample/", "example", False),
        ("http://10.1.2.3:9/", "10.0.0.0/8", True),
        ("http://10.1.2.3:9/", "10.1.2.3:9", True),
        ("http://10.1.2.3:9/", "10.1.2.3:8", False),
        ("https://h/", "x, h:443", True),
        ("http://h/", "*", True),
        ("http://127.0.0.1/", "", True),
        ("http://localhost:1/", "", True),
    ],
)
def test_what_is_reached_without_a_proxy(url: str, no_proxy: str, direct: bool) -> None:
    """Domains with their subdomains, networks, ports, and loopback always."""
    assert is_direct(url, no_proxy) is direct


def test_which_proxy_is_used() -> None:
    """``proxy_url`` holds for everything, the environment's by scheme."""
    fixed = ProxySettings(Secret("http://p:3128"))
    assert proxy_of(fixed, "http://127.0.0.1/", {}) == "http://p:3128"
    some = ProxySettings(Secret("http://p:3128"), no_proxy="h")
    assert proxy_of(some, "http://h/", {}) == ""
    variables = {"HTTP_PROXY": "p:1", "https_proxy": "http://q:2", "NO_PROXY": "h"}
    given = ProxySettings(from_environment=True)
    assert proxy_of(given, "http://a/", variables) == "http://p:1"
    assert proxy_of(given, "https://a/", variables) == "http://q:2"
    assert proxy_of(given, "https://h/", variables) == ""
    assert proxy_of(ProxySettings(), "http://a/", variables) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{basic_auth: {user: a}}", 'unknown key "user"'),
        ("{basic_auth: {username: a}, bearer_token: b}", "only one of"),
        ("{authorization: {type: basic, credentials: x}}", 'use "basic_auth"'),
        ("{authorization: {credentials: x, credentials_file: y}}", "stand beside each other"),
        ("{tls_config: {cert_file: c}}", "needs both cert and key"),
        ("{tls_config: {min_version: TLS9}}", "unknown version"),
        ("{proxy_url: 'socks5://h'}", "only proxies of http"),
        ("{no_proxy: h}", "needs a proxy_url"),
        ("{http_headers: {Authorization: {values: [x]}}}", "set by the client itself"),
        ("{oauth2: {client_id: a, token_url: nowhere}}", "must be an address"),
    ],
)
def test_faults(text: str, expected: str) -> None:
    """What cannot work is named with its place."""
    _, faults = read(text)
    assert len(faults) == 1
    assert expected in faults[0]
