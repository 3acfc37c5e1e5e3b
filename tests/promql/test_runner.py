"""The runner of text cases can fail, and says why."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.promqltest.__main__ import main
from tests.promqltest.run import run_file
from tests.promqltest.script import ScriptError, start_offsets

CASES = """
load 1m
  x{a="1"} 1+1x10
  y_total@st -20s -80s _x2
  y_total 5 6 7 8

eval instant at 2m x
  x{a="1"} 3

eval instant at 2m sum(x) * 2
  {} 6

eval range from 1m to 3m step 1m x + 1
  {a="1"} 3 4 5

eval instant at 2m 1 + 1
  2

eval instant at 3m x[2m]
  expect range vector from 2m to 3m step 1m
  x{a="1"} 3 4

eval instant at 2m "text"
  expect string "text"

eval instant at 2m quantile(2, x)
  expect warn msg: PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)
  {} Inf

eval instant at 2m rate(x[5m])
  expect info regex: might not be a counter
  expect no_warn
  {a="1"} 0.008333333333333333

eval instant at 2m x + on(b) group_left(c) (x or y_total)
  expect fail regex: duplicate series

eval instant at 2m sort_desc(x or y_total)
  expect ordered
  y_total 7
  x{a="1"} 3

eval instant at 5s start_timestamp(y_total)
  {} -20
"""

CHANGES = [
    ('x{a="1"} 3', 'x{a="1"} 3.00001'),
    ('x{a="1"} 3', 'x{a="2"} 3'),
    ('x{a="1"} 3', 'x{a="1"} 3\n  x{a="2"} 3'),
    ('\n  x{a="1"} 3\n', "\n"),
    ("{} 6", "{} NaN"),
    ('{a="1"} 3 4 5', '{a="1"} 3 4 5 6'),
    ('{a="1"} 3 4 5', '{a="1"} 3 _ 5'),
    ("  2\n", "  3\n"),
    ('x{a="1"} 3 4', 'x{a="1"} 3 5'),
    ("from 2m to 3m step 1m\n", "from 1m to 2m step 1m\n"),
    ('"text"\n\n', '"other"\n\n'),
    ("got 2 (1:10)", "got 2 (1:11)"),
    ("expect warn msg: PromQL warning: quantile value should", "expect no_warn\n  # "),
    ("regex: might not", "regex: must not"),
    ("expect no_warn", "expect warn"),
    ("regex: duplicate series", "regex: other words"),
    ("  expect fail regex: duplicate series", "  {} 1"),
    ('  y_total 7\n  x{a="1"} 3', '  x{a="1"} 3\n  y_total 7'),
    ("{} -20", "{} -20.1"),
    ("@st -20s", "@st -10s"),
    ("x + 1\n", "x +\n"),
    ("expect no_warn", "expect nothing"),
]


def write(folder: Path, text: str) -> Path:
    """Write a file of cases and return its path."""
    path = folder / "cases.test"
    path.write_text(text)
    return path


def test_good_cases_pass(tmp_path: Path) -> None:
    """The cases that the others are changed from pass, each counted once."""
    outcome = run_file(write(tmp_path, CASES))
    assert outcome.failures == []
    assert outcome.passed == len(re.findall("^eval", CASES, re.MULTILINE))


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_changed_expectation_fails(tmp_path: Path, old: str, new: str) -> None:
    """A case whose expectation was changed fails, and it alone."""
    assert old in CASES
    outcome = run_file(write(tmp_path, CASES.replace(old, new, 1)))
    assert outcome.failed == 1, outcome.failures
    assert outcome.failures[0].reason


@pytest.mark.parametrize(
    "bad",
    [
        "lode 1m\n  x 1",
        "load a\n  x 1",
        "load 1m\n  x 1 b",
        "load 1m\n  x@st -1m\n  y 1",
        "load 1m\n  x@st -1m\n  x 1 2",
        "load 1m\n  x@st -1m",
        "load 1m\n  x@st minute\n  x 1",
    ],
)
def test_an_unknown_command_fails_the_file(tmp_path: Path, bad: str) -> None:
    """A command that cannot be read fails the whole file, however good the others are."""
    outcome = run_file(write(tmp_path, f"{CASES}\n{bad}\n"))
    assert (outcome.passed, outcome.failed) == (0, 1)
    assert outcome.failures[0].reason.startswith("cases.test:")


@pytest.mark.parametrize(
    ("text", "offsets"),
    [
        ("-1m", [-60_000]),
        ("_ _x2 0s", [None, None, None, 0]),
        ("5sx2", [5_000] * 3),
        ("-30s-10sx2 1ms+1sx1", [-30_000, -40_000, -50_000, 1, 1_001]),
    ],
)
def test_start_timestamps_expand(text: str, offsets: list[int | None]) -> None:
    """Sequences of start timestamps expand as those of samples do."""
    assert start_offsets(text) == offsets
    with pytest.raises(ScriptError):
        start_offsets(text + " -1m+1s")


def test_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints a line for each file and the sum, JSON on demand, and exits 1 on any failure."""
    good, folder = write(tmp_path, CASES), tmp_path / "bad"
    folder.mkdir()
    bad = write(folder, CASES.replace("{} 6", "{} 7"))
    monkeypatch.setattr(sys, "argv", ["promqltest", str(good)])
    assert main() == 0
    assert capsys.readouterr().out == f"{good}: 11 passed, 0 failed\nsum: 11 passed, 0 failed\n"
    monkeypatch.setattr(sys, "argv", ["promqltest", "--json", str(good), str(bad)])
    assert main() == 1
    captured = capsys.readouterr()
    assert captured.err.endswith(f"{bad}: 10 passed, 1 failed\nsum: 21 passed, 1 failed\n")
    document = json.loads(captured.out)
    assert (document["passed"], document["failed"]) == (21, 1)
    (failure,) = document["files"][1]["failures"]
    assert failure["query"] == "sum(x) * 2"
    assert "6" in failure["reason"]
