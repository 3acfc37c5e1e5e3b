"""Labels, their identity, and their dictionary-encoded tables."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vedette.model.blocks import LabelTable
from vedette.model.labels import Labels, series_id
from vedette.model.samples import ABSENT, STALE, is_absent, is_stale

TEXT = st.text(max_size=8)
LABELS = st.dictionaries(TEXT.filter(bool), TEXT, max_size=5).map(Labels.of)


@given(LABELS, LABELS)
def test_identity_is_that_of_the_labels(a: Labels, b: Labels) -> None:
    """Two label sets share their id exactly when they are equal."""
    assert (series_id(a) == series_id(b)) == (a == b)


def test_the_identity_is_pinned() -> None:
    """Stored data hangs on this value: a change needs a new version, not a new number here."""
    labels = Labels.of({"__name__": "up", "job": "é"})
    assert series_id(labels).hex() == "bace60427d947b347c8b898632ed9b55"


@given(st.lists(LABELS, max_size=6))
def test_tables_keep_every_row(rows: list[Labels]) -> None:
    """Encoding and decoding a table gives the same labels, whole, one by one, or taken."""
    table = LabelTable.of(rows)
    assert table.rows() == rows
    assert [table.labels(s) for s in range(len(table))] == rows
    order = np.arange(len(rows))[::-1]
    assert table.take(order).rows() == rows[::-1]


@given(st.lists(LABELS.map(lambda labels: labels.without("__name__")), min_size=1, max_size=4))
def test_a_name_can_be_set_and_dropped(rows: list[Labels]) -> None:
    """Setting the metric name adds just this label, in its sorted place."""
    table = LabelTable.of(rows)
    named = table.with_name("x")
    assert named.rows() == [row.merged({"__name__": "x"}) for row in rows]
    assert list(named.names) == sorted(named.names)
    assert named.drop("__name__").rows() == rows


def test_markers_are_told_apart() -> None:
    """Staleness, absence and plain NaN are three things."""
    values = np.array([STALE, ABSENT, np.nan, 1.0])
    assert is_stale(values).tolist() == [True, False, False, False]
    assert is_absent(values).tolist() == [False, True, False, False]
