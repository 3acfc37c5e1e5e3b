"""The webhook: Alertmanager's format, judged answers, and addresses that may be called."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.unit.notify.support import START, notification
from vedette.kit.addresses import AddressError, choose, refusal
from vedette.kit.clock import iso
from vedette.kit.secrets import Secret
from vedette.model.notifications import DeliveryOutcome, DeliveryReason, fingerprint
from vedette.notify.settings import WebhookSettings
from vedette.notify.webhook import WebhookChannel, judge, webhook_body


def test_the_body_is_alertmanagers() -> None:
    """Exactly the fields of version 4, with the values that a receiver of Alertmanager expects."""
    body = json.loads(json.dumps(webhook_body(notification())))
    firing, resolved = notification().alerts
    assert body == {
        "version": "4",
        "groupKey": '{}:{alertname="Slow"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "ops",
        "groupLabels": {"alertname": "Slow"},
        "commonLabels": {"alertname": "Slow", "severity": "warning"},
        "commonAnnotations": {},
        "externalURL": "http://vedette",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "Slow", "job": "chat", "severity": "warning"},
                "annotations": {"summary": 'line one\nline "two"'},
                "startsAt": iso(START - 60_000),
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://vedette/graph",
                "fingerprint": fingerprint(firing.labels),
            },
            {
                "status": "resolved",
                "labels": {"alertname": "Slow", "job": "db", "severity": "warning"},
                "annotations": {},
                "startsAt": iso(START - 60_000),
                "endsAt": iso(START - 1_000),
                "generatorURL": "",
                "fingerprint": fingerprint(resolved.labels),
            },
        ],
    }
    cut = webhook_body(notification(), max_alerts=1)
    assert (len(cut["alerts"]), cut["truncatedAlerts"]) == (1, 1)


@pytest.mark.parametrize(
    ("status", "retry_after", "outcome", "reason", "wait"),
    [
        (200, "", DeliveryOutcome.DELIVERED, DeliveryReason.ACCEPTED, 0),
        (204, "", DeliveryOutcome.DELIVERED, DeliveryReason.ACCEPTED, 0),
        (302, "", DeliveryOutcome.PERMANENT, DeliveryReason.REDIRECT, 0),
        (400, "", DeliveryOutcome.PERMANENT, DeliveryReason.CLIENT_ERROR, 0),
        (429, "7", DeliveryOutcome.RECOVERABLE, DeliveryReason.RATE_LIMITED, 7000),
        (429, "soon", DeliveryOutcome.RECOVERABLE, DeliveryReason.RATE_LIMITED, 0),
        (503, "99999999", DeliveryOutcome.RECOVERABLE, DeliveryReason.SERVER_ERROR, 3_600_000),
    ],
)
def test_answers(
    status: int, retry_after: str, outcome: DeliveryOutcome, reason: DeliveryReason, wait: int
) -> None:
    """Each answer is delivered, recoverable or permanent, with its reason."""
    delivery = judge(status, {"retry-after": retry_after})
    assert (delivery.outcome, delivery.reason) == (outcome, reason)
    assert delivery.retry_after_ms == wait


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1::1", True, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("10.1.2.3", False, True),
        ("172.16.0.1", False, True),
        ("192.168.1.1", False, True),
        ("100.64.0.1", False, True),
        ("fd00::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("64:ff9b::10.0.0.1", False, True),
        ("2002:7f00:1::", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1%eth0", False, False),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, True),
        ("not-an-address", False, False),
    ],
)
def test_addresses(address: str, public: bool, private: bool) -> None:
    """Private, loopback and disguised addresses need allow_private; some are never called."""
    assert (refusal(address, False) == "") is public
    assert (refusal(address, True) == "") is private


def test_the_first_address_that_may_be_called() -> None:
    """A name with several addresses is called at the first allowed one; with none it is refused."""
    assert choose("h", ["10.0.0.1", "93.184.216.34"], False) == "93.184.216.34"
    with pytest.raises(AddressError, match="h has a private or reserved address; set allow_pri"):
        choose("h", ["10.0.0.1"], False)
    with pytest.raises(AddressError, match="h has no address"):
        choose("h", [], True)


@asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve ``answer`` to every request on a free port of loopback; yields the raw requests."""
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        seen.append(head + await reader.readexactly(int(fields[b"content-length"])))
        writer.write(answer)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1], seen


