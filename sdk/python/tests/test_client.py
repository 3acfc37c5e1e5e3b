"""The helpers, the label guard, and setting up."""

from __future__ import annotations

import pytest
import vedette_sdk
from prometheus_client import CollectorRegistry
from vedette_sdk import client as client_module
from vedette_sdk.client import Client, Options, without_literals
from vedette_sdk.metrics import MAX_LABEL_SETS
from vedette_sdk.testing import RecordingClient


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the process's client as it was, with no settings in the environment."""
    monkeypatch.setattr(client_module, "_current", None)
    monkeypatch.delenv("VEDETTE_URL", raising=False)
    monkeypatch.delenv("VEDETTE_INGEST_KEY", raising=False)


def test_helpers_write_real_metrics(client: RecordingClient) -> None:
    """Each helper of the public API moves the metric that its name stands for."""
    client.track_chat_message("user", "ar")
    client.time.pass_time(100)
    client.track_ai_request("m", client.time.monotonic() - 2, True, 150, 300)
    client.track_ai_request("m", client.time.now_ms() / 1000 - 3, False)
    client.record_error("timeout", "critical")
    client.count_cache("kb", hit=True)
    client.record_query("SELECT 1", 0.02, True)
    client.record_launch("moodle", False, 0.3, {"course": "c"})
    value = client.value
    assert value("chatbot_messages_total", role="user", language="ar") == 1
    name = "chatbot_ai_request_duration_seconds_sum"
    assert value(name, model="m", status="success") == pytest.approx(2)
    assert value(name, model="m", status="error") == pytest.approx(3)
    assert value("chatbot_ai_tokens_total", model="m", kind="completion") == 300
    assert value("chatbot_errors_total", type="timeout", severity="critical") == 1
    assert value("chatbot_cache_requests_total", cache="kb", outcome="hit") == 1
    name = "chatbot_db_query_duration_seconds_count"
    assert value(name, operation="select", status="success") == 1
    assert value("chatbot_launches_total", platform="moodle", status="error") == 1
    assert [kind for kind, _ in client.events] == ["database_metric", "lti_launch"]


def test_queries_are_sent_without_literals() -> None:
    """Strings and numbers of a query are users' data and do not leave the process."""
    query = "SELECT *\n FROM users WHERE mail = 'a''b@c.de' AND age > 41.5"
    assert without_literals(query) == "SELECT * FROM users WHERE mail = ? AND age > ?"
    assert len(without_literals("x " * 10_000)) <= 500


def test_label_sets_are_bounded(client: RecordingClient) -> None:
    """However many values an application invents, the number of series is bounded."""
    for number in range(MAX_LABEL_SETS + 50):
        client.record_error(f"error {number}", "error")
    assert client.value("chatbot_errors_total", type="other", severity="other") == 50


def test_setting_up_twice_keeps_the_counts(fresh: None) -> None:
    """A second init() with the same registry goes on with the same families."""
    registry = CollectorRegistry()
    vedette_sdk.init(registry=registry)
    vedette_sdk.track_cache("kb").hit()
    vedette_sdk.init(registry=registry)
    vedette_sdk.track_cache("kb").miss()
    assert vedette_sdk.cache_lookup("kb", lambda: "found") == "found"
    assert vedette_sdk.cache_lookup("kb", lambda: None) is None
    for outcome in ("hit", "miss"):
        labels = {"cache": "kb", "outcome": outcome}
        assert registry.get_sample_value("chatbot_cache_requests_total", labels) == 2


def test_everything_works_without_a_server(fresh: None) -> None:
    """Without a url, figures are counted and flushing has nothing to do."""
    client = vedette_sdk.init(registry=CollectorRegistry())
    vedette_sdk.send_event("note", {"x": 1})
    assert vedette_sdk.flush(0)
    assert client.close(0)


def test_zeros_are_declared(client: RecordingClient) -> None:
    """Error classes and declared caches stand at zero before anything has happened."""
    client = RecordingClient(error_classes=("llm", "tts"), caches=("kb",))
    for name in ("llm", "tts", "other"):
        assert client.value("chatbot_stream_errors_total", **{"class": name}) == 0
    assert client.value("chatbot_cache_requests_total", cache="kb", outcome="miss") == 0
    assert client.provider_class == "llm"


@pytest.mark.parametrize("bad", [{"namespace": "1st-bot"}, {"url": "localhost:9797"}])
def test_settings_that_cannot_work_are_told(fresh: None, bad: dict[str, str]) -> None:
    """A mistake in the settings is said when the application starts, with what to write."""
    with pytest.raises(ValueError, match=r"write it like|use letters"):
        vedette_sdk.init(registry=CollectorRegistry(), **bad)  # type: ignore[arg-type] # any of them


def test_settings_from_the_environment(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Address and key come from the environment where init() is not told them."""
    monkeypatch.setenv("VEDETTE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("VEDETTE_INGEST_KEY", "key")
    client = vedette_sdk.init(registry=CollectorRegistry())
    assert (client.options.url, client.options.ingest_key) == ("http://127.0.0.1:1", "key")


def test_key_is_not_in_the_options_text() -> None:
    """Printing the options does not print the ingest key."""
    assert "s3cret" not in repr(Options(ingest_key="s3cret"))
    assert Client(Options(), registry=CollectorRegistry()).options.app == "default"
