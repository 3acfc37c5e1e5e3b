"""The engines that the suite runs against."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from vedette.storage.chdb.columns import open_in_child
from vedette.storage.columns import ColumnStore
from vedette.storage.memory_columns import MemoryColumns

_numbers = itertools.count()


@pytest.fixture(scope="module")
def chdb_columns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ColumnStore]:
    """Return one open store for all tests: opening it takes a third of a second."""
    path: Path = tmp_path_factory.mktemp("columns")
    opened = open_in_child(path)
    yield opened
    opened.close()


@pytest.fixture(params=["memory", pytest.param("chdb", marks=pytest.mark.chdb)])
def columns(request: pytest.FixtureRequest) -> ColumnStore:
    """Return an engine; it may hold data of other tests."""
    if request.param == "memory":
        return MemoryColumns()
    store: ColumnStore = request.getfixturevalue("chdb_columns")
    return store


@pytest.fixture
def own() -> str:
    """Return a name that no other test uses, for metrics and applications."""
    return f"own{next(_numbers)}"
