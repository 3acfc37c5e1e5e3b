"""Evaluating, printing and parsing PromQL over HTTP, and exemplars."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from vedette.model.results import QueryResult
from vedette.query.errors import QueryError
from vedette.query.promql.ast import Expr, VectorSelector
from vedette.query.promql.features import walk
from vedette.query.promql.printer import format_expr
from vedette.query.usage import Usage
from vedette.web import render
from vedette.web.api.params import (
    MAX_MS,
    MIN_MS,
    BadParameterError,
    Call,
    Params,
    expression,
    flag,
    limit,
    moment,
    parsed,
    span,
    text,
)
from vedette.web.api.syntax_tree import syntax_tree
from vedette.web.http import Response
from vedette.web.services import Services

MAX_POINTS = 11_000
MAX_RESULT_POINTS = 5_000_000
_INLINE_POINTS = 2_000


class QueryApi:
    """The endpoints that take a PromQL expression."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> dict[str, Callable[[Call], Awaitable[Response]]]:
        """Return handlers by path."""
        return {
            "/api/v1/query": self.instant,
            "/api/v1/query_range": self.range,
            "/api/v1/query_exemplars": self.exemplars,
            "/api/v1/format_query": self.format,
            "/api/v1/parse_query": self.parse,
        }

    async def instant(self, call: Call) -> Response:
        """Evaluate ``query`` at ``time`` (now by default)."""
        params = call.params
        query, most, usage = expression(params), limit(params), Usage()
        result = await self._services.queries.instant(
            query,
            moment(params, "time", self._services.clock.now_ms()),
            timeout=span(params, "timeout") / 1000,
            lookback=span(params, "lookback_delta"),
            usage=usage,
            who=call.who,
            first_occurrence=flag(params, "first_occurrence"),
        )
        return await self._rendered(call, query, result, usage, most)

    async def range(self, call: Call) -> Response:
        """Evaluate ``query`` from ``start`` to ``end`` every ``step``."""
        params = call.params
        query, most, usage = expression(params), limit(params), Usage()
        start, end, step = _range(params)
        result = await self._services.queries.range(
            query,
            start,
            end,
            step,
            timeout=span(params, "timeout") / 1000,
            lookback=span(params, "lookback_delta"),
            usage=usage,
            who=call.who,
            first_occurrence=flag(params, "first_occurrence"),
        )
        return await self._rendered(call, query, result, usage, most, range_query=True)

    async def exemplars(self, call: Call) -> Response:
        """Return the exemplars of the series that ``query`` selects."""
        start, end = moment(call.params, "start", MIN_MS), moment(call.params, "end", MAX_MS)
        if end < start:
            raise BadParameterError("end timestamp must not be before start timestamp")
        params, find = call.params, self._services.exemplars.exemplars

        def look() -> bytes:
            nodes = walk(parsed(params))
            wanted = [node.matchers for node in nodes if isinstance(node, VectorSelector)]
            if not wanted:
                return b""
            rows = [
                {
                    "seriesLabels": labels.as_dict(),
                    "exemplars": [render.exemplar(exemplar) for exemplar in exemplars],
                }
                for labels, exemplars in find(wanted, start, end)
            ]
            return render.success(rows)

        body = await self._services.queries.blocking(look)
        return Response(200 if body else 204, body)

    async def format(self, call: Call) -> Response:
        """Return the canonical text of ``query``."""
        return await self._made_of(call, format_expr)

    async def parse(self, call: Call) -> Response:
        """Return the syntax tree of ``query``."""
        return await self._made_of(call, syntax_tree)

    async def _made_of(self, call: Call, make: Callable[[Expr], object]) -> Response:
        # A long text takes its time, and holds up nobody on a thread.
        made = await self._services.queries.aside(lambda: render.success(make(parsed(call.params))))
        return Response(200, made)

    async def _rendered(
        self,
        call: Call,
        query: str,
        result: QueryResult,
        usage: Usage,
        most: int,
        *,
        range_query: bool = False,
    ) -> Response:
        warnings: tuple[str, ...] = ()
        if most:
            result, cut = render.cut(result, most)
            warnings = (render.TRUNCATED,) if cut else ()
        points = render.size(result)
        if points > MAX_RESULT_POINTS:
            raise QueryError(
                "execution",
                f"the result has {points:,} points, more than {MAX_RESULT_POINTS:,}; "
                "aggregate it, raise the step, or narrow the range",
            )
        stats = render.statistics(usage) if text(call.params, "stats") else b""

        def write() -> bytes:
            return render.answer(
                result, query, range_query=range_query, stats=stats, warnings=warnings
            )

        if points <= _INLINE_POINTS:
            return Response(200, write())
        return Response(200, await self._services.queries.aside(write))


def _range(params: Params) -> tuple[int, int, int]:
    start, end = moment(params, "start"), moment(params, "end")
    if end < start:
        raise BadParameterError(
            'invalid parameter "end": end timestamp must not be before start time'
        )
    step = span(params, "step", needed=True)
    if step <= 0:
        raise BadParameterError(
            'invalid parameter "step": zero or negative query resolution step widths are not '
            "accepted. Try a positive integer"
        )
    # Counted as Prometheus counts: the first step comes on top.
    if (end - start) // step > MAX_POINTS:
        raise BadParameterError(
            f"exceeded maximum resolution of {MAX_POINTS:,} points per timeseries. Try decreasing "
            "the query resolution (?step=XX) to at least "
            f"{math.ceil((end - start) / MAX_POINTS / 1000)}s"
        )
    return start, end, step
