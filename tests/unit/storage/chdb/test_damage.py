"""What the engine says of damaged parts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.storage.chdb.chunks import T0, batch, labels, named, points
from vedette.storage.chdb.columns import open_in_child
from vedette.storage.chdb.damage import advice, marked
from vedette.storage.chdb.library import EngineError
from vedette.storage.chdb.session import StatementRunner
from vedette.storage.interface import DamagedStoreError, StorageError

PART = "/var/lib/vedette/columns/store/f7b/f7bc7c2a-9e5a-427f-9c1d-4ece1ccb3917/20770_1_4_2"
MESSAGE = (
    "Code: 40. DB::Exception: Checksum doesn't match: corrupted data: (while reading column "
    f"values): (while reading from part {PART}/ in table default.samples (f7b) located on disk "
    "default): While executing MergeTreeSelect. (CHECKSUM_DOESNT_MATCH)"
)


class Refusing:
    """An engine that refuses everything with one message."""

    def __init__(self, message: str) -> None:
        self.message = message

    def query(self, sql: str, parameters: object = None) -> bytes:
        """Refuse."""
        raise EngineError(self.message)

    def insert(self, sql: str, data: bytes) -> None:
        """Refuse."""
        raise EngineError(self.message)

    def close(self) -> None:
        """Do nothing."""


def test_a_damaged_part_is_named_with_its_day() -> None:
    """The part's folder and its day stand first, so that no shortening takes them away."""
    assert marked(MESSAGE) == f"damaged part {PART} of 2026-11-13: "
    part, told = advice(marked(MESSAGE) + "…")
    assert part == PART
    assert "2026-11-13" in told
    assert "backup" in told


def test_a_query_of_a_damaged_part_is_refused_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each query gets the advice; the log has it once per part."""
    runner = StatementRunner(Refusing(marked(MESSAGE) + MESSAGE))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            with pytest.raises(DamagedStoreError, match="move that folder"):
                runner.rows("SELECT 1")
    assert len(caplog.records) == 1


def test_other_errors_are_not_taken_for_damage() -> None:
    """A message without a code of damage, or without a part, stays an ordinary fault."""
    assert marked(f"Code: 241 while reading from part {PART}/ (MEMORY_LIMIT_EXCEEDED)") == ""
    assert marked("Code: 40 (CHECKSUM_DOESNT_MATCH)") == ""
    with pytest.raises(StorageError) as refused:
        StatementRunner(Refusing("Code: 62 (SYNTAX_ERROR)")).rows("SELECT 1")
    assert not isinstance(refused.value, DamagedStoreError)


@given(st.text(), st.integers(0, 10**12))
def test_no_message_is_too_odd(text: str, number: int) -> None:
    """Whatever the message, an answer comes; a day that no calendar has is shown as a number."""
    marked(text + "CORRUPTED_DATA")
    advice(text)
    part = f"/d/store/abc/00-11/{number}_1_1_0"
    assert marked(f"part {part}/ CORRUPTED_DATA").startswith(f"damaged part {part} of ")


@pytest.mark.parametrize("file", ["columns.txt", "data.bin"])
def test_a_part_that_does_not_open_is_told_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    """The engine sets such a part aside in silence; the log and a number tell of it."""
    first = open_in_child(tmp_path / "s")
    assert first.broken_parts == 0
    first.insert_samples(batch({labels("up"): {T0: 1.0}}), "one")
    first.close()
    (hit,) = (tmp_path / "s").glob(f"data/default/samples/*_*/{file}")
    hit.write_bytes(hit.read_bytes()[:3])
    with caplog.at_level(logging.ERROR):
        second = open_in_child(tmp_path / "s")
    assert second.broken_parts == 1
    assert points(second.select(named("up"), 0, T0)) == {}
    second.close()
    (told,) = [r.getMessage() for r in caplog.records if "damaged" in r.getMessage()]
    assert "samples (of 2026-01-01)" in told
