"""Pushed groups: Pushgateway's clients, grouping keys, replacement, persistence, storing."""

from __future__ import annotations

import asyncio
import base64
import gzip
import math
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.exposition import (
    delete_from_gateway,
    instance_ip_grouping_key,
    push_to_gateway,
    pushadd_to_gateway,
)

from tests.unit.receive.doubles import Index, Store
from tests.unit.scrape.protobufs import double, family, metric, spans, whole, zigzag
from tests.unit.web.support import TOKEN, fake_services
from vedette.app.push_reader import read_push
from vedette.kit.clock import FakeClock
from vedette.model.histograms import HistogramValue
from vedette.model.labels import Labels
from vedette.model.samples import STALE_BITS, bits
from vedette.receive.push import PushHandler
from vedette.receive.push_file import GroupFile
from vedette.receive.push_groups import (
    Group,
    GroupKey,
    PushedFamily,
    PushedSample,
    grouping_key,
)
from vedette.receive.settings import PushSettings
from vedette.receive.stats import IntakeStats
from vedette.receive.wire.errors import WireError
from vedette.storage.interface import OverloadedError
from vedette.web.asgi import WebApp
from vedette.web.http import TEXT
from vedette.web.services import IntakeAnswer

T0 = 1_767_225_600_000
NOW = T0 / 1000


