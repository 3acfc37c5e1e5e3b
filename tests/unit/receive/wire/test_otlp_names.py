"""Names of OpenTelemetry as Prometheus translates them; compared with Prometheus 3.14 by hand."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.receive.wire.otlp_names import (
    Strategy,
    UnnamedError,
    label_name,
    metric_name,
    unit_name,
)

FULL = Strategy.UNDERSCORES_WITH_SUFFIXES
UTF8 = Strategy.UTF8_WITH_SUFFIXES


@pytest.mark.parametrize(
    ("name", "unit", "kind", "wanted"),
    [
        ("http.server.duration", "s", "", "http_server_duration_seconds"),
        ("req.count", "1", "gauge", "req_count_ratio"),
        ("req.count", "1", "counter", "req_count_total"),
        ("req.count", "1", "", "req_count"),
        ("a..b__c", "By/s", "", "a_b_c_bytes_per_second"),
        ("already_seconds_total", "s", "counter", "already_seconds_total"),
        ("total", "1", "counter", "total"),
        ("total.things", "", "counter", "things_total"),
        ("9lives", "{cats}", "", "_9lives"),
        ("x", "By/{op}", "", "x_bytes"),
        ("temp", "{a}/m", "", "temp_per_minute"),
        ("foo", "weird-unit", "", "foo_weird_unit"),
        ("two", "foo bar/baz$", "", "two_foo_bar_per_baz"),
        ("m:colon", "ms", "", "m:colon_milliseconds"),
        ("_lead", "%", "", "lead_percent"),
        ("ünï.code", "V", "", "n_code_volts"),
        ("x.bytes.y", "By", "", "x_bytes_y"),
        ("u_unit", "_s_", "counter", "u_unit_s__total"),
        ("onlyper", "1/s", "", "onlyper_per_second"),
    ],
)
def test_names_with_suffixes(name: str, unit: str, kind: str, wanted: str) -> None:
    """Words and unit are joined, each once; the type comes last."""
    got = metric_name(name, unit, FULL, counter=kind == "counter", gauge=kind == "gauge")
    assert got == wanted


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        (UTF8, "a.b-c_seconds_total"),
        (Strategy.NONE, "a.b-c"),
        (Strategy.UNDERSCORES_WITHOUT_SUFFIXES, "a_b_c"),
        (FULL, "a_b_c_seconds_total"),
    ],
)
def test_strategies(strategy: Strategy, wanted: str) -> None:
    """Each escapes or not, and adds suffixes or not."""
    assert metric_name("a.b-c", "s", strategy, counter=True, gauge=False) == wanted


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("http.method", "http_method"),
        ("_a", "key_a"),
        ("__m", "__m"),
        ("1x", "key_1x"),
        ("x__y", "x__y"),
        ("ü", "key_"),
        ("üü", None),
        ("", None),
    ],
)
def test_labels(name: str, wanted: str | None) -> None:
    """What is no letter or digit becomes an underscore; names that are nothing else are none."""
    if wanted is None:
        with pytest.raises(UnnamedError):
            label_name(name, FULL)
    else:
        assert label_name(name, FULL) == wanted


def test_labels_as_earlier_versions_wrote_them() -> None:
    """The prefix and the underscores that follow each other are options."""
    assert label_name("_a", FULL, key_prefix=False) == "_a"
    assert label_name("x..y__z", FULL, keep_underscores=False) == "x_y_z"


def test_units_of_metadata() -> None:
    """They are words too."""
    assert unit_name("By/s", FULL) == "bytes_per_second"
    assert unit_name("1", FULL) == ""


@given(st.text(max_size=20), st.text(max_size=8), st.booleans(), st.booleans())
def test_escaped_names_are_classic(name: str, unit: str, counter: bool, gauge: bool) -> None:
    """Whatever comes in, the name has the classic alphabet, or there is none."""
    try:
        found = metric_name(name, unit, FULL, counter=counter, gauge=gauge)
    except UnnamedError:
        return
    assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", found)
