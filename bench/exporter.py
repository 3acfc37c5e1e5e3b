"""A target of 10,000 series: ``python -m bench.exporter PORT``. A fifth of the values change."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAMILIES, EACH = 200, 50


class Bodies:
    """Expositions made ahead, so that serving costs next to nothing."""

    def __init__(self, count: int = 60) -> None:
        self._bodies = [self._body(turn) for turn in range(count)]
        self._turn = 0

    def next(self) -> bytes:
        """Return the next exposition; counters go on rising round after round."""
        self._turn += 1
        return self._bodies[self._turn % len(self._bodies)]

    @staticmethod
    def _body(turn: int) -> bytes:
        lines: list[str] = []
        for family in range(FAMILIES):
            name = f"wide_metric_{family}_total"
            lines += [f"# HELP {name} Something that is counted.", f"# TYPE {name} counter"]
            for series in range(EACH):
                value = 1_000_000 + series * 17 + (turn * 3 if (family + series) % 5 == 0 else 0)
                lines.append(
                    f'{name}{{route="/api/v1/route{series % 8}",series="{series}"}} {value}'
                )
        return ("\n".join(lines) + "\n").encode()


def main() -> None:
    """Serve until ended."""
    bodies = Bodies()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer with the next exposition."""
            body = bodies.next()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
