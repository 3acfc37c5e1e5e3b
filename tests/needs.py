"""What some tests need beyond Python; each returns what was found, or skips with the remedy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".peers"


def peer(name: str) -> Path:
    """Return the path of a peer's binary, e.g. ``prometheus`` or ``promtool``."""
    path = PEERS / "usr" / "bin" / name
    if not path.exists():
        pytest.skip("needs Debian's peers: make peers")
    return path


def peer_data(*parts: str) -> Path:
    """Return a file or folder of the peers' published test data."""
    root = os.environ.get("VEDETTE_PEER_DATA")
    if not root:
        pytest.skip("needs peers' test data: set VEDETTE_PEER_DATA to its folder")
    return Path(root).joinpath(*parts)


def chromium() -> str:
    """Return the path of Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("needs Chromium: apt-get install chromium")
    return path
