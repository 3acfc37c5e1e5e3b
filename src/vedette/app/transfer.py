"""What ``vedette import`` and ``vedette export`` do, as clients of a running server."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import httpx
import orjson

from vedette.model.labels import METRIC_NAME, quote

CHUNK = 256 * 1024
_EOF = b"# EOF"

Progress = Callable[[int], None]
"""Called with the number of bytes or series that were handled since the last call."""


class TransferError(Exception):
    """The transfer failed; the message says what, where and how to mend it."""


class Sink(Protocol):
    """Takes bytes, as a file does."""

    def write(self, data: bytes, /) -> int:
        """Write ``data``."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the server; ``token`` is an ingest key or the admin token."""

    url: str
    token: str = field(default="", repr=False)
    timeout: float = 300.0

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """Yield an HTTP client; raises ``TransferError`` for what it cannot do."""
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with httpx.Client(
                base_url=self.url.rstrip("/"),
                headers=headers,
                timeout=httpx.Timeout(self.timeout, connect=5.0),
                trust_env=False,
            ) as client:
                yield client
        except httpx.ConnectError as error:
            message = f"cannot reach {self.url}: {error}; is the server running?"
            raise TransferError(message) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = str(error) or type(error).__name__
            raise TransferError(f"the connection to {self.url} failed: {text}") from None


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What a server said of one file."""

    samples: int
    rejected: Mapping[str, int]
    message: str


def import_file(
    path: Path, access: Access, labels: Sequence[str], progress: Progress
) -> ImportResult:
    """Send the file at ``path`` (gzip if its name ends with ``.gz``); memory stays small.

    Raises:
        TransferError: it cannot be read, or the server refused it.
    """
    try:
        kind = "openmetrics-text" if is_openmetrics(path) else "plain"
        with _opened(path) as file, access.client() as client:
            answer = client.post(
                "/api/v1/import/prometheus",
                params=[("extra_label", label) for label in labels],
                headers={"content-type": f"{'text' if kind == 'plain' else 'application'}/{kind}"},
                content=_chunks(file, progress),
            )
    except OSError as error:
        raise TransferError(f"{path}: cannot be read: {error.strerror or error}") from None
    except EOFError as error:
        raise TransferError(f"{path}: {error}") from None
    return _import_result(path, answer)


def _import_result(path: Path, answer: httpx.Response) -> ImportResult:
    try:
        said = answer.json()
        if not isinstance(said, dict):
            raise TypeError
    except (ValueError, TypeError):
        raise TransferError(f"{path}: the server answered HTTP {answer.status_code}") from None
    error = said.get("error", "")
    text = error.get("message", "") if isinstance(error, dict) else str(error)
    if answer.status_code != httpx.codes.OK:
        stored = said.get("samples", 0)
        raise TransferError(f"{path}: {text} ({stored} samples were stored before)")
    return ImportResult(int(said["samples"]), said["rejected"], text)


def is_openmetrics(path: Path) -> bool:
    """Return whether the file ends with the end marker of OpenMetrics."""
    if path.suffix == ".gz":
        tail = b""
        with gzip.open(path) as file:
            while chunk := file.read(CHUNK):
                tail = (tail + chunk)[-16:]
    else:
        with path.open("rb") as plain:
            plain.seek(0, os.SEEK_END)
            plain.seek(max(0, plain.tell() - 16))
            tail = plain.read()
    return tail.rstrip(b"\n").rpartition(b"\n")[2] == _EOF


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path.suffix == ".gz":
        with gzip.open(path) as packed:
            yield packed  # type: ignore[misc]  # a GzipFile reads as a BinaryIO does
    else:
        with path.open("rb") as file:
            yield file


def _chunks(file: BinaryIO, progress: Progress) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
        progress(len(chunk))


@dataclass(frozen=True, slots=True)
class ExportResult:
    """How much was written, and how many native histograms had no form in the text."""

    series: int
    samples: int
    histograms: int


def export(
    selectors: Sequence[str],
    start: float,
    end: float,
    access: Access,
    out: Sink,
    progress: Progress,
) -> ExportResult:
    """Write the samples of all ``selectors`` from ``start`` to ``end`` (s) as OpenMetrics.

    One series is asked for at a time, so that memory holds no more than its samples.

    Raises:
        TransferError: the server cannot be reached, or refuses a request.
    """
    series = samples = histograms = 0
    with access.client() as client:
        types = _types(client)
        by_name = _series(client, selectors, start, end)
        for family, names in _families(sorted(by_name), types):
            out.write(_type_line(family, types.get(family, "unknown")))
            for name in names:
                known = {label for labels in by_name[name] for label in labels}
                for labels in by_name[name]:
                    rows, skipped = _samples(client, labels, known, start, end)
                    out.write(_lines(labels, rows))
                    series += 1
                    samples += len(rows)
                    histograms += skipped
                    progress(1)
    out.write(_EOF + b"\n")
    return ExportResult(series, samples, histograms)


def _get(client: httpx.Client, path: str, params: Iterable[tuple[str, str]]) -> object:
    answer = client.post(path, data=_form(params)) if path != _METADATA else client.get(path)
    try:
        said = orjson.loads(answer.content)
        if answer.status_code == httpx.codes.OK:
            found: object = said["data"]
            return found
        text = said["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise TransferError(f"{path} answered HTTP {answer.status_code}") from None
    message = text.get("message", "") if isinstance(text, dict) else text
    raise TransferError(f"{path}: {message}")


_METADATA = "/api/v1/metadata"


def _form(params: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    form: dict[str, list[str]] = {}
    for name, value in params:
        form.setdefault(name, []).append(value)
    return form


def _within(start: float, end: float) -> list[tuple[str, str]]:
    return [("start", f"{start:.3f}"), ("end", f"{end:.3f}")]


def _types(client: httpx.Client) -> dict[str, str]:
    """Return the type of each family of which OpenMetrics can say it series by series."""
    said = _get(client, _METADATA, ())
    types: dict[str, str] = {}
    if isinstance(said, dict):
        for name, entries in said.items():
            kind = entries[0].get("type") if entries else ""
            if kind == "counter":
                types[name.removesuffix("_total")] = kind
            elif kind == "gauge":
                types[name] = kind
    return types


def _series(
    client: httpx.Client, selectors: Sequence[str], start: float, end: float
) -> dict[str, list[dict[str, str]]]:
    """Return the labels of all selected series by metric name, sorted."""
    params = [*(("match[]", each) for each in selectors), *_within(start, end)]
    found = _get(client, "/api/v1/series", params)
    by_name: dict[str, list[dict[str, str]]] = {}
    for labels in found if isinstance(found, list) else []:
        if labels.get(METRIC_NAME):
            by_name.setdefault(labels[METRIC_NAME], []).append(labels)
    for held in by_name.values():
        held.sort(key=lambda labels: sorted(labels.items()))
    return by_name


def _families(names: Iterable[str], types: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield families with their series names; a family's lines must not part."""
    families: dict[str, list[str]] = {}
    for name in names:
        base = name.removesuffix("_total")
        counter = base != name and types.get(base, "") == "counter"
        families.setdefault(base if counter else name, []).append(name)
    for family, members in families.items():
        if types.get(family) == "counter" and any(not m.endswith("_total") for m in members):
            types[family] = "unknown"
        yield family, members


