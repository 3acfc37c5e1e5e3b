"""What the demo is told, and the figures that its parts share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

APP = "streaming-chatbot"
"""Name of the chat application at the server, and of its scrape job."""

PLAN_HEADER = "x-demo-plan"
STREAM_HEADER = "x-stream-id"

STALL_AFTER = 4.0
TIMEOUT = 10.0
"""Seconds. Shorter than an application would choose, so that both are seen in a demo; far enough
from every healthy figure that a busy machine does not blur which of them was injected."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Options of ``vedette demo``.

    Attributes:
        seconds: how long to run, counted from ready; ``None`` runs until it is stopped.
        report: file for the JSON report.
        port: of the server; the parts of the demo take free ports of their own.
        data_dir: keeps the store there; ``None`` uses a temporary folder.
        seed: of everything that is drawn.
    """

    seconds: float | None = None
    report: Path | None = None
    port: int = 9797
    data_dir: Path | None = None
    seed: int = 1
