"""What the demo's receiver makes of notifications."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from vedette.demo.truth import TruthFile
from vedette.demo.webhook import Inbox, create_webhook
from vedette.kit.clock import FakeClock


def _body(*alerts: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {
        "version": "4",
        "status": "firing",
        "alerts": [{"labels": {"alertname": name}, "status": status} for name, status in alerts],
        **more,
    }


@pytest.fixture
def inbox() -> Inbox:
    """Return an empty inbox."""
    return Inbox()


async def _post(inbox: Inbox, tmp_path: Path, body: Any) -> int:
    with TruthFile(tmp_path / "got.jsonl") as file:
        transport = httpx.ASGITransport(app=create_webhook(inbox, file, FakeClock()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return (await http.post("/alerts", content=json.dumps(body))).status_code


async def test_fired_and_resolved(inbox: Inbox, tmp_path: Path) -> None:
    """An alert counts as resolved when its latest word is so, and it was told as firing before."""
    for body in (
        _body(("A", "firing"), ("B", "firing")),
        _body(("A", "resolved"), ("C", "resolved")),
        _body(("B", "resolved")),
        _body(("B", "firing")),
    ):
        assert await _post(inbox, tmp_path, body) == 200
    assert inbox.fired() == {(("alertname", "A"),), (("alertname", "B"),)}
    assert inbox.resolved() == {(("alertname", "A"),)}
    assert inbox.notifications[0].names == "A, B"
    assert len((tmp_path / "got.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize("body", [[], {}, {"version": "3", "alerts": []}, {"version": "4"}, "x"])
async def test_other_bodies_are_refused(inbox: Inbox, tmp_path: Path, body: Any) -> None:
    """What is not Alertmanager's version 4 gets a 400 and is not counted."""
    assert await _post(inbox, tmp_path, body) == 400
    assert not inbox.notifications
