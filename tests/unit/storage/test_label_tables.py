"""Uniting label tables."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vedette.model.blocks import LabelTable
from vedette.model.labels import Labels
from vedette.storage.label_tables import unite

_labels = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "1", "2"]), max_size=3
).map(Labels.of)
_rows = st.lists(_labels, max_size=8, unique=True)


@given(_rows, _rows)
def test_every_label_set_stands_once_and_is_found(
    first: list[Labels], second: list[Labels]
) -> None:
    """Old rows keep their labels, and equal ones of both tables become one row."""
    table, of_first, of_second = unite(LabelTable.of(first), LabelTable.of(second))
    rows = table.rows()
    assert [rows[k] for k in of_first] == first
    assert [rows[k] for k in of_second] == second
    assert len(rows) == len({*first, *second})


def test_more_combinations_than_an_integer_counts() -> None:
    """Many labels of many values do not make different label sets equal."""
    rows = [Labels.of({f"l{j}": str((k * (j + 3)) % 499) for j in range(12)}) for k in range(500)]
    table, of_first, of_second = unite(LabelTable.of(rows), LabelTable.of(rows[::-1]))
    assert [table.rows()[k] for k in of_first] == rows
    assert of_second.tolist() == of_first.tolist()[::-1]
