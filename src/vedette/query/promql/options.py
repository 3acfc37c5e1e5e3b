"""How the engine behaves and what it may spend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import I64


@dataclass(frozen=True, slots=True)
class Starts:
    """Which start timestamps count.

    Attributes:
        real: those that the exposition gave.
        synthetic: those of series that a target showed for the first time, stored as negative.
        signed: negative ones are real and lie before 1970.
    """

    real: bool = False
    synthetic: bool = False
    signed: bool = False

    def seen(self, start: I64) -> I64 | None:
        """Return the times of ``start`` that count, 0 for others; ``None`` where none does."""
        if not (self.real or self.synthetic):
            return None
        if self.signed:
            return start if start.any() else None
        out = np.zeros_like(start)
        if self.real:
            np.maximum(start, 0, out=out)
        if self.synthetic:
            out = np.where(start < 0, -start, out)
        return out if out.any() else None


NO_STARTS = Starts()
"""Nobody asks for start timestamps."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Settings of an engine; all times in milliseconds.

    Attributes:
        lookback_ms: how long a sample stands for its series in an instant selection.
        window_2x: behave as Prometheus 2.42: windows and lookback include their left edge,
            ``rate`` extrapolates to a counter's zero point before it looks at the threshold,
            matches that a comparison filters out do not count, and ``atan2`` keeps the name.
        delayed_name_removal: keep ``__name__`` until the end of the query, so that
            ``label_replace`` and ``by (__name__)`` still see it.
        experimental_functions: allow the functions and aggregations that Prometheus hides behind
            ``promql-experimental-functions``.
        extended_selectors: allow ``anchored`` and ``smoothed``.
        fill_modifiers: allow ``fill``, ``fill_left`` and ``fill_right``.
        start_timestamps: let ``rate``, ``increase``, ``irate`` and ``resets`` use the start
            timestamps of samples, and ``start_timestamp`` show them.
        first_occurrence: let them use synthetic start timestamps too: a series that a target
            shows for the first time, having been scraped before, began at zero since then.
        type_and_unit_labels: whether what a series is can be told by its label ``__type__``.
        signed_starts: start timestamps below zero lie before 1970 and are not synthetic.
        max_samples: samples that one query may read.
        max_cells: series × steps that one intermediate result may hold; each takes 8 bytes, and
            a query holds a few of them at a time.
        max_bytes: memory that one query may hold at once, besides the samples in storage.
        max_text: characters of a query.
        max_steps: evaluation times of one range query.
        default_step_ms: step of a subquery that names none.
    """

    lookback_ms: int = 300_000
    window_2x: bool = False
    delayed_name_removal: bool = False
    experimental_functions: bool = False
    extended_selectors: bool = False
    fill_modifiers: bool = False
    start_timestamps: bool = False
    first_occurrence: bool = False
    type_and_unit_labels: bool = False
    signed_starts: bool = False
    max_samples: int = 50_000_000
    max_cells: int = 20_000_000
    max_bytes: int = 512_000_000
    max_text: int = 65_536
    max_steps: int = 11_000
    default_step_ms: int = 60_000

    @property
    def starts(self) -> Starts:
        """Return which start timestamps count."""
        return Starts(self.start_timestamps, self.first_occurrence, self.signed_starts)
