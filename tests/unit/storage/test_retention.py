"""Which days are let go, and why."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vedette.storage.retention import Expiry, RetentionSettings, StoredDay, expired_days

DAY = 86_400_000


def test_old_days_go_first_and_then_the_oldest_of_too_much() -> None:
    """Age is judged by the end of a day; size by everything that is stored."""
    days = [StoredDay(day, 10) for day in (7, 3, 4, 5, 6)]
    now = 8 * DAY
    assert expired_days(days, RetentionSettings(0, 0), now, 10**9) == {}
    assert expired_days(days, RetentionSettings(4 * DAY, 0), now, 10**9) == {3: Expiry.TIME}
    assert expired_days(days, RetentionSettings(4 * DAY + 1, 0), now, 0) == {}
    both = expired_days(days, RetentionSettings(4 * DAY, 35), now, 5)
    assert both == {3: Expiry.TIME, 4: Expiry.SIZE}
    assert list(expired_days(days, RetentionSettings(0, 1), now, 10**9)) == [3, 4, 5, 6]


@given(
    st.dictionaries(st.integers(-5, 40), st.integers(0, 100), max_size=12),
    st.integers(0, 40 * DAY),
    st.integers(0, 500),
    st.integers(0, 100),
)
def test_no_more_goes_than_has_to(
    sizes: dict[int, int], time_ms: int, size_bytes: int, beside: int
) -> None:
    """What stays is younger than every day that goes, and fits, or is one day."""
    now = 41 * DAY
    days = [StoredDay(day, size) for day, size in sizes.items()]
    gone = expired_days(days, RetentionSettings(time_ms, size_bytes), now, beside)
    left = {day: size for day, size in sizes.items() if day not in gone}
    assert all(day < min(left, default=99) for day in gone)
    if time_ms:
        assert all((day + 1) * DAY > now - time_ms for day in left)
    held = beside + sum(left.values())
    if size_bytes and len(left) > 1:
        assert held <= size_bytes
    by_size = [day for day, why in gone.items() if why is Expiry.SIZE]
    if by_size:
        assert held + sizes[max(by_size)] > size_bytes