def _samples(
    client: httpx.Client, labels: Mapping[str, str], known: set[str], start: float, end: float
) -> tuple[list[tuple[float, str]], int]:
    """Return time (s) and value of each sample of one series, and how many are histograms."""
    # Labels that others have and this one lacks must be empty, or more than one would match.
    whole = {**dict.fromkeys(known, ""), **labels}
    selector = ",".join(f"{quote(name)}={quote(value)}" if _odd(name) else f"{name}={quote(value)}"
                        for name, value in sorted(whole.items()))  # fmt: skip
    milliseconds = max(round((end - start) * 1000), 1)
    # The left end of a range is open.
    query = f"{{{selector}}}[{milliseconds + 1}ms]"
    found = _get(client, "/api/v1/query", [("query", query), ("time", f"{end:.3f}")])
    rows: list[tuple[float, str]] = []
    skipped = 0
    result = found.get("result", []) if isinstance(found, dict) else []
    for each in result:
        if each["metric"] == dict(labels):
            rows += [(float(ts), value) for ts, value in each.get("values", ())]
            skipped += len(each.get("histograms", ()))
    return rows, skipped


def _odd(name: str) -> bool:
    return not name.replace("_", "a").isalnum() or not name.isascii() or name[0].isdigit()


def _type_line(family: str, kind: str) -> bytes:
    name = f'"{family}"' if _odd(family.replace(":", "_")) else family
    return f"# TYPE {name} {kind}\n".encode()


def _lines(labels: Mapping[str, str], rows: Iterable[tuple[float, str]]) -> bytes:
    name = labels[METRIC_NAME]
    pairs = [
        f"{quote(key) if _odd(key) else key}={quote(value)}"
        for key, value in sorted(labels.items())
        if key != METRIC_NAME
    ]
    if _odd(name.replace(":", "_")):
        series = f"{{{','.join([quote(name), *pairs])}}}"
    else:
        series = f"{name}{{{','.join(pairs)}}}" if pairs else name
    return "".join(f"{series} {value} {ts:.3f}\n" for ts, value in rows).encode()
