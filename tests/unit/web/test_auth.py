"""Who is admitted, and who is not."""

from __future__ import annotations

import pytest

from tests.unit.web.support import TOKEN, client, fake_services
from vedette.kit.clock import FakeClock
from vedette.web.auth import SESSION_MS, AccessSettings, Guard
from vedette.web.services import Services


async def test_reads_on_loopback_are_open() -> None:
    """A browser or Grafana on the same machine needs no token to read."""
    async with client() as http:
        assert (await http.get("/api/v1/query", params={"query": "up"})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[::2]:1", ""])
async def test_foreign_hosts_are_refused(host: str) -> None:
    """A name that DNS was made to point at loopback is not answered."""
    async with client() as http:
        answer = await http.get("/metrics", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "foreign_host"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://", "http://[oops"])
async def test_foreign_origins_are_refused_even_for_reads(origin: str) -> None:
    """A page of another site that makes the browser ask is refused."""
    async with client() as http:
        answer = await http.get("/metrics", headers={"origin": origin})
    assert answer.status_code == 403


async def test_own_origin_is_admitted() -> None:
    """The server's own page may ask; a page on another port of this machine may not."""
    async with client() as http:
        own = await http.get("/metrics", headers={"origin": "http://127.0.0.1:9797"})
        other = await http.get("/metrics", headers={"origin": "http://127.0.0.1:3000"})
    assert (own.status_code, other.status_code) == (200, 403)


@pytest.mark.parametrize("value", ["a.é", '"', "", "1.2.3"])
async def test_odd_cookies_are_no_session(value: str) -> None:
    """Whatever stands in the cookie, it is a 401 and no defect."""
    guard = Guard(AccessSettings(TOKEN, frozenset({"mon"}), loopback_only=False), FakeClock())
    async with client(fake_services(guard=guard), host="mon") as http:
        answer = await http.get(
            "/metrics", headers={"cookie": f"vedette_session={value}".encode("latin-1")}
        )
    assert answer.status_code == 401


async def test_beyond_loopback_reads_need_the_token() -> None:
    """A server that others reach shows nothing without the token, but its health."""
    guard = Guard(AccessSettings(TOKEN, frozenset({"mon"}), loopback_only=False), FakeClock())
    async with client(fake_services(guard=guard), host="mon") as http:
        assert (await http.get("/metrics")).status_code == 401
        assert (await http.get("/-/healthy")).status_code == 200
        wrong = {"authorization": "Bearer wrong"}
        assert (await http.get("/metrics", headers=wrong)).status_code == 401
        right = {"authorization": f"Bearer {TOKEN}"}
        assert (await http.get("/metrics", headers=right)).status_code == 200


async def test_ingest_keys_name_their_application() -> None:
    """With keys configured, ingest without one is refused and the key decides on the app."""
    guard = Guard(AccessSettings(TOKEN, ingest_keys={"k" * 20: "shop"}), FakeClock())
    async with client(fake_services(guard=guard)) as http:
        assert (await http.post("/api/events", content=b"{}")).status_code == 401
        headers = {"authorization": "Bearer " + "k" * 20, "x-vedette-app": "other"}
        answer = await http.post("/api/events", content=b"{}", headers=headers)
    assert answer.text == "shop"


async def test_login_link_gives_a_session_that_ends() -> None:
    """The login link sets a strict, script-proof cookie which admits until it expires."""
    clock = FakeClock()
    guard = Guard(AccessSettings(TOKEN, frozenset({"mon"}), loopback_only=False), clock)
    services = fake_services(guard=guard, clock=clock)
    async with client(services, host="mon") as http:
        answer = await http.get("/login", params={"token": TOKEN})
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        headers = {"cookie": cookie.partition(";")[0]}
        assert (await http.get("/metrics", headers=headers)).status_code == 200
        forged = {"cookie": headers["cookie"][:-2] + "AA"}
        assert (await http.get("/metrics", headers=forged)).status_code == 401
        await clock.advance(SESSION_MS / 1000 + 1)
        assert (await http.get("/metrics", headers=headers)).status_code == 401


async def test_a_wrong_login_link_is_refused() -> None:
    """A guessed token sets no cookie."""
    async with client() as http:
        answer = await http.get("/login", params={"token": "guess"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


async def test_unknown_paths_and_methods() -> None:
    """Paths outside the table are 404, other methods 405."""
    async with client() as http:
        assert (await http.get("/api/nothing")).status_code == 404
        assert (await http.delete("/api/v1/query")).status_code == 405


def test_secrets_do_not_show() -> None:
    """Settings print neither token nor keys."""
    text = repr(AccessSettings(TOKEN, ingest_keys={"k" * 20: "shop"}))
    assert TOKEN not in text
    assert "kkk" not in text


FRIEND = "https://grafana.example"


def shared() -> Services:
    """Return services whose settings let pages of one other site read."""
    clock = FakeClock()
    access = AccessSettings(TOKEN, cors_origins=frozenset({FRIEND}))
    return fake_services(guard=Guard(access, clock))


async def test_pages_of_a_named_origin_may_read() -> None:
    """An origin in the settings gets the CORS headers, on preflights and refusals too."""
    headers = {"origin": FRIEND}
    async with client(shared()) as http:
        answer = await http.get("/api/v1/labels", headers=headers)
        before = await http.options("/api/v1/query", headers=headers)
        missing = await http.get("/api/v1/nothing", headers=headers)
    assert answer.status_code == 200
    assert before.status_code == 204
    assert before.headers["allow"] == "GET, POST, OPTIONS"
    for one in (answer, before, missing):
        assert one.headers["access-control-allow-origin"] == FRIEND
        assert one.headers["vary"] == "origin"


async def test_pages_of_a_named_origin_may_not_write() -> None:
    """Ingest stays closed to pages of other sites, and other origins are refused as ever."""
    async with client(shared()) as http:
        write = await http.post("/api/v1/write", headers={"origin": FRIEND})
        other = await http.get("/api/v1/labels", headers={"origin": "https://evil.example"})
        plain = await http.get("/api/v1/labels")
    assert write.status_code == 403
    assert other.status_code == 403
    assert "access-control-allow-origin" not in other.headers
    assert "access-control-allow-origin" not in plain.headers


async def test_refusals_of_the_prometheus_api_have_its_shape() -> None:
    """Prometheus' clients find status, errorType and error in a refusal too."""
    async with client() as http:
        answer = await http.delete("/api/v1/series")
    assert answer.status_code == 405
    assert answer.json() == {
        "status": "error",
        "errorType": "bad_data",
        "error": "/api/v1/series takes GET, POST",
    }
