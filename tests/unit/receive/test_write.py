"""The handler of remote write: which answer makes a sender do what."""

from __future__ import annotations

import cramjam
import pytest

from tests.unit.receive.doubles import Index, Store, label, part, sample, series, varint
from tests.unit.receive.messages import REQUEST_2
from vedette.receive.stats import IntakeStats
from vedette.receive.wire.request import WriteLimits
from vedette.receive.write import RemoteWriteHandler, WriteOutcome
from vedette.storage.interface import OverloadedError, StorageError
from vedette.storage.metadata import KnownMetadata

NOW = 1_767_225_600_000
HEADERS = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}
GOOD = series([("__name__", "m")], [(1.0, NOW)])
BAD = part(0x0A, label("job", "x") + sample(1.0, NOW))


class Bench:
    """A handler with its surroundings."""

    def __init__(self, limits: WriteLimits | None = None) -> None:
        self.store, self.stats = Store(), IntakeStats()
        self.metadata = KnownMetadata()
        index = Index()
        self.handler = RemoteWriteHandler(index, self.store, self.metadata, self.stats, limits)

    async def send(self, data: bytes, headers: dict[str, str] | None = None) -> WriteOutcome:
        """Send ``data`` compressed."""
        body = bytes(cramjam.snappy.compress_raw(data))
        return await self.handler.handle(body, headers or HEADERS, "1.2.3.4:5", "shop")


async def test_a_good_request_is_stored_and_answered_204() -> None:
    """Samples reach storage under their application and are counted."""
    bench = Bench()
    outcome = await bench.send(GOOD)
    assert (outcome.status, outcome.accepted) == (204, 1)
    assert (bench.store.batches[0].app, bench.store.batches[0].target) == ("shop", "")
    assert bench.stats.snapshot().accepted == {"remote_write": 1}


async def test_a_partly_bad_request_is_answered_400_and_its_good_part_kept() -> None:
    """A sender must not repeat bad data, and learns from the text what was bad."""
    bench = Bench()
    outcome = await bench.send(GOOD + BAD)
    assert (outcome.status, outcome.accepted, outcome.rejected) == (400, 1, {"no_name": 1})
    assert "__name__" in outcome.message
    assert len(bench.store.batches[0]) == 1
    assert bench.stats.snapshot().rejected == {("remote_write", "no_name"): 1}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-encoding": "gzip"}, 415),
        ({"content-type": "application/json"}, 415),
        ({"content-type": "application/x-protobuf;proto=io.prometheus.write.v3.Request"}, 415),
        ({"content-type": 'Application/X-Protobuf; proto="prometheus.WriteRequest"'}, 204),
        ({"content-type": "application/x-protobuf;proto=prometheus.WriteRequest"}, 204),
        ({"x-nothing": "said"}, 204),
    ],
)
async def test_only_known_messages_are_taken(headers: dict[str, str], status: int) -> None:
    """Another encoding or message is refused with 415, which makes senders fall back."""
    assert (await Bench().send(GOOD, headers)).status == status


async def test_malformed_and_oversized_bodies_are_refused_and_counted() -> None:
    """Neither is stored, repeated by the sender, or uncounted."""
    bench = Bench(WriteLimits(body_bytes=1000))
    assert (await bench.handler.handle(b"\xff\xff", HEADERS, "s", "a")).status == 400
    assert (await bench.send(GOOD[:-1])).status == 400
    assert (await bench.send(GOOD * 100)).status == 413
    assert bench.store.batches == []
    assert sum(bench.stats.snapshot().rejected.values()) == 3


@pytest.mark.parametrize("error", [OverloadedError("full", 7.0), StorageError("disk full")])
async def test_when_storage_refuses_the_sender_shall_come_again(error: StorageError) -> None:
    """A 5xx with Retry-After, and refusals are counted only once the request is settled."""
    bench = Bench()
    bench.store.error = error
    outcome = await bench.send(GOOD + BAD)
    assert outcome.status == 503
    assert outcome.retry_after > 0
    assert ("remote_write", "no_name") not in bench.stats.snapshot().rejected


async def test_metadata_is_kept() -> None:
    """A request of metadata alone stores no sample and is remembered."""
    bench = Bench()
    assert (await bench.send(part(0x1A, b"\x08\x02" + part(0x12, b"load")))).status == 204
    assert bench.metadata.metadata()["load"][0].type == "gauge"
    assert bench.store.batches == []


VERSION_2 = {"content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}


def version_2() -> bytes:
    """Return a request with a float, a histogram, an exemplar and a series without a name."""
    message = REQUEST_2(symbols=["", "__name__", "m", "job", "x"])
    message.timeseries.add(labels_refs=[1, 2]).samples.add(value=1.0, timestamp=NOW)
    other = message.timeseries.add(labels_refs=[1, 4])
    other.histograms.add(timestamp=NOW)
    other.exemplars.add(timestamp=NOW, value=2.0)
    message.timeseries.add(labels_refs=[3, 4]).samples.add(value=1.0, timestamp=NOW)
    written: bytes = message.SerializeToString()
    return written


async def test_senders_of_version_2_are_told_what_was_written() -> None:
    """Every answer names samples, histograms and exemplars, a refusal too; 1.0 is not told."""
    bench = Bench()
    outcome = await bench.send(version_2(), VERSION_2)
    assert (outcome.status, outcome.rejected) == (400, {"no_name": 1})
    assert dict(outcome.headers()) == {
        "X-Prometheus-Remote-Write-Samples-Written": "1",
        "X-Prometheus-Remote-Write-Histograms-Written": "1",
        "X-Prometheus-Remote-Write-Exemplars-Written": "1",
    }
    assert (await bench.send(GOOD, VERSION_2)).headers()[0][1] == "0"
    bench.store.error = StorageError("disk full")
    outcome = await bench.send(version_2(), VERSION_2)
    assert (outcome.status, outcome.written) == (503, (0, 0, 0))
    bench.store.error = None
    assert (await bench.send(GOOD)).headers() == ()


async def test_exemplars_alone_are_stored() -> None:
    """A request without any sample may bring exemplars."""
    bench = Bench()
    exemplar = part(0x1A, b"\x18" + varint(NOW))
    assert (await bench.send(part(0x0A, label("__name__", "m") + exemplar))).status == 204
    assert len(bench.store.batches[0].exemplars) == 1
