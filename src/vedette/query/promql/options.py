"""How the engine behaves and what it may spend."""

from __future__ import annotations

from dataclasses import dataclass


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
    max_samples: int = 50_000_000
    max_cells: int = 20_000_000
    max_bytes: int = 512_000_000
    max_text: int = 65_536
    max_steps: int = 11_000
    default_step_ms: int = 60_000
