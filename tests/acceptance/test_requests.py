"""Requests that Grafana and codemirror-promql send, answered in the shape that they read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench import remote_write
from bench.processes import Running, vedette

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

FOLDER = Path(__file__).resolve().parent.parent / "data" / "clients"
REQUESTS = [
    pytest.param(request, id=f"{file.stem}: {request['name']}")
    for file in sorted(FOLDER.glob("*.json"))
    for request in json.loads(file.read_text())
]
RULES = """
groups:
  - name: g
    rules:
      - alert: Busy
        expr: requests_total > 0
        labels: {severity: page}
"""
CONFIG = "rules: {files: [rules.yml], evaluation_interval: 500ms}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a server that has an hour of two series, an alert that fires, and its own metrics."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "rules.yml").write_text(RULES)
    with vedette(CONFIG, folder) as running:
        now = int(time.time()) * 1000
        for job in ("a", "b"):
            labels = {"__name__": "requests_total", "job": job, "odd.name": "yes"}
            rows = [
                remote_write.series(labels, 240.0 - back, now - back * 15_000)
                for back in range(239, -1, -1)
            ]
            answer = httpx.post(
                f"{running.url}/api/v1/write",
                content=remote_write.compress(b"".join(rows)),
                headers=remote_write.HEADERS,
            )
            assert answer.status_code == 204, answer.text
        _wait_for(running, "ALERTS", "vedette_build_info")
        yield running


def _wait_for(server: Running, *metrics: str) -> None:
    end = time.monotonic() + 30
    for metric in metrics:
        while not httpx.get(f"{server.url}/api/v1/query?query={metric}").json()["data"]["result"]:
            assert time.monotonic() < end, f"there is no {metric}"
            time.sleep(0.2)


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_is_answered_as_its_client_reads_it(
    request_: dict[str, Any], server: Running
) -> None:
    """Status and shape of the answer are what the client expects."""
    answer = httpx.request(
        request_["method"],
        server.url + request_["path"],
        params=_filled(request_.get("params", {})),
        data=_filled(request_["form"]) if "form" in request_ else None,
        headers=request_.get("headers"),
    )
    assert answer.status_code == request_.get("status", 200), answer.text
    assert _mismatch(request_["expect"], answer.json(), "answer") == ""


def _filled(given: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    times = {
        "{now}": str(now),
        "{hour_ago}": str(now - 3_600),
        "{now_iso}": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", ".123Z"),
        "{hour_ago_iso}": datetime.fromtimestamp(now - 3_600, UTC).isoformat(),
    }

    def filled(text: str) -> str:
        for word, value in times.items():
            text = text.replace(word, value)
        return text

    return {
        name: [filled(one) for one in value] if isinstance(value, list) else filled(value)
        for name, value in given.items()
    }


def _mismatch(expected: Any, found: Any, where: str) -> str:
    """Return where ``found`` is not of the expected shape, or ""."""
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return f"{where} is no object: {found!r}"
        members = (
            _mismatch(shape, found.get(name), f"{where}.{name}") for name, shape in expected.items()
        )
        return next(filter(None, members), "")
    if isinstance(expected, list):
        if not isinstance(found, list) or not found:
            return f"{where} is no list, or empty: {found!r}"
        shapes = expected * len(found) if len(expected) == 1 else expected
        if len(shapes) != len(found):
            return f"{where} has {len(found)} elements"
        parts = zip(shapes, found, strict=True)
        return next(
            filter(None, (_mismatch(s, f, f"{where}[{k}]") for k, (s, f) in enumerate(parts))), ""
        )
    fits = _fits(expected, found)
    return "" if fits else f"{where} is {found!r}, not {expected!r}"


def _fits(expected: Any, found: Any) -> bool:
    match expected:
        case "<any>":
            return found is not None
        case "<str>":
            return isinstance(found, str)
        case "<number>":
            return isinstance(found, int | float)
        case "<numeric>":
            return isinstance(found, str) and float(found) == float(found)
        case "<time>":
            return datetime.fromisoformat(found).tzinfo is not None
    return bool(expected == found)


def test_the_shapes_are_judged() -> None:
    """A wrong kind, a missing member and an empty list are each found."""
    assert _mismatch({"a": "<str>"}, {"a": 1}, "x").startswith("x.a")
    assert _mismatch({"a": "<any>"}, {}, "x").startswith("x.a")
    assert "empty" in _mismatch(["<str>"], [], "x")
    assert _mismatch(["<number>", "2"], [1, "2"], "x") == ""
    assert _mismatch(["<str>"], ["a", 2], "x").startswith("x[1]")
