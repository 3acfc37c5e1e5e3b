"""How a demo ends that cannot begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from vedette.demo.options import DemoOptions
from vedette.demo.run import main


def test_a_folder_that_cannot_be_used_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Instead of a traceback there is one line with the folder and what to do."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert main(DemoOptions(data_dir=blocked)) == 1
    said = capsys.readouterr().out
    assert str(blocked) in said
    assert "choose --data-dir" in said
