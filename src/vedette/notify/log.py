"""The alert log: one line for each alert of each notification, to be tailed."""

from __future__ import annotations

from pathlib import Path

import orjson

from vedette.kit.clock import iso
from vedette.model.alerts import Alert
from vedette.model.labels import Labels
from vedette.model.notifications import Delivery, DeliveryOutcome, DeliveryReason, Notification
from vedette.notify.channel import Offload
from vedette.notify.settings import LogSettings

_MAX_VALUE = 2_000


def log_lines(notification: Notification) -> str:
    """Return the lines of one notification: time, state, then ``name="value"`` pairs.

    Values are JSON texts, so that nothing in a label can break out of its line.
    """
    return "".join(_line(alert, notification) for alert in notification.alerts)


def _line(alert: Alert, notification: Notification) -> str:
    state = "RESOLVED" if alert.resolved else "FIRING"
    since = iso(alert.ends_at if alert.resolved else alert.starts_at)
    pairs = Labels.of(
        {f"annotation.{name}": value for name, value in alert.annotations}
        | {f"label.{name}": value for name, value in alert.labels if name != "alertname"}
    )
    parts = [
        iso(notification.at),
        state,
        _text(alert.labels.get("alertname")),
        f"since={since}",
        f"value={alert.value:g}",
        f"receiver={_text(notification.receiver)}",
        *(f"{_name(name)}={_text(value)}" for name, value in pairs),
    ]
    return " ".join(parts) + "\n"


def _name(name: str) -> str:
    return name if name.replace(".", "").replace("_", "").isalnum() else _text(name)


def _text(value: str) -> str:
    cut = value if len(value) <= _MAX_VALUE else value[:_MAX_VALUE] + "…"
    # Labels hold no surrogates, but a template's output is not ours to trust.
    return orjson.dumps(cut.encode(errors="replace").decode()).decode()


class LogChannel:
    """Appends to one file; the file is opened for each notification, so it may be rotated."""

    name = "log"

    def __init__(self, settings: LogSettings, folder: Path, offload: Offload) -> None:
        self._path = folder / settings.path
        self._max_bytes = settings.max_bytes
        self._offload = offload

    async def send(self, notification: Notification) -> Delivery:
        """Append the lines of ``notification``."""
        text = log_lines(notification)
        try:
            await self._offload(lambda: self._append(text))
        except OSError as error:
            detail = f"{self._path} could not be written: {error.strerror}"
            return Delivery(DeliveryOutcome.RECOVERABLE, DeliveryReason.FILE, detail)
        return Delivery(DeliveryOutcome.DELIVERED, DeliveryReason.ACCEPTED)

    def _append(self, text: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size > self._max_bytes:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)

    async def close(self) -> None:
        """Hold nothing open."""
