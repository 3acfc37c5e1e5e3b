"""What a function may ask of the evaluation that it is part of."""

from __future__ import annotations

from typing import Protocol

from vedette.model.arrays import F64, Mask
from vedette.query.promql.ast import Call, Expr, VectorSelector
from vedette.query.promql.budget import Budget
from vedette.query.promql.options import EngineOptions
from vedette.query.promql.remarks import Remarks
from vedette.query.promql.values import Frame, Stream, Vector


class Evaluation(Protocol):
    """The evaluation of one query; ``evaluator.Evaluator`` is it.

    Attributes:
        options: those of the engine.
        frame: the frame of the whole query.
        remarks: where annotations go.
        budget: what the query may spend.
    """

    @property
    def options(self) -> EngineOptions: ...  # noqa: D102 (an attribute, described above)
    @property
    def frame(self) -> Frame: ...  # noqa: D102
    @property
    def remarks(self) -> Remarks: ...  # noqa: D102
    @property
    def budget(self) -> Budget: ...  # noqa: D102

    def vector(self, expr: Expr, frame: Frame) -> Vector:
        """Return the value of ``expr``, which the parser found to be an instant vector."""
        ...

    def scalar(self, expr: Expr, frame: Frame) -> F64:
        """Return float64[K], the value of ``expr``, which the parser found to be a scalar."""
        ...

    def text(self, expr: Expr) -> str:
        """Return the text of ``expr``, which the parser found to be a string."""
        ...

    def unnamed(self, vector: Vector, expr: Expr) -> Vector:
        """Return ``vector`` without metric names, now or, as the options say, in the end."""
        ...

    def instants(self, node: VectorSelector, frame: Frame, times: bool) -> Stream:
        """Return the samples (or their times in seconds) that ``node`` selects at each step."""
        ...

    def starts(self, node: VectorSelector, frame: Frame) -> Stream:
        """Return the start timestamps (s, 0 unknown) of the samples that ``node`` selects."""
        ...

    def seen(self, call: Call, frame: Frame) -> Mask:
        """Return bool[K]: whether the range vector of ``call`` holds any sample."""
        ...

    def warn_quantile(self, q: F64, expr: Expr) -> None:
        """Warn where φ is not between 0 and 1."""
        ...
