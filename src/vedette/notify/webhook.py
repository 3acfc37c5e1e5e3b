"""The generic webhook: a POST of JSON in the format of Alertmanager's webhook, version 4.

The format is described in the documentation of Alertmanager, "<webhook_config>".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from vedette.kit.addresses import AddressError, Resolver, choose, resolve
from vedette.kit.clock import iso
from vedette.model.alerts import Alert
from vedette.model.notifications import (
    Delivery,
    DeliveryOutcome,
    DeliveryReason,
    Notification,
    fingerprint,
)
from vedette.notify.settings import WebhookSettings

_NEVER = "0001-01-01T00:00:00Z"
_MAX_RETRY_AFTER_MS = 3_600_000


def webhook_body(notification: Notification, max_alerts: int = 0) -> dict[str, Any]:
    """Return the JSON object; ``max_alerts`` of 0 leaves no alert out."""
    alerts = notification.alerts[: max_alerts or None]
    return {
        "version": "4",
        "groupKey": notification.group_key,
        "truncatedAlerts": len(notification.alerts) - len(alerts),
        "status": notification.status,
        "receiver": notification.receiver,
        "groupLabels": notification.group_labels.as_dict(),
        "commonLabels": notification.common_labels.as_dict(),
        "commonAnnotations": notification.common_annotations.as_dict(),
        "externalURL": notification.external_url,
        "alerts": [_alert(alert) for alert in alerts],
    }


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "status": "resolved" if alert.resolved else "firing",
        "labels": alert.labels.as_dict(),
        "annotations": alert.annotations.as_dict(),
        "startsAt": iso(alert.starts_at),
        "endsAt": iso(alert.ends_at) if alert.resolved else _NEVER,
        "generatorURL": alert.generator_url,
        "fingerprint": fingerprint(alert.labels),
    }


def judge(status: int, headers: Mapping[str, str]) -> Delivery:
    """Return what an answer means: 2xx is delivered, 5xx and 429 may be tried again."""
    if 200 <= status < 300:
        return Delivery(DeliveryOutcome.DELIVERED, DeliveryReason.ACCEPTED)
    if status == 429 or status >= 500:
        reason = DeliveryReason.RATE_LIMITED if status == 429 else DeliveryReason.SERVER_ERROR
        wait = headers.get("retry-after", "")
        wait_ms = int(wait) * 1000 if wait.isascii() and wait.isdecimal() and len(wait) < 9 else 0
        return Delivery(
            DeliveryOutcome.RECOVERABLE,
            reason,
            f"the receiver answered {status}",
            min(wait_ms, _MAX_RETRY_AFTER_MS),
        )
    if 300 <= status < 400:
        detail = f"the receiver answered {status}; redirects are not followed"
        return Delivery(DeliveryOutcome.PERMANENT, DeliveryReason.REDIRECT, detail)
    return Delivery(
        DeliveryOutcome.PERMANENT,
        DeliveryReason.CLIENT_ERROR,
        f"the receiver answered {status}",
    )


class WebhookChannel:
    """Posts to one URL.

    The transport is used directly: without a client there are no redirects, no proxies from the
    environment, no cookies, and no log line with the URL, which may hold a token.
    """

    name = "webhook"

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        resolver: Resolver = resolve,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._resolver = resolver
        self._transport = transport
        parts = urlsplit(settings.url.reveal())
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)

    async def send(self, notification: Notification) -> Delivery:
        """Make one attempt."""
        body = orjson.dumps(webhook_body(notification, self._settings.max_alerts))
        seconds = self._settings.timeout_ms / 1000
        try:
            async with asyncio.timeout(seconds):
                return await self._post(body, notification.idempotency_key, seconds)
        except (TimeoutError, httpx.TimeoutException):
            detail = f"{self._host} did not answer within {seconds:g} s"
            return Delivery(DeliveryOutcome.RECOVERABLE, DeliveryReason.TIMEOUT, detail)
        except AddressError as error:
            return Delivery(DeliveryOutcome.PERMANENT, DeliveryReason.ADDRESS_REFUSED, str(error))
        except (OSError, UnicodeError):
            detail = f"the name {self._host} could not be looked up"
            return Delivery(DeliveryOutcome.RECOVERABLE, DeliveryReason.NAME_NOT_RESOLVED, detail)
        except httpx.HTTPError as error:
            # Only the kind of the error: its text may quote the URL.
            detail = f"no connection with {self._host}:{self._port} ({type(error).__name__})"
            return Delivery(DeliveryOutcome.RECOVERABLE, DeliveryReason.CONNECTION, detail)

    async def _post(self, body: bytes, key: str, seconds: float) -> Delivery:
        addresses = await self._resolver(self._host, self._port)
        address = choose(self._host, addresses, self._settings.allow_private)
        url = httpx.URL(self._settings.url.reveal())
        request = httpx.Request(
            "POST",
            url.copy_with(host=address, userinfo=b""),
            headers={
                "Host": url.netloc.decode("ascii"),
                "Content-Type": "application/json",
                "User-Agent": "Vedette",
                "Idempotency-Key": key,
                **_authorization(url),
            },
            content=body,
            extensions={
                "timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds),
                # The certificate is checked against the name, not against the pinned address.
                "sni_hostname": self._host,
            },
        )
        if self._transport is None:
            self._transport = httpx.AsyncHTTPTransport(trust_env=False)
        response = await self._transport.handle_async_request(request)
        # The body is not read: it says nothing that we need, and it may be endless.
        await response.aclose()
        return judge(response.status_code, response.headers)

    async def close(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            await self._transport.aclose()


def _authorization(url: httpx.URL) -> dict[str, str]:
    if not url.userinfo:
        return {}
    auth = httpx.BasicAuth(url.username, url.password)
    request = next(auth.sync_auth_flow(httpx.Request("POST", "http://host/")))
    return {"Authorization": request.headers["Authorization"]}