class Bench:
    """A handler with doubles of storage behind it, and a real file."""

    def __init__(self, folder: Path, **settings: int) -> None:
        self.index, self.store, self.stats = Index(), Store(), IntakeStats()
        self.clock = FakeClock(T0)
        self.file = GroupFile(folder / "groups.json")
        self.handler = self.fresh(**settings)

    def fresh(self, **settings: int) -> PushHandler:
        """Return another handler on the same file."""
        return PushHandler(
            self.index,
            self.store,
            self.stats,
            self.clock,
            partial(read_push, stats=self.stats),
            self.file,
            PushSettings(**settings),
        )

    async def push(
        self, path: str, body: str | bytes = b"", method: str = "PUT", **headers: str
    ) -> int:
        """Send a request; return the status."""
        data = body.encode() if isinstance(body, str) else body
        told = {name.replace("_", "-"): text for name, text in headers.items()}
        said = await self.handler.handle(method, path, data, told, "default")
        assert bool(said.message) == (said.status >= 400)
        return said.status

    async def stored(self) -> dict[str, Any]:
        """Let the groups be stored once; return the values, less the push times."""
        await self.handler._append()
        batch = self.store.batches[-1]
        assert set(batch.ts.tolist()) == {self.clock.now_ms()}
        assert len(set(batch.refs.tolist())) == len(batch)
        names = map(str, self.index.labels(batch.refs.tolist()))
        stale = (bits(batch.values) == STALE_BITS).tolist()
        values = ["stale" if s else v for s, v in zip(stale, batch.values.tolist(), strict=True)]
        return {n: v for n, v in zip(names, values, strict=True) if not n.startswith("push_")}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a fresh bench."""
    return Bench(tmp_path)


class Pushes:
    """What the web room asks of, in front of a handler."""

    def __init__(self, handler: PushHandler) -> None:
        self._handler = handler

    async def push(
        self, method: str, path: str, body: bytes, headers: Any, sender: str, app: str
    ) -> IntakeAnswer:
        said = await self._handler.handle(method, path, body, headers, app)
        return IntakeAnswer(said.status, said.message.encode(), TEXT)

    def groups(self) -> bytes:
        return orjson.dumps({"status": "success", "data": self._handler.shown()})

    async def wipe(self) -> None:
        await self._handler.wipe()


@asynccontextmanager
async def listening(bench: Bench) -> AsyncIterator[str]:
    """Serve the web room with the handler on a port of loopback; yield host and port."""
    web = WebApp(fake_services(pushes=Pushes(bench.handler)))
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(web, lifespan="off", log_level="error"))  # type: ignore[arg-type]  # uvicorn has its own ASGI types
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield f"127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        sock.close()


async def test_the_clients_of_pushgateway_push(bench: Bench) -> None:
    """push replaces the group, pushadd only families of its names, delete removes it."""
    registry = CollectorRegistry()
    Gauge("last_success", "Time.", registry=registry).set(5)
    Histogram("took_seconds", "Time.", buckets=(1,), registry=registry).observe(0.5)
    further = CollectorRegistry()
    Gauge("rows", "Rows.", ["table"], registry=further).labels("ä/b").set(7)
    key = {"instance": "a/b", "empty": ""}
    labels = 'instance="a/b", job="nightly job"'
    async with listening(bench) as address:

        def call(send: Any, *args: Any) -> None:
            send(address, *args, grouping_key=key)

        await asyncio.to_thread(call, push_to_gateway, "nightly job", registry)
        first = await bench.stored()
        assert first[f"last_success{{{labels}}}"] == 5.0
        assert first[f'took_seconds_bucket{{{labels[:-1]}", le="1.0"}}'] == 1.0
        await asyncio.to_thread(call, pushadd_to_gateway, "nightly job", further)
        both = await bench.stored()
        assert both == first | {f'rows{{{labels}, table="ä/b"}}': 7.0}
        await asyncio.to_thread(call, push_to_gateway, "nightly job", further)
        replaced = await bench.stored()
        assert replaced[f"last_success{{{labels}}}"] == "stale"
        assert replaced[f'rows{{{labels}, table="ä/b"}}'] == 7.0
        await asyncio.to_thread(call, delete_from_gateway, "nightly job")
        assert set((await bench.stored()).values()) == {"stale"}
        assert bench.handler.shown() == []
        own = instance_ip_grouping_key()
        await asyncio.to_thread(push_to_gateway, address, "j", registry, own)
        (group,) = bench.handler.shown()
        assert group["labels"] == {"job": "j", **own}


async def test_formats(bench: Bench) -> None:
    """OpenMetrics, protobuf with native histograms, gzip, and text under a form's type."""
    openmetrics = '# TYPE a counter\na_total 1 # {t="x"} 1\na_created 9\n# EOF\n'
    kind = "application/openmetrics-text; version=1.0.0"
    assert await bench.push("job/om", openmetrics, content_type=kind) == 200
    native = whole(1, 2) + double(2, 3) + spans(12, [(0, 1)]) + zigzag(13, 2)
    kind = (
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
        "encoding=delimited"
    )
    assert (
        await bench.push("job/pb", family("h", 4, metric({}, 7, native)), content_type=kind) == 200
    )
    form = {"content_type": "application/x-www-form-urlencoded"}
    assert await bench.push("job/form", "b 2", **form) == 200
    packed = gzip.compress(b"c 3\n")
    assert await bench.push("job/gz", packed, content_encoding="gzip") == 200
    assert bench.stats.snapshot().dropped == {("push", "exemplar"): 1}
    stored = await bench.stored()
    assert stored['a_total{job="om"}'] == 1.0
    assert (stored['b{job="form"}'], stored['c{job="gz"}']) == (2.0, 3.0)
    batch = bench.store.batches[-1]
    assert batch.histograms is not None
    assert batch.histograms.rows == 1
    assert batch.start is not None
    assert set(batch.start.tolist()) == {0, 9000}


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        ("job/a", {"job": "a"}),
        ("job/a%20b/x/1%2F2", {"job": "a b", "x": "1/2"}),
        ("job@base64/L3Zhci90bXA", {"job": "/var/tmp"}),
        ("job@base64/L3Zhci90bXA=", {"job": "/var/tmp"}),
        ("job/a/x@base64/=", {"job": "a", "x": ""}),
        ("job/%C3%BC/instance/", {"job": "ü", "instance": ""}),
    ],
)
def test_grouping_keys(path: str, labels: dict[str, str]) -> None:
    """Names and values by pairs, percent-encoded or base64url."""
    assert grouping_key(path, "app") == GroupKey("app", Labels(tuple(sorted(labels.items()))))


@pytest.mark.parametrize(
    "path",
    ["job", "job/", "x/1", "x/1/job/a", "job/a/x", "job/a/job/b", "job/a/9/b", "job/a/__x/b",
     "job@base64/a", "job/%ff", "job@base64/gICA", "", "job/a" + "/x/1" * 40],
)  # fmt: skip
async def test_what_is_no_grouping_key(bench: Bench, path: str) -> None:
    """It is refused, and no group comes of it."""
    assert await bench.push(path, "a 1\n") == 400
    assert bench.handler.shown() == []


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,4}", fullmatch=True), st.text(max_size=6), max_size=4)
)
def test_base64_carries_any_value(labels: dict[str, str]) -> None:
    """Whatever a value holds, base64url brings it."""
    whole_key = {"job": "j", **{k: v for k, v in labels.items() if k != "job"}}
    parts = [
        f"{name}@base64/{base64.urlsafe_b64encode(value.encode()).decode() or '='}"
        for name, value in whole_key.items()
    ]
    found = grouping_key("/".join(parts), "")
    assert found == GroupKey("", Labels(tuple(sorted(whole_key.items()))))


