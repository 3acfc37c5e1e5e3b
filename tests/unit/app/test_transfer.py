"""Import and export as clients of a server: round trips, odd names, faults, progress."""

from __future__ import annotations

import gzip
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from vedette.app.transfer import Access, TransferError, export, import_file, is_openmetrics

SERIES: dict[tuple[tuple[str, str], ...], list[tuple[float, str]]] = {
    (("__name__", "a_total"), ("x", 'q"\\\n')): [(1700000000.5, "1"), (1700000015.0, "2")],
    (("__name__", "a_total"),): [(1700000000.0, "3")],
    (("__name__", "g"), ("l.x", "ü")): [(1700000001.0, "NaN")],
    (("__name__", "u.t"),): [(1700000002.0, "+Inf")],
}


class Server:
    """Answers as Vedette does, from ``SERIES``; keeps what is imported."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, str, bytes]] = []
        self.status = 200
        self.queries: list[str] = []

    def answer(self, path: str, form: dict[str, list[str]]) -> Any:
        if path == "/api/v1/metadata":
            return {"a_total": [{"type": "counter"}], "g": [{"type": "gauge"}]}
        if path == "/api/v1/series":
            assert form["start"] == ["1700000000.000"]
            return [dict(labels) for labels in SERIES]
        self.queries.append(form["query"][0])
        wanted = self.queries[-1]
        rows = [
            {"metric": dict(labels), "values": values}
            for labels, values in SERIES.items()
            if all(orjson.dumps(value, option=0).decode() in wanted or "ü" in value
                   for _, value in labels)
        ]  # fmt: skip
        rows[0]["histograms"] = [[1, {}]]
        return {"resultType": "matrix", "result": rows}


@contextmanager
def serving(server: Server) -> Iterator[Access]:
    """Serve on a port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _body(self) -> bytes:
            if "content-length" in self.headers:
                return self.rfile.read(int(self.headers["content-length"]))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def do_GET(self) -> None:
            self._respond(orjson.dumps({"data": server.answer(self.path, {})}))

        def do_POST(self) -> None:
            url, body = urlsplit(self.path), self._body()
            if url.path.startswith("/api/v1/import"):
                server.bodies.append((url.query, self.headers["content-type"], body))
                told = {"samples": 2, "rejected": {"syntax": 1}, "error": "line 3: x"}
                self._respond(orjson.dumps(told), server.status)
                return
            form = parse_qs(body.decode())
            self._respond(orjson.dumps({"data": server.answer(url.path, form)}), server.status)

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield Access(f"http://127.0.0.1:{http.server_port}", "secret")
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def test_what_is_exported_is_openmetrics() -> None:
    """Families, types, odd names and all values; the client's own parser reads it."""
    server, out = Server(), io.BytesIO()
    seen: list[int] = []
    with serving(server) as access:
        result = export(["{x=~'.*'}"], 1_700_000_000, 1_700_000_060, access, out, seen.append)
    assert (result.series, result.samples) == (4, 5)
    assert result.histograms >= 1
    assert sum(seen) == 4
    read = {
        (family.name, family.type, sample.name, tuple(sorted(sample.labels.items()))): (
            float(sample.timestamp or 0),
            repr(float(sample.value)),
        )
        for family in text_string_to_metric_families(out.getvalue().decode())
        for sample in family.samples
    }
    assert read == {
        ("a", "counter", "a_total", ()): (1700000000.0, "3.0"),
        ("a", "counter", "a_total", (("x", 'q"\\\n'),)): (1700000015.0, "2.0"),
        ("g", "gauge", "g", (("l.x", "ü"),)): (1700000001.0, "nan"),
        ("u.t", "unknown", "u.t", ()): (1700000002.0, "inf"),
    }
    assert all(query.endswith("[60001ms]") for query in server.queries)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("end", "kind"), [("# EOF\n", "application/openmetrics-text"),
                                           ("", "text/plain")])  # fmt: skip
def test_files_are_sent_as_they_are(tmp_path: Path, packed: bool, end: str, kind: str) -> None:
    """Unpacked, in chunks, with the content type that their end tells."""
    body = ("a 1\n" * 100_000 + end).encode()
    path = tmp_path / ("x.gz" if packed else "x.om")
    path.write_bytes(gzip.compress(body) if packed else body)
    server = Server()
    seen: list[int] = []
    with serving(server) as access:
        result = import_file(path, access, ["job=a"], seen.append)
    assert is_openmetrics(path) == bool(end)
    assert (result.samples, dict(result.rejected), result.message) == (
        2,
        {"syntax": 1},
        "line 3: x",
    )
    assert server.bodies == [("extra_label=job%3Da", kind, body)]
    assert sum(seen) == len(body)
    assert len(seen) > 1


def test_faults_say_what_and_where(tmp_path: Path) -> None:
    """A missing file, a damaged one, a refusal, no server."""
    path = tmp_path / "x"
    server = Server()
    with serving(server) as access:
        with pytest.raises(TransferError, match="cannot be read"):
            import_file(path, access, [], lambda _: None)
        path.write_bytes(b"a 1\n")
        server.status = 400
        with pytest.raises(TransferError, match=r"line 3: x \(2 samples were stored before\)"):
            import_file(path, access, [], lambda _: None)
        damaged = tmp_path / "y.gz"
        damaged.write_bytes(gzip.compress(b"a 1\n")[:-4])
        with pytest.raises(TransferError, match=r"y\.gz"):
            import_file(damaged, access, [], lambda _: None)
    with pytest.raises(TransferError, match="is the server running"):
        import_file(path, access, [], lambda _: None)
    assert "secret" not in repr(access)
