"""What one query has used; for statistics, the query log and the metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Usage:
    """Filled in while a query runs, by whoever does the work.

    Attributes:
        samples: samples that were read from storage.
        peak_bytes: most memory that the query's own arrays took at once.
        queue_seconds: time between the request and the first work on it.
        eval_seconds: time of the evaluation.
    """

    samples: int = 0
    peak_bytes: int = 0
    queue_seconds: float = 0.0
    eval_seconds: float = 0.0
