"""Opening the embedded engine with little memory, few threads and no signal handlers.

This module is all that the engine's child process imports, so it knows neither numpy nor the rest
of Vedette.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from vedette.storage.chdb.damage import marked

# Server settings, given at opening; the engine's defaults are those of a machine of its own.
ENGINE_SETTINGS: Mapping[str, int] = {
    "max_threads": 2,
    "max_thread_pool_size": 64,
    "background_pool_size": 1,
    "background_schedule_pool_size": 1,
    # How often it compares its memory with what the system says: 20 times a second by default,
    # for more CPU than all else that it does while nothing is asked.
    "memory_worker_period_ms": 500,
    "mark_cache_size": 8 << 20,
    "index_mark_cache_size": 1 << 20,
    "primary_index_cache_size": 32 << 20,
    "query_condition_cache_size": 1 << 20,
    "compiled_expression_cache_size": 1 << 20,
    "max_server_memory_usage": 1 << 30,
}

# Session settings, applied to every session.
SESSION_SETTINGS: Mapping[str, int] = {
    "max_memory_usage": 768 << 20,
    "max_execution_time": 30,
    "max_insert_threads": 1,
    # Rows of one insert have different keys; looking for equal ones costs a third of it.
    "optimize_on_insert": 0,
    "max_insert_block_size": 262_144,
    "max_query_size": 16 << 20,
    # What one statement may answer: the server has to hold it.
    "max_result_bytes": 512 << 20,
    # Results are decoded column by column: fewer, larger blocks cost less.
    "preferred_block_size_bytes": 16 << 20,
    "low_cardinality_allow_in_native_format": 0,
}


T = TypeVar("T")


class EngineError(Exception):
    """The engine refused a statement, or could not be opened."""


def _short(error: object) -> str:
    """Return the engine's message without the statement or value that it repeats at length."""
    text = " ".join(str(error).split())
    # The part's name stands in the middle, where it would be cut out.
    return marked(text) + (text if len(text) <= 400 else text[:300] + " … " + text[-90:])


def load() -> Any:
    """Return the engine's extension module.

    Loaded by its file: ``import chdb`` would open an in-memory engine, with its signal handlers
    and 20 MB of its own, before anything can be said about either. The full import is the
    fallback for a build that is laid out differently.

    Raises:
        EngineError: chDB is not installed, or its library cannot be loaded.
    """
    name = "_chdb"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec("chdb")
    if spec is None or not spec.submodule_search_locations:
        raise EngineError("the embedded store needs the package chdb: reinstall vedette")
    path = Path(spec.submodule_search_locations[0]) / "_chdb.abi3.so"
    try:
        if not path.exists():
            module = importlib.import_module("chdb._chdb")
        else:
            loader = importlib.machinery.ExtensionFileLoader(name, str(path))
            found = importlib.util.spec_from_file_location(name, path, loader=loader)
            if found is None:
                raise EngineError(f"{path} is no Python extension: reinstall vedette")
            module = importlib.util.module_from_spec(found)
            loader.exec_module(module)
    except ImportError as error:
        raise EngineError(f"the embedded store cannot be loaded: {_short(error)}") from error
    # chDB would take SIGINT and SIGTERM away from the program.
    module.set_signal_handlers_enabled(0)
    sys.modules[name] = module
    return module


def escape_parameter(text: str) -> str:
    """Return ``text`` as the engine reads a ``{name:String}`` parameter: tab-separated escapes."""
    return (
        text.replace("\\", "\\\\")
        .replace("\t", "\\t")
        .replace("\n", "\\n")
        .replace("\r", "\\r")
        .replace("\0", "\\0")
    )


def _parameter(value: str | int) -> str:
    return escape_parameter(value) if isinstance(value, str) else str(int(value))


class LocalEngine:
    """The engine inside this process; safe to call from several threads.

    A session serves one statement at a time, so each call takes one of ``sessions`` for itself
    and waits while all are busy. Sessions stay open to the end: closing and reopening leaks
    threads and descriptors. One process per path, one path per process.
    """

    def __init__(self, path: Path, sessions: int = 3) -> None:
        library = load()
        path.mkdir(parents=True, exist_ok=True)
        target = f"{path}?{urlencode(ENGINE_SETTINGS)}"
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        self._sessions: list[Any] = []
        self._lock = threading.Lock()
        for _ in range(sessions):
            session = _checked(partial(library.connect, target), f"cannot open the store at {path}")
            for name, value in SESSION_SETTINGS.items():
                _checked(partial(session.query, f"SET {name} = {value}"), f"cannot set {name}")
            self._sessions.append(session)
            self._idle.put(session)

    def query(self, sql: str, parameters: Mapping[str, str | int] | None = None) -> bytes:
        """Run ``sql`` with ``{name:Type}`` parameters; return its result in format Native.

        Raises:
            EngineError: the engine refused, or the statement took too long.
        """
        return self.query_with(bytes, sql, parameters)

    def query_with(
        self,
        use: Callable[[memoryview], T],
        sql: str,
        parameters: Mapping[str, str | int] | None = None,
    ) -> T:
        """Run ``sql`` as ``query`` does; return what ``use`` makes of the engine's own memory.

        The memory is gone when ``use`` returns.
        """
        given = {name: _parameter(value) for name, value in (parameters or {}).items()}
        session = self._idle.get()
        try:
            result = _checked(lambda: session.query(sql, "Native", params=given), "query failed")
            return use(result.get_memview().view() if result.size() else memoryview(b""))
        finally:
            self._idle.put(session)

    def insert(self, sql: str, data: bytes) -> None:
        """Run the INSERT ``sql`` on ``data``, which is in format Native.

        Raises:
            EngineError: the engine refused; nothing of the insert was kept.
        """
        session = self._idle.get()
        try:
            insertion = _checked(lambda: session.send_insert(sql, "Native"), "insert failed")
            try:
                _checked(lambda: session.insert_append(insertion, data), "insert failed")
            except EngineError:
                session.insert_cancel(insertion)
                raise
            _checked(lambda: session.insert_done(insertion), "insert failed")
        finally:
            self._idle.put(session)

    def close(self) -> None:
        """Close every session; the engine writes nothing afterwards."""
        with self._lock:
            sessions, self._sessions = self._sessions, []
        for session in sessions:
            session.close()


def _checked(call: Callable[[], Any], what: str) -> Any:
    try:
        result = call()
    except RuntimeError as error:
        raise EngineError(f"{what}: {_short(error)}") from None
    if result is not None and hasattr(result, "has_error") and result.has_error():
        raise EngineError(f"{what}: {_short(result.error_message())}")
    return result
