"""``/federate``: the newest sample of each selected series, in the text format.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4, or 1.0.0 with
quoted names for clients that ask for ``escaping=allow-utf-8``. Samples that are native histograms
are left out, as the format has no place for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from vedette.model.arrays import F64, I32, I64
from vedette.model.blocks import AnyBlock, Block, Selection
from vedette.model.labels import Labels, quote
from vedette.model.samples import is_absent, is_histogram, is_stale
from vedette.query.errors import QueryError
from vedette.storage.interface import Check, SelectLimits
from vedette.web.api.params import BadParameterError, Params, selectors
from vedette.web.compression import WORTH_COMPRESSING, accepts_gzip, compressed
from vedette.web.connection import Lookout
from vedette.web.http import (
    TEXT,
    Receive,
    Response,
    Scope,
    Send,
    headers_of,
    parameters,
    respond,
)
from vedette.web.render import number
from vedette.web.services import Services

MAX_SAMPLES = 20_000_000

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NOT_METRIC = re.compile(r"[^a-zA-Z0-9_:]")
_NOT_LABEL = re.compile(r"[^a-zA-Z0-9_]")

PLAIN = b"text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
QUOTED = b"text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"


class Federation:
    """The endpoint; its errors are plain text, as the answer is."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # An empty instance keeps the scraper's own away from series that have none.
        self._external = {"instance": ""} | dict(services.external_labels)
        self._lookout = Lookout()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        params = await parameters(scope, receive)
        quoted = takes_quoted(headers_of(scope).get("accept", ""))
        try:
            body = await self._lookout.while_connected(receive, self._body(params, quoted=quoted))
        except BadParameterError as error:
            self._services.stats.rejected["bad_parameter"] += 1
            await respond(send, Response(400, f"{error}\n".encode(), TEXT))
            return
        except QueryError as error:
            await respond(send, Response(503, f"{error}\n".encode(), TEXT))
            return
        answer = Response(200, body, QUOTED if quoted else PLAIN)
        if len(body) >= WORTH_COMPRESSING and accepts_gzip(scope):
            answer = await self._services.queries.aside(lambda: compressed(answer))
        await respond(send, answer)

    async def _body(self, params: Params, *, quoted: bool) -> bytes:
        now = self._services.clock.now_ms()
        first = now - self._services.lookback_ms + 1
        select = self._services.samples.select

        def find(check: Check) -> bytes:
            limits = SelectLimits(MAX_SAMPLES, check=check)
            wanted = selectors(params)
            found = (one for matchers in wanted for one in select(matchers, first, now, limits))
            return federated(found, quoted=quoted, external=self._external)

        return await self._services.queries.lookup(find)


def takes_quoted(accept: str) -> bool:
    """Return whether a client with this Accept header reads names of any characters."""
    return "escaping=allow-utf-8" in accept.replace(" ", "")


def federated(
    selections: Iterable[Selection], *, quoted: bool, external: Mapping[str, str] | None = None
) -> bytes:
    """Return the newest sample of every series of ``selections``, with its timestamp (ms).

    Series get those of the ``external`` labels that they do not have, behind their own.

    A series that stands in several selections is written once; one that ended is left out.
    """
    families: dict[str, dict[Labels, tuple[int, float]]] = {}
    for selection in selections:
        found = families.setdefault(selection.metric, {})
        for block in selection.blocks:
            columns, ts, values = newest(block)
            rows = selection.labels.take(columns).rows()
            found.update(zip(rows, zip(ts.tolist(), values.tolist(), strict=True), strict=True))
    more = sorted((external or {}).items())
    lines: list[str] = []
    for metric, samples in sorted(families.items()):
        if not samples:
            continue
        name = _metric_name(metric, quoted=quoted)
        lines.append(f"# TYPE {name} untyped")
        for labels, (at, value) in sorted(samples.items(), key=lambda item: item[0].pairs):
            taken = labels.as_dict()
            pairs = [*labels, *(pair for pair in more if pair[0] not in taken)]
            lines.append(f"{_series(name, pairs, quoted=quoted)} {number(value)} {at}")
    return "".join(f"{line}\n" for line in lines).encode()


def newest(block: AnyBlock) -> tuple[I32, I64, F64]:
    """Return columns, times and values of the series whose newest sample is a living float."""
    if not len(block.ts):
        return block.columns[:0], block.ts, block.values.reshape(-1)
    if isinstance(block, Block):
        present = ~is_absent(np.ascontiguousarray(block.values))
        columns = np.flatnonzero(present.any(axis=0))
        back = present[::-1].argmax(axis=0)[columns]
        ts, values = block.ts[-1 - back], block.values[-1 - back, columns]
    else:
        columns = np.flatnonzero(np.diff(block.offsets))
        last = block.offsets[columns + 1] - 1
        ts, values = block.ts[last], block.values[last]
    values = np.ascontiguousarray(values)
    living = ~(is_stale(values) | is_histogram(values))
    return block.columns[columns[living]], ts[living], values[living]


def _metric_name(metric: str, *, quoted: bool) -> str:
    if _METRIC.fullmatch(metric):
        return metric
    if quoted:
        return quote(metric)
    return re.sub(r"^(?=[0-9])", "_", _NOT_METRIC.sub("_", metric))


def _series(name: str, labels: Iterable[tuple[str, str]], *, quoted: bool) -> str:
    pairs = [f"{_label(label, quoted=quoted)}={quote(value)}" for label, value in labels]
    if name.startswith('"'):
        return "{" + ",".join([name, *pairs]) + "}"
    return f"{name}{{{','.join(pairs)}}}" if pairs else name


def _label(name: str, *, quoted: bool) -> str:
    if _LABEL.fullmatch(name):
        return name
    if quoted:
        return quote(name)
    return re.sub(r"^(?=[0-9])", "_", _NOT_LABEL.sub("_", name))
