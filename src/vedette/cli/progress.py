"""A progress display that appears only for what takes longer than two seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from vedette.kit.clock import Clock, SystemClock

_PATIENCE_SECONDS = 2.0


@contextmanager
def slow_progress(
    console: Console, what: str, total: int | None, unit: str, clock: Clock | None = None
) -> Iterator[Callable[[int], None]]:
    """Yield a function that is called with each further number of ``unit``."""
    time = clock or SystemClock()
    begun, done = time.monotonic(), 0
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f} " + unit),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task(what, total=total)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if not bar.live.is_started and time.monotonic() - begun > _PATIENCE_SECONDS:
            bar.start()
        if bar.live.is_started:
            bar.update(task, completed=done)

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
