"""Whether a receiver must be told again, given what it was told last; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b

from vedette.model.notifications import LogEntry

# The receiver may keep keys across an upgrade: a change of their form needs a new version here.
_KEY_VERSION = b"vedette-notify-1"


class Reason(StrEnum):
    """Why a notification is sent, or is not."""

    FIRST = "first"
    NEW_FIRING = "new_firing"
    SOME_RESOLVED = "some_resolved"
    ALL_RESOLVED = "all_resolved"
    REPEAT = "repeat"
    NOTHING_TOLD = "nothing_told"
    UNCHANGED = "unchanged"
    END_NOT_TOLD = "end_not_told"
    CLOCK_SET_BACK = "clock_set_back"


_SENT = frozenset(
    {Reason.FIRST, Reason.NEW_FIRING, Reason.SOME_RESOLVED, Reason.ALL_RESOLVED, Reason.REPEAT}
)
_RECORDED = _SENT | {Reason.END_NOT_TOLD, Reason.CLOCK_SET_BACK}


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one integration of one group.

    ``resolved`` are those resolved alerts that may be told: their firing was told before.
    """

    reason: Reason
    resolved: frozenset[bytes] = frozenset()

    @property
    def send(self) -> bool:
        """Whether to send a notification."""
        return self.reason in _SENT

    @property
    def record(self) -> bool:
        """Whether to write a new entry of the log (after sending, where that is due)."""
        return self.reason in _RECORDED


def decide(
    entry: LogEntry | None,
    firing: frozenset[bytes],
    resolved: frozenset[bytes],
    now_ms: int,
    repeat_interval_ms: int,
    send_resolved: bool = True,
    ended_muted: frozenset[bytes] = frozenset(),
) -> Decision:
    """Return whether the alerts ``firing`` and ``resolved`` need a notification after ``entry``.

    ``needsUpdate`` of Alertmanager, with two differences: the end of an alert is told only where
    its beginning was; and an end that is not told (``ended_muted``, or ``send_resolved`` off) is
    noted, so that the alert is told when it fires anew, however soon.
    """
    if entry is None or entry.expires_at <= now_ms:
        return Decision(Reason.FIRST if firing else Reason.NOTHING_TOLD)
    told = resolved & (entry.firing | entry.resolved) if send_resolved else frozenset()
    if not firing <= entry.firing:
        return Decision(Reason.NEW_FIRING, told)
    if told & entry.firing:
        return Decision(Reason.SOME_RESOLVED if firing else Reason.ALL_RESOLVED, told)
    if entry.firing & (resolved | ended_muted):
        return Decision(Reason.END_NOT_TOLD)
    if not firing:
        return Decision(Reason.NOTHING_TOLD)
    if entry.sent_at > now_ms:
        # No duplicate, but the next reminder is counted from the clock as it stands now.
        return Decision(Reason.CLOCK_SET_BACK)
    if now_ms - entry.sent_at >= repeat_interval_ms:
        return Decision(Reason.REPEAT, told)
    return Decision(Reason.UNCHANGED)


def next_entry(
    old: LogEntry | None,
    decision: Decision,
    blank: LogEntry,
    firing: frozenset[bytes],
    ended: frozenset[bytes],
) -> LogEntry:
    """Return the entry to record after ``decision`` was acted on.

    ``blank`` has receiver, key and the times of now; ``ended`` are all alerts that have resolved.
    """
    if decision.send or old is None:
        return replace(blank, firing=firing, resolved=decision.resolved)
    sent_at = blank.sent_at if decision.reason is Reason.CLOCK_SET_BACK else old.sent_at
    return replace(blank, firing=old.firing - ended, resolved=old.resolved, sent_at=sent_at)


def idempotency_key(
    entry: LogEntry | None,
    receiver: str,
    group_key: str,
    firing: frozenset[bytes],
    resolved: frozenset[bytes],
) -> str:
    """Return a key for what is told: the same when the same is tried again, also after a crash.

    It hangs on the entry before, so that a reminder is not taken for a repetition.
    """
    digest = blake2b(digest_size=16, person=_KEY_VERSION)
    digest.update(f"{receiver}\x00{group_key}\x00{entry.sent_at if entry else 0}".encode())
    for mark, ids in ((b"\x01", firing), (b"\x02", resolved)):
        for one in sorted(ids):
            digest.update(mark + one)
    return digest.hexdigest()
