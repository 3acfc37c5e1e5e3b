"""Cost of what comes in: nanoseconds per sample for scrapes and for remote write.

    python bench/intake.py

CPU time of this process, best of several rounds; no network and no storage. "unchanged" scrapes
repeat 4 of 5 lines, as most targets do; remote write sends 19,001 series in requests of 2,000
whose cuts move from round to round.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Sequence

import cramjam
import numpy as np

from vedette.model.arrays import I32
from vedette.model.labels import Labels
from vedette.receive.wire.remote_write import decode
from vedette.receive.wire.request import WriteLimits
from vedette.receive.wire.sender import SenderCache
from vedette.receive.wire.snappy import decompress
from vedette.scrape.formats import Answer, Format
from vedette.scrape.settings import ScrapeJob
from vedette.scrape.target import TargetScrape
from vedette.scrape.targets import Target

SERIES = 10_000
SENT_SERIES, PER_REQUEST = 19_001, 2_000


class Index:
    """Numbers series and keeps nothing else."""

    def __init__(self) -> None:
        self._refs: dict[bytes, int] = {}

    def refs(self, series: Sequence[Labels]) -> I32:
        """Return int32[n]."""
        numbers = (self._refs.setdefault(s.canonical(), len(self._refs)) for s in series)
        return np.fromiter(numbers, np.int32, len(series))


def best(measured: Callable[[], object], rounds: int) -> float:
    """Return the smallest CPU seconds of a round."""
    least = float("inf")
    for _ in range(rounds):
        begun = time.process_time()
        measured()
        least = min(least, time.process_time() - begun)
    return least


def exposition(values: list[float]) -> bytes:
    """Return a body of 10,000 series in 200 families."""
    lines = []
    for i, value in enumerate(values):
        if i % 50 == 0:
            lines += [
                f"# HELP metric_{i // 50}_total Help.",
                f"# TYPE metric_{i // 50}_total counter",
            ]
        labels = f'method="GET",route="/api/v1/things/{i % 50}",status_code="200",pod="web-7f9c"'
        lines.append(f"metric_{i // 50}_total{{{labels}}} {value}")
    return "\n".join([*lines, ""]).encode()


def openmetrics(values: list[float]) -> bytes:
    """Return the same in OpenMetrics, with an exemplar on every twentieth line."""
    lines = exposition(values).decode().replace("_total counter", " counter")
    lines = lines.replace("_total Help.", " Help.")
    marked = [
        f'{line} # {{trace_id="{i:032x}"}} 0.5 1700000000.123'
        if i % 20 == 0 and not line.startswith("#") and line
        else line
        for i, line in enumerate(lines.split("\n"))
    ]
    return "\n".join(marked).encode() + b"# EOF\n"


def protobuf(values: list[float]) -> bytes:
    """Return the same as protobuf, with created timestamps."""
    families: dict[int, list[bytes]] = {}
    created = part(0x1A, b"\x08" + varint(1_700_000_000) + b"\x10" + varint(123_000_000))
    for i, value in enumerate(values):
        labels = {
            "method": "GET",
            "pod": "web-7f9c",
            "route": f"/api/v1/things/{i % 50}",
            "status_code": "200",
        }
        pairs = b"".join(
            part(0x0A, part(0x0A, k.encode()) + part(0x12, v.encode())) for k, v in labels.items()
        )
        counter = part(0x1A, b"\x09" + struct.pack("<d", value) + created)
        families.setdefault(i // 50, []).append(part(0x22, pairs + counter))
    bodies = [
        part(0x0A, f"metric_{k}_total".encode()) + b"\x18\x00" + b"".join(metrics)
        for k, metrics in families.items()
    ]
    return b"".join(varint(len(body)) + body for body in bodies)


def scrapes() -> None:
    """Print figures of all exposition formats."""
    for format, write in (
        (Format.TEXT, exposition),
        (Format.OPENMETRICS, openmetrics),
        (Format.PROTOBUF, protobuf),
    ):
        scrapes_of(format, write)


def scrapes_of(format: Format, write: Callable[[list[float]], bytes]) -> None:
    """Print figures of the exposition parser with the labels and staleness of a target."""
    choose = random.Random(1)
    values = [float(choose.randrange(10**6)) for _ in range(SERIES)]
    scrape = TargetScrape(Target(ScrapeJob("web", ("127.0.0.1:1",)), "127.0.0.1:1"), Index())
    ts = 1_700_000_000_000

    def take(body: bytes) -> None:
        nonlocal ts
        ts += 15_000
        scrape.commit(scrape.success(Answer(body, format), ts, 0.1))

    body = write(values)
    first = best(lambda: take(body), 1)
    fresh = iter([write([v + k for v in values]) for k in range(1, 9)])
    changed = best(lambda: take(next(fresh)), 8)
    few = iter([write([v + k * (i % 5 == 0) for i, v in enumerate(values)]) for k in range(9, 17)])
    take(write(values))
    unchanged = best(lambda: take(next(few)), 8)
    print(f"scrape of {SERIES} series as {format}, {len(body) / 1e6:.2f} MB")
    for name, seconds in (
        ("first", first),
        ("all changed", changed),
        ("1 of 5 changed", unchanged),
    ):
        print(f"  {name:<16}{seconds * 1e3:8.2f} ms {seconds / SERIES * 1e9:8.0f} ns/sample")


def varint(number: int) -> bytes:
    """Return ``number`` in protobuf's variable length."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def part(tag: int, content: bytes) -> bytes:
    """Return a length-delimited field."""
    return bytes([tag]) + varint(len(content)) + content


