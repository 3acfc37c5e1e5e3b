"""The rules of the house, kept by a machine."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE = 600
MAX_FUNCTION = 80

# Each exception names its reason; the list only shrinks.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}

REGISTRY_HOSTS = re.compile(
    r"py" r"pi\.org|python" r"hosted\.org|np" r"mjs\.(?:org|com)|deb" r"ian\.org|crates" r"\.io"
)


def tracked(*patterns: str) -> list[Path]:
    """Return the files that git tracks, or would."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


def sources() -> list[Path]:
    """Return the product's own Python files."""
    return [
        path
        for path in tracked("src/*.py", "sdk/python/src/*.py")
        if "__pycache__" not in path.parts
    ]


def definitions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def relative(path: Path) -> str:
    """Return the path as seen from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


def test_no_file_outgrows_its_budget() -> None:
    """A source file has at most 600 lines; one that needs more is split by meaning."""
    suffixes = {".py", ".ts", ".svelte"}
    long = {
        relative(path): lines
        for path in tracked("src", "sdk", "ui", "bench", "scripts")
        if path.suffix in suffixes and (lines := len(path.read_text().splitlines())) > MAX_FILE
    }
    assert {name: n for name, n in long.items() if name not in LONG_FILES} == {}


def test_no_function_outgrows_its_budget() -> None:
    """A function has at most 80 lines."""
    long = {}
    for path in sources():
        for node in definitions(ast.parse(path.read_text())):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > MAX_FUNCTION:
                long[f"{relative(path)}:{node.name}"] = lines
    assert {name: n for name, n in long.items() if name not in LONG_FUNCTIONS} == {}


def test_no_registry_host_is_named() -> None:
    """Neither lock files nor text name the host of a package registry."""
    found = [
        f"{relative(path)}:{number}"
        for path in tracked()
        if path.suffix not in {".png", ".svg", ".ico"}
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if REGISTRY_HOSTS.search(line)
    ]
    assert found == []


def test_every_test_states_its_claim() -> None:
    """Each test function has a docstring that says what it claims."""
    silent = [
        f"{relative(path)}:{node.name}"
        for path in tracked("tests/*.py", "sdk/python/tests/*.py")
        for node in definitions(ast.parse(path.read_text()))
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_test_sleeps() -> None:
    """Tests of units move a fake clock instead of waiting."""
    sleepers = [
        f"{relative(path)}:{number}"
        for path in tracked("tests/unit/*.py", "tests/storage/*.py", "tests/promql/*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\b(?:time|asyncio)\.sleep\((?!0\))", line)
    ]
    assert sleepers == []


def test_broad_excepts_state_their_reason() -> None:
    """A comment at each ``except Exception`` says why it must be broad."""
    unexplained = []
    for path in sources():
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if not re.search(r"except (?:Base)?Exception\b", line):
                continue
            above = any("#" in near for near in lines[max(0, number - 2) : number])
            if not above and not re.search(r"#.* .{8,}", line.replace("noqa: BLE001", "")):
                unexplained.append(f"{relative(path)}:{number + 1}")
    assert unexplained == []


@pytest.mark.parametrize("package", ["interface", "columns"])
def test_seams_pass_plain_data_only(package: str) -> None:
    """Protocols of storage take and return no callbacks, sessions or generators."""
    tree = ast.parse((ROOT / f"src/vedette/storage/{package}.py").read_text())
    forbidden = {"Callable", "Iterator", "Generator", "AsyncIterator", "Session", "Connection"}
    used = {
        node.id
        for cls in ast.walk(tree)
        if isinstance(cls, ast.ClassDef) and any("Protocol" in ast.dump(b) for b in cls.bases)
        for node in ast.walk(cls)
        if isinstance(node, ast.Name)
    }
    assert used & forbidden == set()
