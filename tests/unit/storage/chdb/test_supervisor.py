"""The engine in its child process: what its end does, and what the end of the server does to it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.storage.chdb.chunks import T0, batch, labels, named, points
from vedette.storage.chdb.columns import ChdbColumns
from vedette.storage.chdb.library import EngineError
from vedette.storage.chdb.supervisor import ChildEngine, EngineDownError
from vedette.storage.interface import StorageError

pytestmark = pytest.mark.chdb


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ChildEngine]:
    """Return a started engine that is patient with restarts."""
    started = ChildEngine(tmp_path / "store", timeout=20, patience=20)
    started.start()
    yield started
    started.close()


def test_a_crash_fails_what_was_in_flight_and_nothing_else(engine: ChildEngine) -> None:
    """A SIGSEGV of the engine fails the calls in flight; the next finds all that was inserted."""
    store = ChdbColumns(engine)
    chunks = batch({labels("m", s="1"): {T0: 1.0}})
    store.insert_samples(chunks, "one")
    before = engine.status()
    assert before.up
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(engine.query, "SELECT sleepEachRow(1) FROM numbers(3)")
        # Answered by the same child, on another session: the first is under way by then.
        engine.query("SELECT 1")
        os.kill(before.pid, signal.SIGSEGV)
        with pytest.raises(EngineDownError, match="SIGSEGV"):
            slow.result()
    assert len(points(store.select(named("m"), T0, T0))) == 1
    store.insert_samples(chunks, "one")
    assert len(points(store.select(named("m"), T0, T0))) == 1
    after = engine.status()
    assert (after.restarts, after.last_end) == (1, "signal SIGSEGV")
    assert after.pid not in (0, before.pid)


def test_a_child_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:
    """A call that takes longer than the time-out fails, and its child is replaced."""
    engine = ChildEngine(tmp_path, timeout=0.6, patience=20)
    engine.start()
    os.kill(engine.status().pid, signal.SIGSTOP)
    with pytest.raises(EngineDownError, match="did not answer within"):
        engine.query("SELECT 1")
    engine.query("SELECT 1")
    assert engine.status().last_end == "signal SIGKILL"
    engine.close()


def test_a_child_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Where the store cannot be opened, the error tells the engine's reason."""
    (tmp_path / "file").write_text("")
    engine = ChildEngine(tmp_path / "file" / "store", patience=0.1)
    with pytest.raises(StorageError, match=r"did not open.*Not a directory"):
        engine.start(1.0)
    with pytest.raises(EngineDownError, match="being restarted"):
        engine.query("SELECT 1")
    engine.close()
    with pytest.raises(StorageError, match="closed"):
        engine.query("SELECT 1")


def test_a_refused_statement_is_told_in_short(engine: ChildEngine) -> None:
    """A refusal leaves the child as it is, and does not repeat a long statement."""
    with pytest.raises(EngineError, match="UNKNOWN_TABLE") as caught:
        engine.query("SELECT 1 FROM nowhere WHERE '" + "x" * 9000 + "' != ''")
    assert len(str(caught.value)) < 500
    with pytest.raises(EngineError):
        engine.insert("INSERT INTO nowhere (a)", b"")
    assert engine.status().restarts == 0


def test_calls_from_many_threads_keep_apart(engine: ChildEngine) -> None:
    """Each of many concurrent calls gets its own answer."""
    with ThreadPoolExecutor(12) as pool:
        asked = list(range(60))
        got = list(pool.map(lambda n: engine.query("SELECT {n:Int64} AS n", {"n": n})[-8:], asked))
    assert [int.from_bytes(answer, "little") for answer in got] == asked


def _ends(pid: int, seconds: float) -> bool:
    """Return whether the process ``pid`` ends within ``seconds``."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


_SERVER = """
import sys
from pathlib import Path
from vedette.storage.chdb.supervisor import ChildEngine
engine = ChildEngine(Path(sys.argv[1]))
engine.start()
print(engine.status().pid, flush=True)
sys.stdin.read()
"""


def test_the_child_ends_with_its_server(tmp_path: Path) -> None:
    """A server that is killed takes its engine along; the next one can open the store."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        child = int(server.stdout.readline())
        server.kill()
    assert _ends(child, 10)


_IN_PROCESS = """
import os, signal, sys
from pathlib import Path
from tests.unit.storage.chdb.chunks import T0, batch, labels, named, points
from vedette.storage.chdb.columns import open_in_process
# Whoever runs the tests in the background may have told them to ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
store = open_in_process(Path(sys.argv[1]))
store.insert_samples(batch({labels("m", s="1"): {T0: 1.0}}), "one")
assert len(points(store.select(named("m"), T0, T0))) == 1
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted", flush=True)
store.close()
signal.signal(signal.SIGTERM, signal.SIG_DFL)
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_in_process_the_engine_leaves_signals_alone(tmp_path: Path) -> None:
    """The same store runs inside the server, where Ctrl-C and SIGTERM keep their meaning."""
    done = subprocess.run(
        [sys.executable, "-c", _IN_PROCESS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).resolve().parents[4],
    )
    assert (done.stdout, done.returncode) == ("interrupted\n", -signal.SIGTERM), done.stderr


def test_the_child_imports_neither_numpy_nor_the_server(tmp_path: Path) -> None:
    """The engine's process holds the engine alone: that is what keeps it small."""
    code = (
        "import sys, vedette.storage.chdb.child as c;"
        "heavy = {'numpy', 'pandas', 'pyarrow', 'sqlalchemy', 'asyncio', 'vedette.model'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