def series_bytes(i: int) -> bytes:
    """Return the label fields of series ``i``."""
    labels = {
        "__name__": f"metric_{i // 50}_total",
        "instance": f"10.0.{i // 2000}.17:9100",
        "job": "web",
        "method": "GET",
        "pod": f"web-7f9c-{i // 2000}",
        "route": f"/api/v1/things/{i % 50}",
        "status_code": "200",
    }
    return b"".join(
        part(0x0A, part(0x0A, n.encode()) + part(0x12, v.encode())) for n, v in labels.items()
    )


def requests(rounds: int, zero: float, flips: float) -> list[bytes]:
    """Return the compressed requests of a sender that leaves out values of 0.0.

    ``zero`` is the share of series that are 0.0, ``flips`` the share that change in a round.
    """
    choose = random.Random(2)
    keys = [series_bytes(i) for i in range(SENT_SERIES)]
    zeros = [choose.random() < zero for _ in keys]
    records = []
    for r in range(rounds):
        stamp = b"\x10" + varint(1_700_000_000_000 + r * 15_000)
        for i, key in enumerate(keys):
            zeros[i] ^= choose.random() < flips
            value = b"" if zeros[i] else b"\x09" + struct.pack("<d", choose.random())
            records.append(part(0x0A, key + part(0x12, value + stamp)))
    cuts = range(0, len(records) - PER_REQUEST, PER_REQUEST)
    bodies = (b"".join(records[at : at + PER_REQUEST]) for at in cuts)
    return [bytes(cramjam.snappy.compress_raw(body)) for body in bodies]


def remote_write() -> None:
    """Print figures of the decoder."""
    print(f"remote write, {SENT_SERIES} series, {PER_REQUEST} samples per request")
    cases = [("no zeros", 0.0, 0.0), ("1 of 3 zero", 0.33, 0.0), ("0.5 % flip", 0.33, 0.005)]
    for name, zero, flips in cases:
        shown = ", ".join(
            f"{key} {ns:.0f}" for key, ns in figures(requests(5, zero, flips)).items()
        )
        print(f"  {name:<14}{shown} ns/sample")


def figures(bodies: list[bytes]) -> dict[str, float]:
    """Return ns per sample of the ways through the decoder."""
    limits, index, cache = WriteLimits(), Index(), SenderCache()

    def take(body: bytes) -> None:
        decode(decompress(body, limits.body_bytes), cache, index, limits)

    def forget(body: bytes) -> None:
        cache.ring.clear()
        take(body)

    first = best(lambda: take(bodies[0]), 1)
    for body in bodies[1:12]:
        take(body)
    rest = iter(bodies[12:])
    whole = time.process_time()
    for body in rest:
        take(body)
    by_order = (time.process_time() - whole) / (len(bodies) - 12)
    seconds = {
        "first": first,
        "by order": by_order,
        "by series and learning": best(lambda: forget(bodies[-1]), 5),
        "snappy of it": best(lambda: decompress(bodies[20], limits.body_bytes), 5),
    }
    return {key: value / PER_REQUEST * 1e9 for key, value in seconds.items()}


if __name__ == "__main__":
    scrapes()
    remote_write()
