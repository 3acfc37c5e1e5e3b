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
    REMEMBERED = "remembered"


_SENT = frozenset(
    {Reason.FIRST, Reason.NEW_FIRING, Reason.SOME_RESOLVED, Reason.ALL_RESOLVED, Reason.REPEAT}
)
_RECORDED = _SENT | {Reason.END_NOT_TOLD, Reason.CLOCK_SET_BACK, Reason.REMEMBERED}


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one integration of one group.

    ``resolved`` are those ended alerts that are told: their firing was told, their end was not.
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
    muted: frozenset[bytes],
    ended: frozenset[bytes],
    now_ms: int,
    repeat_interval_ms: int,
    send_resolved: bool = True,
) -> Decision:
    """Return whether a group needs a notification after ``entry``.

    ``firing`` are its alerts that fire and may be told, ``muted`` those that fire and may not,
    ``ended`` all that have resolved, whether muted or not.

    ``needsUpdate`` of Alertmanager, with one promise more: who was told of an alert is told of its
    end, once. So an end is told though the alert is muted, where its beginning was told, and only
    there; and an end that is not told (``send_resolved`` off) is noted, so that the alert is told
    when it fires anew, however soon.
    """
    if entry is None:
        return Decision(Reason.FIRST if firing else Reason.NOTHING_TOLD)
    over = entry.firing & ended
    told = over if send_resolved else frozenset()
    if firing and entry.expires_at <= now_ms:
        return Decision(Reason.FIRST, told)
    if not firing <= entry.firing:
        return Decision(Reason.NEW_FIRING, told)
    if over:
        some = Reason.SOME_RESOLVED if entry.firing - over else Reason.ALL_RESOLVED
        return Decision(some if told else Reason.END_NOT_TOLD, told)
    if not firing:
        # No reminder renews the entry of what is muted; without it the end could not be told.
        ageing = entry.expires_at - now_ms <= repeat_interval_ms
        return Decision(
            Reason.REMEMBERED if entry.firing & muted and ageing else Reason.NOTHING_TOLD
        )
    return Decision(_while_nothing_changes(entry.sent_at, now_ms, repeat_interval_ms))


def _while_nothing_changes(sent_at: int, now_ms: int, repeat_interval_ms: int) -> Reason:
    if sent_at > now_ms:
        # No duplicate, but the next reminder is counted from the clock as it stands now.
        return Reason.CLOCK_SET_BACK
    return Reason.REPEAT if now_ms - sent_at >= repeat_interval_ms else Reason.UNCHANGED


def next_entry(
    old: LogEntry | None,
    decision: Decision,
    blank: LogEntry,
    firing: frozenset[bytes],
    muted: frozenset[bytes],
    ended: frozenset[bytes],
) -> LogEntry:
    """Return the entry to record after ``decision`` was acted on.

    ``blank`` has receiver, key and the times of now; ``firing``, ``muted`` and ``ended`` are those
    of :func:`decide`. What was told before and is muted now stays in the entry until it ends.
    """
    if old is None:
        return replace(blank, firing=firing, resolved=decision.resolved)
    if decision.send:
        return replace(blank, firing=firing | (old.firing & muted), resolved=decision.resolved)
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
