"""Provider, chat application and customers together, over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import vedette_sdk
from prometheus_client import CollectorRegistry
from vedette_sdk import client as sdk_client
from vedette_sdk.client import Client

from vedette.demo.chatapp import create_chatapp, provider_client
from vedette.demo.load import LoadGenerator, load_client, set_mode
from vedette.demo.options import PLAN_HEADER, STREAM_HEADER
from vedette.demo.provider import create_provider
from vedette.demo.serving import GuestServer, address, bind, make_server
from vedette.demo.truth import (
    STATES,
    ClientLine,
    Fault,
    TruthFile,
    combine,
    read_provider_lines,
)
from vedette.kit.clock import SystemClock


class _Hasty(SystemClock):
    """A provider ten times as quick."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10)


@contextlib.asynccontextmanager
async def _served(app: object) -> AsyncIterator[str]:
    sock = bind()
    server = make_server(app, GuestServer)
    task = asyncio.create_task(server.serve([sock]))
    try:
        yield f"http://{address(sock)}"
    finally:
        server.should_exit = True
        await task
        sock.close()


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Set the SDK up with a registry of the test's own."""
    monkeypatch.setattr(sdk_client, "_current", None)
    yield vedette_sdk.init(registry=CollectorRegistry(), stall_after=1.0, timeout=2.5)
    monkeypatch.undo()


@contextlib.asynccontextmanager
async def _demo(truth: Path) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Yield clients for the application and for the provider."""
    clock = _Hasty()
    with TruthFile(truth) as file:
        async with (
            _served(create_provider(file, clock, seed=3)) as provider_url,
            provider_client(provider_url) as provider,
            _served(create_chatapp(provider_client(provider_url), clock, seed=3)) as app_url,
            load_client(app_url) as customers,
        ):
            yield customers, provider


@pytest.fixture
def load_truth(tmp_path: Path) -> Iterator[TruthFile]:
    """Yield a file for the customers' lines."""
    with TruthFile(tmp_path / "load.jsonl") as file:
        yield file


async def _with_fault(customers: httpx.AsyncClient, fault: Fault) -> ClientLine:
    headers = {STREAM_HEADER: fault.value, PLAN_HEADER: f"fault={fault.value}"}
    body = {"message": "Where is my order?"}
    with contextlib.suppress(httpx.RemoteProtocolError):
        await customers.post("/api/chat", json=body, headers=headers)
    return ClientLine(fault.value, "read")


async def test_the_sdk_finds_every_injected_state(
    sdk: Client, tmp_path: Path, load_truth: TruthFile
) -> None:
    """For each fault, and for a client that leaves, the SDK's counters agree with the truth."""
    path = tmp_path / "provider.jsonl"
    async with _demo(path) as (customers, _):
        load = LoadGenerator(customers, load_truth, SystemClock(), seed=3)
        lines = await asyncio.gather(
            *(_with_fault(customers, fault) for fault in Fault),
            *(load.chat(f"leaver{n}", 3, "Where?") for n in range(3)),
        )
        flushed = (await customers.post("/demo/flush")).json()
        metrics = (await customers.get("/metrics")).text
    assert flushed == {"flushed": True, "active_streams": 0}
    truth = combine(lines, read_provider_lines(path)).by_state
    assert truth == {
        "completed": 1,
        "client_left": 3,
        "provider_cut": 2,
        "stalled": 1,
        "timed_out": 1,
        "error": 2,
    }
    for state in STATES:
        assert f'chatbot_streams_total{{state="{state}"}} {truth[state]}.0' in metrics
    assert 'chatbot_http_requests_total{method="POST",route="/api/chat"' in metrics
    assert 'chatbot_cache_requests_total{cache="kb",outcome="miss"}' in metrics


async def test_a_completed_answer_has_its_figures(
    sdk: Client, tmp_path: Path, load_truth: TruthFile
) -> None:
    """A healthy answer has text, audio and the provider's own token counts."""
    async with _demo(tmp_path / "provider.jsonl") as (customers, _):
        load = LoadGenerator(customers, load_truth, SystemClock(), seed=3)
        line = await load.chat("reader", None, "Where is my order?")
        value = sdk.registry.get_sample_value
        await customers.post("/demo/flush")
    assert line.did == "read"
    assert line.tokens > 10
    assert line.first_token_ms is not None
    assert value("chatbot_stream_first_audio_seconds_count") == 1
    assert value("chatbot_stream_complete_seconds_count") == 1
    tokens = value("chatbot_ai_tokens_total", {"model": "demo-gpt", "kind": "completion"})
    assert tokens == line.tokens


async def test_customers_arrive_and_all_are_accounted_for(
    sdk: Client, tmp_path: Path, load_truth: TruthFile
) -> None:
    """In a faulty spell of random customers every chat has a line of truth on each side."""
    path = tmp_path / "provider.jsonl"
    async with _demo(path) as (customers, provider):
        assert await set_mode(provider, "faulty")
        load = LoadGenerator(customers, load_truth, SystemClock(), seed=5, rate=60)
        enough = asyncio.Event()
        arrivals = asyncio.create_task(load.run(enough))
        while load.figures.started < 40:
            await SystemClock().sleep(0.01)
        enough.set()
        await arrivals
        assert await load.drain(20)
        await customers.post("/demo/flush")
    truth = combine(load.lines, read_provider_lines(path))
    assert len(truth.states) == load.figures.started
    recorded = {
        state: sdk.registry.get_sample_value("chatbot_streams_total", {"state": state})
        for state in STATES
    }
    assert recorded == truth.by_state


async def test_bad_requests_are_refused(sdk: Client, tmp_path: Path) -> None:
    """Bodies that make no sense get a 4xx that says what is missing."""
    async with _demo(tmp_path / "provider.jsonl") as (customers, provider):
        assert (await customers.post("/api/chat", content=b"[")).status_code == 422
        assert (await provider.post("/v1/chat/completions", json={})).status_code == 400
        assert (await provider.post("/v1/audio/speech", content=b"x")).status_code == 400
        assert not await set_mode(provider, "on fire")
        assert (await customers.get("/")).text.startswith("<!doctype html>")
    assert sdk.registry.get_sample_value(
        "chatbot_errors_total", {"type": "validation", "severity": "warning"}
    )
