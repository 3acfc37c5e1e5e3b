"""``vedette rules``: exit codes and what is printed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.needs import peer_data
from vedette.cli.main import app

ANSWER = {
    "data": {
        "groups": [
            {
                "name": "g",
                "file": "r.yml",
                "interval": 15,
                "rules": [
                    {"type": "recording", "name": "a", "query": "x", "health": "ok"},
                    {
                        "type": "alerting",
                        "name": "B",
                        "query": "x > 1",
                        "state": "firing",
                        "health": "err",
                        "lastError": "[it] broke",
                        "evaluationTime": 0.0125,
                    },
                ],
            }
        ]
    }
}


class Answers(BaseHTTPRequestHandler):
    """A server that tells its rules to whoever has the token."""

    def do_GET(self) -> None:
        allowed = self.headers.get("authorization") == "Bearer secret"
        body = json.dumps(ANSWER) if self.path == "/api/v1/rules" else "<html>"
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a running server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


RULES = "groups: [{name: g, rules: [{record: a, expr: x}, {alert: B, expr: x > 1}]}]"


def run(*arguments: str | Path, given: str = "") -> tuple[int, str]:
    """Return exit code and all output of ``vedette rules …``."""
    result = CliRunner().invoke(app, ["rules", *map(str, arguments)], input=given)
    return result.exit_code, result.output


def test_a_good_file_passes(tmp_path: Path) -> None:
    """A file without fault is summed up, also from standard input; the exit code is 0."""
    (tmp_path / "r.yml").write_text(RULES)
    code, output = run("check", tmp_path / "r.yml")
    assert code == 0
    assert "1 group, 1 alerting and 1 recording rules" in output
    assert run("check", "-", given=RULES)[0] == 0


def test_what_cannot_be_read_is_two(tmp_path: Path) -> None:
    """A file that is not there or no text gives the exit code 2; the others are still judged."""
    (tmp_path / "r.yml").write_text(RULES)
    (tmp_path / "raw.yml").write_bytes(b"\xff")
    code, output = run("check", tmp_path / "none.yml", tmp_path / "raw.yml", tmp_path / "r.yml")
    assert code == 2
    assert "cannot be read" in output
    assert "good" in output
    assert run("test", tmp_path / "none.yml")[0] == 2
    assert run("test", tmp_path / "raw.yml", "--run", "(")[0] == 2


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("rules.yml", [], 0),
        ("at-modifier.yml", [], 0),
        ("rules_duplicates.yml", [], 0),
        ("rules_duplicates.yml", ["--lint-fatal"], 1),
        ("rules-bad.yml", [], 1),
        ("bad-rules-syntax.yml", [], 1),
        ("rules_extrafields.yml", [], 1),
        ("rules_extrafields.yml", ["--ignore-unknown-fields"], 0),
    ],
)
def test_rule_files_of_promtool(name: str, options: list[str], code: int) -> None:
    """The rule files that promtool is tested with are judged as they are there."""
    assert run("check", peer_data("promtool", name), *options)[0] == code


def test_double_rules_are_warned_of() -> None:
    """A rule that stands twice is named, and passes."""
    assert "(warning)" in run("check", peer_data("promtool", "rules_duplicates.yml"))[1]


def test_the_json_of_a_check(tmp_path: Path) -> None:
    """Programs get faults with line, column and the fix."""
    (tmp_path / "r.yml").write_text("groups: [{name: g, rules: [{record: a, exp: x}]}]")
    code, output = run("check", tmp_path / "r.yml", "--json")
    (file,) = json.loads(output)["files"]
    assert (code, file["good"]) == (1, False)
    assert [fault["line"] for fault in file["faults"]] == [1, 1]
    assert 'did you mean "expr"?' in [fault["fix"] for fault in file["faults"]]


def test_tests_by_name() -> None:
    """``--run`` keeps the tests whose name matches; a failure gives 1 and shows both sides."""
    path = peer_data("promtool", "rules_run.yml")
    code, output = run("test", path)
    assert code == 1
    assert "expected - test 1" in output
    assert "got      + test 0" in output
    assert run("test", path, "--run", "^correct")[0] == 0
    report = json.loads(run("test", path, "--json")[1])
    assert [test["passed"] for test in report["files"][0]["tests"]] == [True, False]


@pytest.mark.parametrize("command", ["check", "test", "list", "export"])
def test_help_has_examples(command: str) -> None:
    """Each command explains itself with examples."""
    code, output = run(command, "--help")
    assert code == 0
    assert "Examples" in output


def test_the_list_of_a_server(server: str) -> None:
    """State, health, error and time are shown; a rule that fails gives 1."""
    code, output = run("list", "--url", server, "--token", "secret")
    assert code == 1
    (line,) = [line for line in output.splitlines() if "broke" in line]
    assert line.split() == ["B", "g", "firing", "err", "12.5", "[it]", "broke"]
    code, output = run("list", "--url", server, "--token", "secret", "--failing", "--json")
    assert [rule["name"] for rule in json.loads(output)["rules"]] == ["B"]


def test_the_export_of_a_server(server: str, tmp_path: Path) -> None:
    """The exported file is a good rule file, on standard output or where it was asked for."""
    code, output = run("export", "--url", server, "--token", "secret")
    assert code == 0
    assert run("check", "-", given=output)[0] == 0
    assert run("export", "--url", server, "--token", "secret", "-o", tmp_path / "r.yml")[0] == 0
    assert (tmp_path / "r.yml").read_text() == output
    assert run("export", "--url", server, "--token", "secret", "-o", tmp_path)[0] == 2


@pytest.mark.parametrize(
    ("path", "token", "said"),
    [("", "", "VEDETTE_ADMIN_TOKEN"), ("/other", "secret", "no JSON")],
)
def test_a_server_that_does_not_tell(server: str, path: str, token: str, said: str) -> None:
    """The exit code is 2, and the reason is said."""
    code, output = run("list", "--url", server + path, "--token", token)
    assert (code, said in output) == (2, True)


def test_no_server(server: str) -> None:
    """Where nothing listens, the address and what to do are said."""
    code, output = run("list", "--url", "http://127.0.0.1:1")
    assert code == 2
    assert "is Vedette running there?" in output
