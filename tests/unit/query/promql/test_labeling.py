"""Label tables are grouped, joined and ordered by their codes as they would be by their text."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vedette.model.blocks import LabelTable
from vedette.model.labels import Labels
from vedette.query.promql.labeling import concat, encode, group_all, group_by, only, with_column

labels = st.dictionaries(
    st.sampled_from(["a", "b", "c", "__name__"]), st.sampled_from(["", "1", "2", "30"]), max_size=4
).map(Labels.of)
rows = st.lists(labels, max_size=12)


@given(table=rows, names=st.sets(st.sampled_from(["a", "b", "z"])))
def test_groups_are_those_of_the_text(table: list[Labels], names: set[str]) -> None:
    """Series are in one group when they agree in all named labels; groups come as first seen."""
    groups = group_by(LabelTable.of(table), sorted(names))
    texts = [tuple(row.get(name) for name in sorted(names)) for row in table]
    assert [texts[k] for k in groups.first.tolist()] == list(dict.fromkeys(texts))
    assert [texts[groups.first[k]] for k in groups.ids.tolist()] == texts


@given(parts=st.lists(rows, min_size=1, max_size=3))
def test_joined_tables_keep_their_rows(parts: list[list[Labels]]) -> None:
    """A joined table holds the rows of all, whatever their dictionaries."""
    joined = concat([LabelTable.of(part) for part in parts])
    flat = [row for part in parts for row in part]
    assert joined.rows() == flat
    assert len(group_all(joined)) == len(set(flat))


@given(table=rows)
def test_a_column_can_be_set_and_kept(table: list[Labels]) -> None:
    """Setting a label replaces it everywhere; keeping some drops the others."""
    codes, values = encode([str(k % 3) for k in range(len(table))])
    changed = with_column(LabelTable.of(table), "b", codes, values)
    expected = [row.merged({"b": str(k % 3)}) for k, row in enumerate(table)]
    assert changed.rows() == expected
    assert only(changed, ["b"]).rows() == [Labels.of({"b": row.get("b")}) for row in expected]


def test_many_large_dictionaries_do_not_overflow() -> None:
    """Codes whose combinations exceed 64 bits are still told apart."""
    size = 300
    table = LabelTable.of(
        [Labels.of({f"l{k:02d}": str(s) for k in range(12)}) for s in range(size)]
    )
    assert len(group_all(table)) == size
    doubled = table.take(np.concatenate([np.arange(size), np.arange(size)]))
    assert len(group_all(doubled)) == size
