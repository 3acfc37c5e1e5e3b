"""The column store on the real engine, in its child process."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.storage.chdb.chunks import T0, batch, bits, equal, labels, named, points
from vedette.model.blocks import Block, RaggedBlock
from vedette.model.events import Event
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import NAN_BITS, STALE_BITS
from vedette.storage.chdb.columns import ChdbColumns, open_in_child
from vedette.storage.chdb.session import StatementRunner
from vedette.storage.interface import StorageError

pytestmark = pytest.mark.chdb

HOUR = 3_600_000
DAY = 24 * HOUR
FAR = 10**17
_fresh = (f"{n:04d}" for n in itertools.count())
_few = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["'", "\\", "\\'", "' OR 1=1 --", "{app:String}", "\0", "\n\t\r", '"', "`", "\\x41", "\\N", "é"]
)


def _token() -> str:
    return f"segment-{next(_fresh)}"


def test_every_bit_of_a_value_comes_back(store: ChdbColumns) -> None:
    """Stale markers, NaN patterns, infinities, −0.0 and decimals survive, through merges too."""
    odd = [float(np.uint64(b).view(np.float64)) for b in (STALE_BITS, NAN_BITS, NAN_BITS + 5)]
    values = [*odd, -0.0, 0.0, float("inf"), float("-inf"), 0.1, 1e-9, 5e-324, 2.0**63, 1e22, -7.25]
    wanted = {
        labels("bits", k=str(k)): {
            T0 + 15_000 * i: v for i, v in enumerate(values[k:] + values[:k])
        }
        for k in range(len(values))
    }
    store.insert_samples(batch(wanted), _token())
    expected = {name: {t: bits(v) for t, v in p.items()} for name, p in wanted.items()}
    assert points(store.select(named("bits"), T0, T0 + HOUR)) == expected
    store.engine.query("OPTIMIZE TABLE samples FINAL")
    assert points(store.select(named("bits"), T0, T0 + HOUR)) == expected


_chunk = st.tuples(
    st.integers(0, 3),
    st.sampled_from([T0, T0 + HOUR, T0 + DAY, -DAY - 5, 0, -(2**45), 2**50]),
    st.lists(st.integers(0, 400), min_size=1, max_size=6, unique=True),
)


@_few
@given(
    inserts=st.lists(st.lists(_chunk, min_size=1, max_size=5), min_size=1, max_size=4),
    merged=st.booleans(),
    window=st.tuples(st.integers(-2, 400), st.integers(0, 400)),
)
def test_a_selection_is_what_was_inserted(
    store: ChdbColumns,
    inserts: list[list[tuple[int, int, list[int]]]],
    merged: bool,
    window: tuple[int, int],
) -> None:
    """Whatever order, repetition and days samples come in, each is selected once, in order."""
    metric = f"m_{next(_fresh)}"
    expected: dict[Labels, dict[int, int]] = {}
    for insert in inserts:
        chunks: dict[Labels, dict[int, float]] = {}
        for series, base, offsets in insert:
            name = labels(metric, s=str(series))
            # A value that follows from the time: repeated samples agree, also of other bases.
            times = {base + 60_000 * k: (base // 60_000 + k) % 1000 for k in offsets}
            chunks.setdefault(name, {}).update(
                {t: n / (4 if n % 3 else 3) for t, n in times.items()}
            )
        store.insert_samples(batch(chunks), _token())
        for name, samples in chunks.items():
            expected.setdefault(name, {}).update({t: bits(v) for t, v in samples.items()})
    if merged:
        store.engine.query("OPTIMIZE TABLE samples FINAL")
    assert points(store.select(named(metric), -FAR, FAR)) == expected
    start, end = T0 + 60_000 * window[0], T0 + 60_000 * (window[0] + window[1])
    inside = {n: {t: v for t, v in p.items() if start <= t <= end} for n, p in expected.items()}
    assert points(store.select(named(metric), start, end)) == {n: p for n, p in inside.items() if p}


def test_equal_times_share_a_block_however_they_were_inserted(store: ChdbColumns) -> None:
    """Series with the same timestamps stand in one Block, others in one ragged block."""
    times = [T0 + 15_000 * k for k in range(20)]
    whole = {labels("shared", s=f"a{k}"): dict.fromkeys(times, float(k)) for k in range(5)}
    early = {labels("shared", s=f"b{k}"): dict.fromkeys(times[:7], 0.5) for k in range(5)}
    late = {labels("shared", s=f"b{k}"): dict.fromkeys(times[7:], 0.5) for k in range(5)}
    alone = {labels("shared", s="c"): dict.fromkeys(times[3:9], 1.0)}
    for part in (whole, early, late, alone):
        store.insert_samples(batch(part), _token())
    (selection,) = store.select(named("shared"), T0, T0 + HOUR)
    by_kind = {type(block): block for block in selection.blocks}
    assert len(selection.blocks) == 2
    assert by_kind[Block].values.shape == (20, 10)
    assert by_kind[Block].values.flags.c_contiguous
    assert len(by_kind[RaggedBlock].columns) == 1


def test_rows_of_one_set_of_times_in_different_order(store: ChdbColumns) -> None:
    """Merged rows that hold the same times in different order give each series its own values."""
    first, second = {T0 + 1: 1.0, T0 + 3: 3.0}, {T0 + 2: 2.0, T0 + 4: 4.0}
    a, b = labels("order", s="a"), labels("order", s="b")
    store.insert_samples(batch({a: first, b: second}), _token())
    store.insert_samples(batch({a: second, b: first}), _token())
    store.engine.query("OPTIMIZE TABLE samples FINAL")
    both = {t: bits(v) for t, v in (first | second).items()}
    assert points(store.select(named("order"), T0, T0 + 9)) == {a: both, b: both}


def test_start_timestamps_come_back(store: ChdbColumns) -> None:
    """Known start timestamps stand beside their samples; unknown ones stay unknown."""
    for s in range(5):
        start = 0 if s == 4 else T0 - 1
        one = {labels("started", s=str(s)): {T0 + k: 1.0 for k in range(3)}}
        store.insert_samples(batch(one, start=start), _token())
    (selection,) = store.select(named("started"), T0, T0 + 9)
    (block,) = selection.blocks
    assert isinstance(block, Block)
    assert block.start is not None
    known = {
        selection.labels.labels(c).get("s"): block.start[:, k].tolist()
        for k, c in enumerate(block.columns.tolist())
    }
    assert known == {str(s): [T0 - 1] * 3 for s in range(4)} | {"4": [0] * 3}


def test_a_repeated_token_changes_nothing(store: ChdbColumns) -> None:
    """An insert that is repeated with its token is stored once, over several days too."""
    chunks = batch({labels("again", s="1"): {T0: 1.0, T0 + DAY: 2.0, T0 + 2 * DAY: 3.0}})
    event = Event("e" * 32, "again", "t", T0, b"{}")
    token = _token()
    for _ in range(3):
        store.insert_samples(chunks, token)
        store.insert_events([event], token)
    rows = _count(store, "samples WHERE metric = 'again'")
    assert (rows, _count(store, "events WHERE app = 'again'")) == (3, 1)


def test_a_token_that_is_known_without_its_rows_does_not_lose_them(store: ChdbColumns) -> None:
    """Rows that the engine drops for a token in its log, though they are not there, are inserted.

    The log is written before the part: a crash between the two leaves the token alone.
    """
    token = _token()
    store.insert_samples(batch({labels("lost", s="1"): {T0: 1.0}}), token)
    store.insert_samples(batch({labels("lost", s="2"): {T0: 2.0}}), token)
    store.insert_events([Event("a" * 32, "lost", "t", T0, b"{}")], token)
    store.insert_events([Event("b" * 32, "lost", "t", T0, b"{}")], token)
    assert len(points(store.select(named("lost"), T0, T0))) == 2
    assert _count(store, "events WHERE app = 'lost'") == 2


def _count(store: ChdbColumns, what: str) -> int:
    found = store.engine.query(f"SELECT count() FROM {what}")
    return int(np.frombuffer(found, "<u8", 1, len(found) - 8)[0])


@_few
@given(pairs=st.dictionaries(_text.filter(bool), _text, max_size=4), app=_text, value=_text)
def test_no_text_breaks_out_of_a_statement(
    store: ChdbColumns, pairs: dict[str, str], app: str, value: str
) -> None:
    """Any label, metric, application or matcher is data to the engine, and comes back as it was."""
    metric = f"t{next(_fresh)} {value}"
    name = Labels.of({**pairs, "__name__": metric, "l": value})
    store.insert_samples(batch({name: {T0: 1.0}}, app=app), _token())
    matchers = [*named(metric), *(equal(k, v) for k, v in name if k != "__name__")]
    assert points(store.select(matchers, T0, T0)) == {name: {T0: bits(1.0)}}
    assert store.series([matchers], T0, T0, 0) == [name]
    assert store.label_values("l", [named(metric)], T0, T0) == [v for v in [value] if v]
    assert store.select([*matchers, equal("absent", value + "x")], T0, T0) == ()


@_few
@given(app=_text.filter(bool), kind=_text.filter(bool), member=_text.filter(bool), value=_text)
def test_no_text_of_an_event_breaks_out_of_a_statement(
    store: ChdbColumns, app: str, kind: str, member: str, value: str
) -> None:
    """Any application, type, member and value of an event is data, and comes back as it was."""
    identity = next(_fresh).zfill(32)
    data = json.dumps({member: value}, ensure_ascii=False, separators=(",", ":")).encode()
    event = Event(identity, app + identity, kind, T0 + 7, data)
    store.insert_events([event], _token())
    found = store.find_events(
        app=event.app, type=kind, since=T0, until=T0 + 8, limit=9, before=(FAR, "")
    )
    assert found == [event]
    counts = store.count_events(app=event.app, type=kind, since=T0, until=T0 + 8, by=member)
    assert counts == {value: 1}


def test_events_come_in_pages_from_the_newest(store: ChdbColumns) -> None:
    """Pages follow (ts, id) downwards without gap or repetition, in the asked span alone."""
    events = [Event(f"{k:032x}", "pages", "ab"[k % 2], T0 + k // 3, b"{}") for k in range(20)]
    store.insert_events(events, _token())
    before, seen = (FAR, ""), []
    while page := store.find_events(
        app="pages", type="", since=T0 + 1, until=T0 + 6, limit=4, before=before
    ):
        seen += page
        before = (page[-1].ts, page[-1].id)
    assert seen == sorted(events[3:18], key=lambda e: (e.ts, e.id), reverse=True)
    only = store.find_events(app="pages", type="a", since=0, until=FAR, limit=99, before=before)
    assert all(event.type == "a" for event in only)


def test_events_are_counted_by_a_member(store: ChdbColumns) -> None:
    """Strings count as themselves, other values as their JSON, and absent ones as nothing."""
    datas = [
        b'{"s":"a"}',
        b'{"s":"a"}',
        b'{"s":1}',
        b'{"s":1.5}',
        b'{"s":null}',
        b"{}",
        b'{"s":[1,"x"]}',
        b'{"s":{"k":true}}',
        '{"s":"ü\\"\\n"}'.encode(),
    ]
    store.insert_events(
        [Event(f"{k:032x}", "by", "t", T0 + k, data) for k, data in enumerate(datas)], _token()
    )
    span = {"app": "by", "type": "", "since": T0, "until": T0 + 99}
    assert store.count_events(**span, by="s") == {
        "a": 2,
        "1": 1,
        "1.5": 1,
        "null": 1,
        "": 1,
        '[1,"x"]': 1,
        '{"k":true}': 1,
        'ü"\n': 1,
    }
    assert store.count_events(**span, by="") == {"": len(datas)}
    assert store.count_events(app="nobody", type="", since=T0, until=T0 + 99, by="") == {}


def test_series_and_labels_by_matchers(store: ChdbColumns) -> None:
    """Series, label names and values follow the matchers, their union, and the day."""
    names = [
        labels("q_a", job="x", zone="1"),
        labels("q_a", job="y"),
        labels("q_b", job="z", pod="p"),
    ]
    store.insert_samples(batch({name: {T0: 1.0} for name in names}), _token())
    store.insert_samples(batch({labels("q_c", job="w"): {T0 + 40 * DAY: 1.0}}), _token())
    both = [Matcher("__name__", MatchOp.REGEX, "q_.")]
    assert store.series([both], T0, T0, 0) == names
    assert store.series([both], T0, T0, 2) == names[:2]
    assert store.series([[*both, Matcher("zone", MatchOp.EQUAL, "")]], T0, T0, 0) == names[1:]
    assert store.series([named("q_a"), named("q_b"), named("q_a")], T0, T0, 0) == names
    assert store.label_names([both], T0, T0) == ["__name__", "job", "pod", "zone"]
    assert store.label_values("job", [both], T0, T0) == ["x", "y", "z"]
    assert store.label_values("__name__", [both], T0, T0) == ["q_a", "q_b"]
    assert store.label_values("job", [both], T0, T0 + 40 * DAY) == ["w", "x", "y", "z"]
    found = store.select([*both, Matcher("job", MatchOp.REGEX, "y|z")], T0, T0)
    assert [s.metric for s in found] == ["q_a", "q_b"]
    assert {"q_a", "q_b"} <= set(store.label_values("__name__", [], T0, T0))


def test_new_series_of_a_known_metric_are_seen(store: ChdbColumns) -> None:
    """A series that arrives after its metric was asked for is found by the next question."""
    for k in range(3):
        store.insert_samples(batch({labels("grows", k=str(k)): {T0: 1.0}}), _token())
        assert len(points(store.select(named("grows"), T0, T0))) == k + 1


def test_samples_are_readable_by_plain_sql(store: ChdbColumns) -> None:
    """The view sample_points gives a row per sample, scaled or not, and series its labels."""
    store.insert_samples(
        batch({labels("sql", k="v"): {T0: 0.25, T0 + 1: 0.5}, labels("sql", k="w"): {T0: 1 / 3}}),
        _token(),
    )
    found = store.engine.query(
        "SELECT sum(value) FROM sample_points JOIN (SELECT id, labels FROM series"
        " WHERE metric = 'sql') AS s USING (id) WHERE metric = 'sql' AND labels['k'] != 'x'"
    )
    assert np.frombuffer(found, "<f8", 1, len(found) - 8)[0] == pytest.approx(0.75 + 1 / 3)


@pytest.mark.parametrize("token", ["a'b", "a\\", "ü", "a b"])
def test_a_token_is_a_plain_name(store: ChdbColumns, token: str) -> None:
    """A token that could leave its quotes is refused."""
    with pytest.raises(StorageError, match="not a token"):
        store.insert_samples(batch({labels("token"): {T0: 1.0}}), token)


def test_a_regular_expression_that_is_none_is_refused(store: ChdbColumns) -> None:
    """An invalid pattern is an error of storage that names it."""
    with pytest.raises(StorageError, match="invalid regular expression"):
        store.select([Matcher("__name__", MatchOp.REGEX, "(")], T0, T0)


def test_nothing_is_found_where_nothing_is(store: ChdbColumns) -> None:
    """Unknown metrics, empty batches and far spans give empty answers."""
    store.insert_samples(batch({}), _token())
    store.insert_events([], _token())
    assert store.select(named("nobody"), -(2**63), 2**63 - 1) == ()
    assert store.series([named("nobody")], -(2**63), 2**63 - 1, 0) == []


def test_a_store_survives_its_reopening_and_forgets_by_age(tmp_path: Path) -> None:
    """Reopened, everything is there; retention drops whole old days; a newer schema is refused."""
    now = T0 + 10 * DAY
    chunks = {labels("old", s="1"): {T0 - 1: 0.5, T0: 1.0, now: 2.0}}
    first = open_in_child(tmp_path / "s")
    assert first.bounds() is None
    first.insert_samples(batch(chunks), "one")
    first.insert_events([Event("a" * 32, "a", "t", T0 - 1, b"{}")], "one")
    assert first.bounds() == (T0 - 1, now)
    with pytest.raises(StorageError, match="did not open"):
        open_in_child(tmp_path / "s", timeout=0.8)
    first.close()

    second = open_in_child(tmp_path / "s")
    assert second.bounds() == (T0 - 1, now)
    second.insert_samples(batch(chunks), "one")
    assert len(points(second.select(named("old"), 0, now))[labels("old", s="1")]) == 3
    old, *_, newest = [each.day for each in second.days()]
    assert (old, newest) == ((T0 - 1) // DAY, now // DAY)
    assert all(each.nbytes > 0 for each in second.days())
    second.drop_days([old, old - 5])
    assert old not in [each.day for each in second.days()]
    assert second.bounds() == (T0, now)
    assert points(second.select(named("old"), 0, T0 - 1)) == {}
    assert second.series([named("old")], T0 - 1, T0 - 1, 0) == []
    assert second.count_events(app="", type="", since=0, until=FAR, by="") == {}
    second.engine.query("INSERT INTO schema_version SELECT 9999, 'future', 0")
    second.close()

    with pytest.raises(StorageError, match="newer Vedette"):
        open_in_child(tmp_path / "s")


def test_a_result_beyond_the_limits_is_refused_with_the_remedy(store: ChdbColumns) -> None:
    """More than the server should hold is an error that says what to ask for instead."""
    run = StatementRunner(store.engine)
    with pytest.raises(StorageError, match="fewer series or a shorter time"):
        run.rows("SELECT number FROM numbers(1000000) SETTINGS max_result_bytes = 1000")


@pytest.mark.parametrize("whole", [True, False])
def test_a_deletion_keeps_what_it_does_not_select(
    store: ChdbColumns, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Other times, metrics and series stay; a metric as a whole goes without a list of its ids."""
    metric = f"gone_{whole}"
    series = [labels(metric, i=str(i)) for i in range(6)]
    samples = {T0: 1.0, T0 + HOUR: 2.0, T0 + 3 * HOUR: 3.0}
    other = labels(f"{metric}_not", i="0")
    store.insert_samples(batch(dict.fromkeys([*series, other], samples)), _token())
    ran: list[str] = []
    do = StatementRunner.do

    def noted(runner: StatementRunner, sql: str, given: dict[str, str | int] | None = None) -> None:
        ran.append(sql)
        do(runner, sql, given)

    monkeypatch.setattr(StatementRunner, "do", noted)
    some = [] if whole else [Matcher("i", MatchOp.NOT_EQUAL, "0")]
    store.delete_series([[*named(metric), *some]], T0 + HOUR, T0 + 4 * HOUR)
    left = points(store.select(named(metric), T0, T0 + DAY))
    assert {one.get("i"): list(held) for one, held in left.items()} == {
        str(i): [T0] if whole or i else list(samples) for i in range(6)
    }
    assert list(points(store.select(named(other.metric), T0, T0 + DAY))[other]) == list(samples)
    assert all(("id IN" in sql) is not whole for sql in ran if sql.startswith("ALTER"))
    store.delete_series([named(metric)], T0, T0 + DAY)
    assert points(store.select(named(metric), T0, T0 + DAY)) == {}
    assert store.series([named(metric)], T0, T0 + DAY, 0) == []
