"""What the SDK's tests share."""

from __future__ import annotations

import pytest
from vedette_sdk.testing import RecordingClient


@pytest.fixture
def client() -> RecordingClient:
    """A client with its own registry, clock and recorded events."""
    return RecordingClient()
