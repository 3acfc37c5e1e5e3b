"""Options that several commands have."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vedette.cli.main import app


class _Asked(BaseHTTPRequestHandler):
    """Refuses everything, and notes with which token it was asked."""

    tokens: list[str]

    def do_GET(self) -> None:
        """Refuse."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.tokens.append(self.headers.get("authorization", ""))
        self.send_error(401)

    do_POST = do_GET  # noqa: N815 # the name that http.server wants

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the tokens of the requests to the server of the environment."""
    tokens: list[str] = []
    server = HTTPServer(("127.0.0.1", 0), type("Asked", (_Asked,), {"tokens": tokens}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("VEDETTE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("VEDETTE_ADMIN_TOKEN", "from-the-environment")
    yield tokens
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "command",
    ["snapshot", "backup FILE.tar", "import FILE", "export --match up", "rules list"],
)
def test_one_name_for_one_thing(asked: list[str], tmp_path: Path, command: str) -> None:
    """Commands that ask a server take address and token from the same variables."""
    file = tmp_path / "samples"
    file.write_text("a 1\n")
    result = CliRunner().invoke(app, command.replace("FILE", str(file)).split())
    assert result.exit_code in (1, 2)
    assert set(asked) == {"Bearer from-the-environment"}
