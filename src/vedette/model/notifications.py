"""Notifications: what is told to whom, what became of it, and what is remembered of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from vedette.model.alerts import Alert
from vedette.model.labels import Labels

# Part of the persisted log: a change of the canonical form needs a new version here.
_ALERT_ID_VERSION = b"vedette-alert-1"
_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3


def alert_id(labels: Labels) -> bytes:
    """Return the 16-byte identity of an alert in the notification log: a versioned hash."""
    return blake2b(labels.canonical(), digest_size=16, person=_ALERT_ID_VERSION).digest()


def fingerprint(labels: Labels) -> str:
    """Return the 16 hexadecimal digits by which Alertmanager's clients know an alert.

    FNV-1a, 64 bits, over the canonical labels, as ``model.LabelSet.Fingerprint`` of Prometheus'
    common library computes it.
    """
    value = _FNV_OFFSET
    for byte in labels.canonical():
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What one integration was last told of one group.

    Attributes:
        receiver: key of the integration, such as ``ops/webhook/0``.
        group_key: versioned key of the aggregation group.
        firing, resolved: identities (:func:`alert_id`) of the alerts in that notification.
        sent_at, expires_at: milliseconds; after ``expires_at`` the entry may be deleted.
    """

    receiver: str
    group_key: str
    firing: frozenset[bytes]
    resolved: frozenset[bytes]
    sent_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Notification:
    """One message for one receiver about one aggregation group.

    Attributes:
        receiver: name of the receiver as configured.
        group_key: key of the aggregation group, in Alertmanager's form.
        group_labels: labels that the group's alerts were grouped by.
        alerts: firing ones first, then resolved ones, each sorted by labels; never empty.
        external_url: address of this Vedette as a person's browser reaches it, or "".
        idempotency_key: the same for every attempt to tell the same thing, also after a crash.
        at: milliseconds; when the notification was decided.
    """

    receiver: str
    group_key: str
    group_labels: Labels
    alerts: tuple[Alert, ...]
    external_url: str
    idempotency_key: str
    at: int

    @property
    def firing(self) -> tuple[Alert, ...]:
        """The alerts that fire."""
        return tuple(alert for alert in self.alerts if not alert.resolved)

    @property
    def resolved(self) -> tuple[Alert, ...]:
        """The alerts that have ended."""
        return tuple(alert for alert in self.alerts if alert.resolved)

    @property
    def status(self) -> str:
        """``firing`` while any alert fires, else ``resolved``."""
        return "firing" if self.firing else "resolved"

    @property
    def common_labels(self) -> Labels:
        """Labels that all alerts share."""
        return _common([alert.labels for alert in self.alerts])

    @property
    def common_annotations(self) -> Labels:
        """Annotations that all alerts share."""
        return _common([alert.annotations for alert in self.alerts])


def _common(sets: list[Labels]) -> Labels:
    shared = set(sets[0].pairs) if sets else set()
    for labels in sets[1:]:
        shared &= set(labels.pairs)
    return Labels(tuple(sorted(shared)))


class DeliveryOutcome(StrEnum):
    """What became of one attempt to send."""

    DELIVERED = "delivered"
    RECOVERABLE = "recoverable"
    PERMANENT = "permanent"


class DeliveryReason(StrEnum):
    """Why an attempt ended as it did; a label of the notification metrics."""

    ACCEPTED = "accepted"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    NAME_NOT_RESOLVED = "name_not_resolved"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    CLIENT_ERROR = "client_error"
    REDIRECT = "redirect"
    ADDRESS_REFUSED = "address_refused"
    FILE = "file"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Delivery:
    """Result of sending one notification; ``detail`` is for people and holds no secret.

    ``retry_after_ms`` is the receiver's own wish, 0 when it named none.
    """

    outcome: DeliveryOutcome
    reason: DeliveryReason
    detail: str = ""
    retry_after_ms: int = 0

    @property
    def ok(self) -> bool:
        """Whether the receiver took it."""
        return self.outcome is DeliveryOutcome.DELIVERED
