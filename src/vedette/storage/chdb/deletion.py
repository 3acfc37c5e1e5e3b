"""Deleting samples of series in a range: mutations, which the engine executes part by part."""

from __future__ import annotations

from collections.abc import Mapping

from vedette.storage.chdb.catalog import StoredSeries
from vedette.storage.chdb.ids import id_list
from vedette.storage.chdb.native import numbers
from vedette.storage.chdb.session import StatementRunner

# A mutation takes half a second however little it changes, so there are to be few of them; but the
# engine holds the list of ids once for each column that changes: 20,000 need 770 MB.
_AT_ONCE = 2_000

# What is left of an array beside ``ts`` when the range is cut out.
_KEPT = "arrayFilter((x, t) -> t < {start:Int64} OR t > {end:Int64}, %s, ts)"
_TS = "arrayFilter(t -> t < {start:Int64} OR t > {end:Int64}, ts)"
# The finaliser of SplitMix64, as ``encode.time_hashes`` has it.
_TIME_SET = (
    "arraySum(arrayMap(z -> bitXor(z, bitShiftRight(z, 31)),"
    " arrayMap(z -> bitXor(z, bitShiftRight(z, 27)) * toUInt64(10723151780598845931),"
    " arrayMap(z -> bitXor(z, bitShiftRight(z, 30)) * toUInt64(13787848793156543929),"
    f" arrayMap(t -> toUInt64(t) + toUInt64(11400714819323198485), {_TS})))))"
)
_ONE_EACH = ("schema", "reset_hint", "count", "sum", "zero_threshold", "zero_count")


def delete(run: StatementRunner, series: StoredSeries, start: int, end: int) -> None:
    """Delete what lies in ``start <= ts <= end`` (ms) of ``series``; again changes nothing.

    Rows that lie in the range go; of rows that reach out of it the rest stays.
    """
    given: dict[str, str | int] = {"metric": series.metric, "start": start, "end": end}
    if series.whole:
        _delete(run, "metric = {metric:String}", given)
        return
    for first in range(0, len(series.ids), _AT_ONCE):
        named = id_list(series.ids[first : first + _AT_ONCE])
        _delete(run, f"metric = {{metric:String}} AND id IN ({named})", given)


def _delete(run: StatementRunner, mine: str, given: Mapping[str, str | int]) -> None:
    """Delete what lies in the range of the series that the condition ``mine`` selects."""
    inside = f"{mine} AND min_ts >= {{start:Int64}} AND max_ts <= {{end:Int64}}"
    overlapping = f"{mine} AND min_ts <= {{end:Int64}} AND max_ts >= {{start:Int64}}"
    touched = f"{overlapping} AND (min_ts < {{start:Int64}} OR max_ts > {{end:Int64}})"
    for table, changes in (("histograms", _histograms()), ("samples", _samples())):
        if not _count(run, table, overlapping, given):
            continue  # a mutation looks at every part, and takes its time
        run.do(
            f"ALTER TABLE {table} DELETE WHERE {inside},"
            f" UPDATE {changes} WHERE {touched} SETTINGS mutations_sync = 1",
            given,
        )
    shown = f"{mine} AND ts BETWEEN {{start:Int64}} AND {{end:Int64}}"
    if _count(run, "exemplars", shown, given):
        run.do(f"ALTER TABLE exemplars DELETE WHERE {shown} SETTINGS mutations_sync = 1", given)
    run.do(
        f"ALTER TABLE series DELETE WHERE {mine} AND (id, day) NOT IN"  # noqa: S608 # fixed
        " (SELECT id, intDiv(bucket, 86400000) FROM samples WHERE metric = {metric:String})"
        " SETTINGS mutations_sync = 1",
        given,
    )


def _count(run: StatementRunner, table: str, where: str, given: Mapping[str, str | int]) -> int:
    found = run.rows(f"SELECT count() AS n FROM {table} WHERE {where}", given)  # noqa: S608 # fixed
    return int(numbers(found["n"])[0])


def _samples() -> str:
    mantissas, raw, starts = (_KEPT % name for name in ("mantissas", "raw", "starts"))
    return ", ".join(
        [
            f"mantissas = if(exponent < 0, mantissas, {mantissas})",
            f"raw = if(exponent < 0, {raw}, raw)",
            f"starts = if(has_starts, {starts}, starts)",
            f"time_set = {_TIME_SET}",
            f"min_ts = arrayMin({_TS})",
            f"max_ts = arrayMax({_TS})",
            f"ts = {_TS}",
        ]
    )


def _histograms() -> str:
    changes = [f"{name} = {_KEPT % name}" for name in _ONE_EACH]
    for kind, lists in (
        ("positive", ("positive_index", "positive_count")),
        ("negative", ("negative_index", "negative_count")),
        ("custom", ("custom_bounds",)),
    ):
        # The timestamp of the histogram that each bucket belongs to.
        owner = f"arrayFlatten(arrayMap((t, n) -> arrayWithConstant(n, t), ts, {kind}_length))"
        changes += [
            f"{name} = arrayFilter((x, t) -> t < {{start:Int64}} OR t > {{end:Int64}},"
            f" {name}, {owner})"
            for name in lists
        ]
        changes.append(f"{kind}_length = {_KEPT % (kind + '_length')}")
    changes += [f"min_ts = arrayMin({_TS})", f"max_ts = arrayMax({_TS})", f"ts = {_TS}"]
    return ", ".join(changes)