async def test_empty_labels_part_groups(bench: Bench) -> None:
    """A group with an empty label is another one than that without; series have no such label."""
    await bench.push("job/a/x/", "m 1\n")
    await bench.push("job/a", "n 2\n")
    assert [group["labels"] for group in bench.handler.shown()] == [
        {"job": "a", "x": ""},
        {"job": "a"},
    ]
    assert await bench.stored() == {'m{job="a"}': 1.0, 'n{job="a"}': 2.0}


async def test_histograms_and_summaries_are_shown_as_a_whole(bench: Bench) -> None:
    """Buckets, quantiles, count and sum of one metric stand together, as in Pushgateway."""
    body = (
        '# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n'
        '# TYPE s summary\ns{quantile="0.5"} 1.5\ns_sum 3\ns_count 2\n'
    )
    assert await bench.push("job/a", body) == 200
    (group,) = bench.handler.shown()
    labels = {"instance": "", "job": "a"}
    both = {"labels": labels, "sum": "3", "count": "2"}
    shown: Any = group
    assert shown["h"]["metrics"] == [{**both, "buckets": {"1": "1", "+Inf": "2"}}]
    assert shown["s"]["metrics"] == [{**both, "quantiles": {"0.5": "1.5"}}]


async def test_push_times_are_stored(bench: Bench) -> None:
    """When the group was pushed last, and when a push failed last, is told in seconds."""
    assert await bench.push("job/a", "m 1\n") == 200
    await bench.clock.advance(5)
    assert await bench.push("job/a", "m one\n") == 400
    await bench.handler._append()
    batch = bench.store.batches[-1]
    names = map(str, bench.index.labels(batch.refs.tolist()))
    assert dict(zip(names, batch.values.tolist(), strict=True)) == {
        'm{job="a"}': 1.0,
        'push_time_seconds{job="a"}': NOW,
        'push_failure_time_seconds{job="a"}': NOW + 5,
    }
    (group,) = bench.handler.shown()
    assert group["last_push_successful"] is False


async def test_grouping_labels_win(bench: Bench) -> None:
    """They replace those of the sample; its own push times are left out."""
    body = 'm{job="x",instance="i"} 1\npush_time_seconds 5\n'
    assert await bench.push("job/a", body) == 200
    assert await bench.stored() == {'m{instance="i", job="a"}': 1.0}


@pytest.mark.parametrize(
    "body",
    ["m 1 1000\n", "m{\n", 'm{a="x"} 1\nm{a="x"} 2\n', 'm{job="x"} 1\nm{job="y"} 2\n',
     "# TYPE other counter\nother 1\n"],
)  # fmt: skip
async def test_bodies_that_are_refused(bench: Bench, body: str) -> None:
    """Timestamps, faults, series that stand twice, another type than elsewhere: nothing changes."""
    assert await bench.push("job/z", "# TYPE other gauge\nother 1\n") == 200
    assert await bench.push("job/a", "m 5\n") == 200
    assert await bench.push("job/a", body) == 400
    assert (await bench.stored())['m{job="a"}'] == 5.0
    assert sum(bench.stats.snapshot().rejected.values()) == 1


async def test_limits(tmp_path: Path) -> None:
    """So many groups, so many samples, so large a body."""
    bench = Bench(tmp_path, groups=2, samples=10)
    assert await bench.push("job/a", "m 1\n") == 200
    assert await bench.push("job/b", "m 1\n") == 200
    assert await bench.push("job/c", "m 1\n") == 400
    assert await bench.push("job/b", "".join(f'm{{i="{i}"}} 1\n' for i in range(10))) == 400
    bomb = gzip.compress(b" " * (17 << 20), mtime=0)
    assert await bench.push("job/b", bomb, content_encoding="gzip") == 413
    assert len(bench.handler.shown()) == 2


async def test_two_groups_with_one_series(bench: Bench) -> None:
    """The series is stored once, and the other sample counted."""
    await bench.push("job/a", 'm{x="1"} 1\n')
    await bench.push("job/a/x/1", "m 2\n")
    stored = await bench.stored()
    assert list(stored) == ['m{job="a", x="1"}']
    assert bench.stats.snapshot().rejected["push", "duplicate_series"] >= 1


