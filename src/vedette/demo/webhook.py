"""A receiver of notifications: Alertmanager's webhook JSON, version 4.

Source: Alertmanager's documentation, "Configuration", section ``<webhook_config>``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vedette.demo.truth import TruthFile
from vedette.kit.clock import Clock, iso

AlertKey = tuple[tuple[str, str], ...]
"""The labels of an alert, sorted."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification: when it came, its group's state, and its alerts."""

    received_ms: int
    status: str
    alerts: tuple[tuple[AlertKey, str], ...]

    @property
    def names(self) -> str:
        """The names of its alerts, each once."""
        return ", ".join(sorted({dict(key).get("alertname", "?") for key, _ in self.alerts}))


@dataclass(slots=True)
class Inbox:
    """The notifications that came, in order."""

    notifications: list[Notification] = field(default_factory=list)

    def fired(self) -> set[AlertKey]:
        """Return the alerts that were ever told as firing."""
        return self._alerts("firing")

    def resolved(self) -> set[AlertKey]:
        """Return the alerts that were told as firing, and later as resolved for good."""
        latest = {key: status for one in self.notifications for key, status in one.alerts}
        ended = {key for key, status in latest.items() if status == "resolved"}
        return ended & self.fired()

    def _alerts(self, wanted: str) -> set[AlertKey]:
        alerts: Iterable[tuple[AlertKey, str]] = (
            alert for one in self.notifications for alert in one.alerts
        )
        return {key for key, status in alerts if status == wanted}


def read_notification(body: Any, received_ms: int) -> Notification:
    """Return what the JSON ``body`` of a webhook says.

    Raises:
        ValueError: it is not of version 4.
    """
    try:
        if body["version"] != "4":
            raise ValueError(f"webhook version {body['version']!r} is not known")
        alerts = tuple(
            (tuple(sorted(alert["labels"].items())), str(alert["status"]))
            for alert in body["alerts"]
        )
        return Notification(received_ms, str(body["status"]), alerts)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a webhook of Alertmanager: {error!r}") from error


def create_webhook(inbox: Inbox, file: TruthFile, clock: Clock) -> Starlette:
    """Return the receiver as an ASGI application; bodies go to ``file`` as they came."""

    async def alerts(request: Request) -> Response:
        now = clock.now_ms()
        try:
            body = await request.json()
            notification = read_notification(body, now)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        inbox.notifications.append(notification)
        file.write({"received_at": iso(now), "body": body})
        return JSONResponse({"status": "ok"})

    return Starlette(routes=[Route("/alerts", alerts, methods=["POST"])])
