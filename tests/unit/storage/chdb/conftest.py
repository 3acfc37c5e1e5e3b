"""One store for a module's tests: opening takes a third of a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vedette.storage.chdb.columns import ChdbColumns, open_in_child


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbColumns]:
    """Return an open store; tests keep apart by the names of their metrics and applications."""
    path: Path = tmp_path_factory.mktemp("store")
    opened = open_in_child(path)
    yield opened
    opened.close()