async def test_a_restart_loses_nothing(bench: Bench) -> None:
    """Groups, types, times and values come back; what vanished meanwhile was marked before."""
    native = HistogramValue(3, 2.0, math.nan, 0.5, 1.0, 3, ((1, 1.0),), (), ())
    key = GroupKey("shop", Labels.of({"job": "é\n"}))
    samples = tuple(
        PushedSample(Labels.of({"__name__": "m", "i": str(i)}), value, i)
        for i, value in enumerate((math.inf, -0.0, 5e-324, 0.1))
    )
    held = Group(
        key,
        {
            "m": PushedFamily("m", "gauge", "Help.", "s", samples, T0),
            "h": PushedFamily("h", "histogram", "", "",
                              (PushedSample(Labels.of({"__name__": "h"}), 0.0, 0, native),), T0),
        },
        T0, 7,
    )  # fmt: skip
    bench.file.save([held])
    assert repr(bench.file.load()) == repr([held])
    await bench.push("job/a", "m 1\n")
    again = bench.fresh()
    await again.load()
    assert [group["labels"] for group in again.shown()] == [{"job": "a"}]


@pytest.mark.parametrize("data", [b"", b"{", b'{"version": 2, "groups": []}', b'{"version": 1}',
                                  b'{"version": 1, "groups": [{"app": ""}]}', b"[]"])  # fmt: skip
def test_a_damaged_file_is_kept_aside(tmp_path: Path, data: bytes) -> None:
    """The server starts without groups, and says so; nothing is overwritten."""
    path = tmp_path / "groups.json"
    path.write_bytes(data)
    assert GroupFile(path).load() == []
    assert (tmp_path / "groups.json.damaged").read_bytes() == data


class _FullDisk:
    def load(self) -> list[Group]:
        return []

    def save(self, groups: list[Group]) -> None:
        raise OSError(28, "No space left on device")


async def test_a_full_disk_is_told(bench: Bench) -> None:
    """The client learns that its push may be lost."""
    bench.handler._store = _FullDisk()
    assert await bench.push("job/a", "m 1\n") == 503


async def test_a_full_queue_loses_nothing(bench: Bench) -> None:
    """What could not be stored is counted and tried again at the next interval."""
    await bench.push("job/a", "m 1\n")
    bench.store.error = OverloadedError("full")
    await bench.handler._append()
    bench.store.error = None
    assert await bench.stored() == {'m{job="a"}': 1.0}


async def test_the_loop_stores_soon_after_a_push_and_at_every_interval(bench: Bench) -> None:
    """A second after a change, and again after fifteen."""
    running = asyncio.create_task(bench.handler.run())
    await bench.clock.advance(0)
    assert await bench.push("job/a", "m 1\n") == 200
    await bench.clock.advance(1.5)
    assert len(bench.store.batches) == 1
    await bench.clock.advance(20)
    assert len(bench.store.batches) >= 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_api_shows_groups_and_wipes_them(bench: Bench) -> None:
    """As Pushgateway's own; wiping needs the admin token."""
    await bench.push("job/a", "# HELP m What.\n# TYPE m counter\nm 1.5\n")
    from tests.unit.web.support import client

    async with client(fake_services(pushes=Pushes(bench.handler))) as http:
        said = (await http.get("/api/v1/metrics")).json()
        (group,) = said["data"]
        assert (group["labels"], group["last_push_successful"]) == ({"job": "a"}, True)
        assert group["m"]["type"] == "COUNTER"
        assert group["m"]["metrics"] == [{"labels": {"instance": "", "job": "a"}, "value": "1.5"}]
        assert group["m"]["time_stamp"].startswith("2026-01-01T00:00:00")
        assert (await http.put("/api/v1/admin/wipe")).status_code == 401
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert (await http.put("/api/v1/admin/wipe", headers=headers)).status_code == 202
        assert (await http.get("/metrics/job/a")).status_code == 405
    assert bench.handler.shown() == []


def test_noise_is_refused_with_a_reason() -> None:
    """Bodies of random bytes end in an error of the wire, or in families."""
    choose = np.random.default_rng(1)
    kinds: Sequence[str] = ("", "application/openmetrics-text", "application/vnd.google.protobuf")
    for kind in kinds:
        for size in range(60):
            reason = ""
            try:
                read_push(choose.bytes(size), kind)
            except WireError as error:
                reason = error.reason
            assert reason or size < 4
