"""Fetching from real servers on loopback: TLS, client certificates, credentials, proxies."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.unit.scrape.discovery.support import Reply, Request, http_server
from vedette.kit.http_client import HttpClients
from vedette.kit.http_settings import (
    BasicAuth,
    HttpSettings,
    ProxySettings,
    SecretSource,
    TlsSettings,
)
from vedette.kit.secrets import Secret
from vedette.scrape.fetch import HttpFetcher
from vedette.scrape.settings import ScrapeJob
from vedette.scrape.target import ScrapeError
from vedette.scrape.targets import Target

TEXT = "text/plain; version=0.0.4"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an authority, and a certificate of a server and one of a client."""
    if which("openssl") is None:
        pytest.skip("needs openssl: apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for name, alternative in (("server", "DNS:metrics.example"), ("client", "DNS:vedette")):
        openssl(
            "req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"
        )
        (folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return folder


def server_side(folder: Path, *, ask: bool = False) -> ssl.SSLContext:
    """Return the TLS of a server that may ask its clients for a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    if ask:
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def fetching(address: str, http: HttpSettings, **changes: Any) -> AsyncIterator[bytes]:
    """Fetch a target once and yield the body."""
    clients = HttpClients("Vedette/1")
    job = ScrapeJob("web", (address,), http=http, timeout_ms=9_000, **changes)
    try:
        yield (await HttpFetcher(clients).fetch(Target(job, address))).body
    finally:
        await clients.aclose()


async def metrics(_: Request) -> Reply:
    """Answer with one sample."""
    return Reply(body=b"m 1\n", kind=TEXT)


async def test_tls_is_verified_against_authority_and_name(certificates: Path) -> None:
    """With both the answer comes; without either the scrape fails and says so."""
    ca = str(certificates / "ca.pem")
    authority = (certificates / "ca.pem").read_text()
    async with http_server(metrics, server_side(certificates)) as address:
        good = TlsSettings(ca_file=ca, server_name="metrics.example")
        async with fetching(address, HttpSettings(tls=good), scheme="https") as body:
            assert body == b"m 1\n"
        inline = TlsSettings(ca=authority, server_name="metrics.example")
        async with fetching(address, HttpSettings(tls=inline), scheme="https") as body:
            assert body == b"m 1\n"
        blind = TlsSettings(insecure_skip_verify=True)
        async with fetching(address, HttpSettings(tls=blind), scheme="https") as body:
            assert body == b"m 1\n"
        for tls in (TlsSettings(ca_file=ca), TlsSettings(server_name="metrics.example")):
            with pytest.raises(ScrapeError, match="certificate verify failed"):
                async with fetching(address, HttpSettings(tls=tls), scheme="https"):
                    pass


async def test_a_client_certificate_is_shown(certificates: Path) -> None:
    """From files or as text; a server that asks for one refuses without."""
    ca = str(certificates / "ca.pem")
    cert, key = certificates / "client.pem", certificates / "client.key"
    async with http_server(metrics, server_side(certificates, ask=True)) as address:
        common = {"ca_file": ca, "server_name": "metrics.example"}
        for own in (
            {"cert_file": str(cert), "key_file": str(key)},
            {"cert": cert.read_text(), "key": Secret(key.read_text())},
        ):
            settings = HttpSettings(tls=TlsSettings(**common, **own))  # type: ignore[arg-type]
            async with fetching(address, settings, scheme="https") as body:
                assert body == b"m 1\n"
        with pytest.raises(ScrapeError):
            async with fetching(address, HttpSettings(tls=TlsSettings(**common)), scheme="https"):  # type: ignore[arg-type]
                pass


async def test_a_certificate_that_is_missing_is_said(tmp_path: Path) -> None:
    """The reason is ``credentials`` and the message names the file."""
    tls = TlsSettings(ca_file=str(tmp_path / "absent.pem"))
    with pytest.raises(ScrapeError, match=r"absent\.pem") as caught:
        async with fetching("127.0.0.1:1", HttpSettings(tls=tls), scheme="https"):
            pass
    assert caught.value.reason == "credentials"


async def test_a_proxy_gets_requests_for_the_target() -> None:
    """Plain HTTP goes through the proxy, with the host and credentials of the target."""
    asked: list[Request] = []

    async def proxy(request: Request) -> Reply:
        asked.append(request)
        return Reply(body=b"m 2\n", kind=TEXT)

    async with http_server(proxy) as address:
        settings = HttpSettings(
            basic_auth=BasicAuth(SecretSource(Secret("u")), SecretSource(Secret("p"))),
            proxy=ProxySettings(Secret(f"http://{address}")),
        )
        async with fetching("metrics.example:99", settings) as body:
            assert body == b"m 2\n"
    assert asked[0].headers["host"] == "metrics.example:99"
    assert asked[0].headers["authorization"].startswith("basic ")
    assert "proxy-authorization" not in asked[0].headers


async def test_what_is_asked_for() -> None:
    """Formats, time-out and compression are announced as Prometheus does."""
    asked: list[Request] = []

    async def serve(request: Request) -> Reply:
        asked.append(request)
        return Reply(body=b"m 1\n", kind=TEXT)

    async with (
        http_server(serve) as address,
        fetching(address, HttpSettings(), compression=False, params=(("a", "b"),)),
    ):
        pass
    (request,) = asked
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["x-prometheus-scrape-timeout-seconds"] == "9"
    assert "openmetrics-text" in request.headers["accept"]
    assert request.query == {"a": "b"}