async def loopback(host: str, port: int, /) -> list[str]:
    """Resolve every name to loopback."""
    return ["127.0.0.1"]


def channel(url: str, **options: Any) -> WebhookChannel:
    """Build a channel that resolves every name to loopback."""
    return WebhookChannel(WebhookSettings(Secret(url), **options), resolver=loopback)


async def test_a_real_post_goes_to_the_checked_address(caplog: pytest.LogCaptureFixture) -> None:
    """The name stays in Host, the path and credentials arrive, and no log line shows them."""
    caplog.set_level(logging.DEBUG)
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (port, seen):
        hook = channel(f"http://me:pass@hooks.example:{port}/sec?t=ret", allow_private=True)
        delivery = await hook.send(notification())
        await hook.close()
    assert delivery.ok
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /sec?t=ret HTTP/1.1"
    assert f"Host: hooks.example:{port}" in lines
    assert "Authorization: Basic bWU6cGFzcw==" in lines
    assert "Content-Type: application/json" in lines
    assert "Idempotency-Key: 00ff" in lines
    assert json.loads(body)["version"] == "4"
    shown = caplog.text
    assert "t=ret" not in shown
    assert "pass" not in shown


async def test_redirects_are_not_followed() -> None:
    """A redirect could lead into the network: it is a permanent failure."""
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    async with server(answer) as (port, seen):
        hook = channel(f"http://hooks.example:{port}/", allow_private=True)
        delivery = await hook.send(notification())
        await hook.close()
    assert (delivery.reason, len(seen)) == (DeliveryReason.REDIRECT, 1)


async def test_a_private_address_is_refused_before_any_connection() -> None:
    """Without allow_private a name that resolves to loopback is not called."""
    async with server(b"") as (port, seen):
        delivery = await channel(f"http://hooks.example:{port}/secret").send(notification())
    assert (delivery.outcome, delivery.reason) == (
        DeliveryOutcome.PERMANENT,
        DeliveryReason.ADDRESS_REFUSED,
    )
    assert seen == []
    assert "secret" not in delivery.detail


async def test_names_that_do_not_resolve_may_resolve_later() -> None:
    """A look-up that fails is recoverable."""

    async def nothing(host: str, port: int, /) -> list[str]:
        raise OSError("no such name")

    hook = WebhookChannel(WebhookSettings(Secret("http://none.example/")), resolver=nothing)
    delivery = await hook.send(notification())
    assert delivery.outcome is DeliveryOutcome.RECOVERABLE
    assert delivery.reason is DeliveryReason.NAME_NOT_RESOLVED


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.ConnectError("http://host/secret"), DeliveryReason.CONNECTION),
        (httpx.RemoteProtocolError("http://host/secret"), DeliveryReason.CONNECTION),
        (httpx.ReadTimeout("http://host/secret"), DeliveryReason.TIMEOUT),
    ],
)
async def test_broken_connections_are_recoverable(
    error: httpx.HTTPError, reason: DeliveryReason
) -> None:
    """Time-outs and connection faults may be tried again; their texts stay inside."""

    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            assert request.url.host == "127.0.0.1"
            assert request.extensions["sni_hostname"] == "hooks.example"
            raise error

    settings = WebhookSettings(Secret("https://hooks.example/secret"), allow_private=True)
    hook = WebhookChannel(settings, resolver=loopback, transport=Broken())
    delivery = await hook.send(notification())
    assert (delivery.outcome, delivery.reason) == (DeliveryOutcome.RECOVERABLE, reason)
    assert "secret" not in delivery.detail
