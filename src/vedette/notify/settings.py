"""Settings of receivers: the list ``alerting.receivers`` of vedette.yml.

Each receiver has a name and, per kind of channel, a list of channels. Secrets may stand in the
file, in the environment (``url_env``) or in a file of their own (``url_file``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vedette.kit.addresses import url_problem
from vedette.kit.secrets import Secret, read_secret
from vedette.kit.yamlpos import Section


class ChannelSettings(Protocol):
    """What every kind of channel has."""

    @property
    def send_resolved(self) -> bool:
        """Whether it wants to know of the end of alerts."""
        ...


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """A webhook in Alertmanager's format.

    Attributes:
        allow_private: whether private and loopback addresses may be called.
        timeout_ms: for one attempt, from the look-up of the name to the status of the answer.
        max_alerts: the most alerts in one message; 0 is unlimited.
    """

    url: Secret
    send_resolved: bool = True
    allow_private: bool = False
    timeout_ms: int = 10_000
    max_alerts: int = 0


@dataclass(frozen=True, slots=True)
class LogSettings:
    """A file that gets one line an alert; a relative path lies in the data folder.

    ``max_bytes``: beyond this size the file is renamed to ``….1`` and begun anew.
    """

    path: str = "logs/alerts.log"
    send_resolved: bool = True
    max_bytes: int = 50 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """A name that routes use, and its channels by kind, in the order of the file."""

    name: str
    channels: tuple[tuple[str, ChannelSettings], ...] = ()


def read_webhook(section: Section, environment: Mapping[str, str], base: Path) -> WebhookSettings:
    """Return one webhook; faults are noted in the section."""
    url = read_secret(section, "url", environment, base)
    problem = url_problem(url.reveal()) if url is not None else ""
    if problem:
        # The address may hold a token, so that the message does not show it.
        section.fault("url", f"the webhook's address {problem}", "such as https://host/path")
    settings = WebhookSettings(
        url=url or Secret(""),
        send_resolved=section.boolean("send_resolved", True),
        allow_private=section.boolean("allow_private", False),
        timeout_ms=section.duration("timeout", 10_000, minimum=100),
        max_alerts=section.integer("max_alerts", 0),
    )
    section.done()
    return settings


def read_log(section: Section, environment: Mapping[str, str], base: Path) -> LogSettings:
    """Return one log file; faults are noted in the section."""
    settings = LogSettings(
        path=section.text("path", "logs/alerts.log"),
        send_resolved=section.boolean("send_resolved", True),
        max_bytes=section.integer("max_bytes", 50 * 1024 * 1024, minimum=4096),
    )
    section.done()
    return settings
