"""Templates: what they insert is what Prometheus would, and faults are found at load."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.model.labels import Labels
from vedette.rules.templates import TemplateData, TemplateError, compile_template, go_float

LABELS = Labels.of({"job": "chat", "code": "500", "ratio": "0.25"})


def expand(text: str, value: float = 0.1234567) -> str:
    """Expand with the labels of this module."""
    return compile_template(text).expand(TemplateData(LABELS, value))


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("plain { } text", 1.0, "plain { } text"),
        ("{{ $value }} of {{$labels.job}}", 2.0, "2 of chat"),
        ("{{ .Value }}{{ .Labels.job }}{{ $labels.absent }}", 2.5, "2.5chat"),
        ("{{ $value | humanize }}", 1234567.0, "1.235M"),
        ("{{ humanize $value }}", 0.00012, "120u"),
        ("{{ $value | humanize }}", 0.0, "0"),
        ("{{ $value | humanize1024 }}", 2048.0, "2ki"),
        ("{{ $value | humanizeDuration }}", 3725.4, "1h 2m 5s"),
        ("{{ $value | humanizeDuration }}", 0.25, "250ms"),
        ("{{ $value | humanizeDuration }}", -90061.0, "-1d 1h 1m 1s"),
        ("{{ $value | humanizeDuration }}", 2.3456789, "2.346s"),
        ("{{ $value | humanizePercentage }}", 0.01234, "1.234%"),
        ('{{ printf "%.2f" $value }}', 3.14159, "3.14"),
        ('{{ $value | printf "%5.1f|%%" }}', 3.14159, "  3.1|%"),
        ('{{ printf "%s: %d" $labels.job 7 }}', 0.0, "chat: 7"),
        ('{{ printf "%q %v" $labels.job $value }}', math.inf, '"chat" +Inf'),
        ("{{ $labels.ratio | humanizePercentage }}", 0.0, "25%"),
        ("{{ (humanize $value) | toUpper }}", 1500.0, "1.5K"),
        ("a {{- /* remark */ -}} b", 0.0, "ab"),
        ("a\n  {{- $value -}}\n b", 1.0, "a1b"),
        ('{{ "}}" }}{{ `a\\n` }}', 1.0, "}}a\\n"),
        ("{{ $value | humanize }}", math.nan, "NaN"),
    ],
)
def test_expansion(text: str, value: float, expected: str) -> None:
    """Each construct gives the text that Prometheus' documentation and Go's fmt give."""
    assert expand(text, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (123456.0, "123456"),
        (1e6, "1e+06"),
        (123456789.0, "1.23456789e+08"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-2.5, "-2.5"),
        (1e21, "1e+21"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (-math.inf, "-Inf"),
    ],
)
def test_numbers_as_go_prints_them(value: float, expected: str) -> None:
    """A float is printed as Go's %v prints a float64."""
    assert go_float(value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_printed_numbers_read_back(value: float) -> None:
    """The printed form of any finite float reads back as the same float."""
    assert float(go_float(value)) == value


@pytest.mark.parametrize(
    ("text", "offset", "part"),
    [
        ("ab {{ $value", 3, "not closed"),
        ("{{ range .Alerts }}", 3, '"range" is not supported'),
        ('{{ query "up" | first }}', 3, '"query" is not supported'),
        ("{{ $label.x }}", 3, '"$label.x" is not known'),
        ("{{ $labels }}", 3, '"$labels" is not known'),
        ("{{ }}", 2, "empty action"),
        ("{{ $value | 3 }}", 12, "a function must follow"),
        ("{{ humanize }}", 3, "humanize takes 1"),
        ("{{ $value | humanize 2 }}", 12, "humanize takes 1"),
        ('{{ printf "%y" $value }}', 3, "cannot read the format"),
        ('{{ printf "%d %d" $value }}', 3, "wants 2 value(s), not 1"),
        ("{{ printf $value }}", 3, "literal text"),
        ("{{ $value ; }}", 10, 'unexpected ";"'),
        ("{{ (((((((((((((((((1))))))))))))))))) }}", 19, "unexpected"),
        ("x" * 20_000, 0, "longer than"),
    ],
)
def test_faults_are_found_at_load(text: str, offset: int, part: str) -> None:
    """What is outside the subset is refused when it is read, with the place."""
    with pytest.raises(TemplateError) as caught:
        compile_template(text)
    assert part in caught.value.message
    assert caught.value.offset == offset


@given(st.text(alphabet=st.sampled_from('{}$|"%`\\ ().-abprintfvalueslabels12\n'), max_size=50))
def test_only_template_errors(text: str) -> None:
    """Any text either is refused with a TemplateError or expands, or fails with one."""
    with contextlib.suppress(TemplateError):
        compile_template(text).expand(TemplateData(LABELS, 1.5))


def test_limits() -> None:
    """A label that is no number fails humanize, and the output is limited."""
    with pytest.raises(TemplateError, match="not a number"):
        expand("{{ $labels.job | humanize }}")
    huge = TemplateData(Labels.of({"x": "y" * 40_000}), 1.0)
    with pytest.raises(TemplateError, match="grew beyond"):
        compile_template("{{ $labels.x }}{{ $labels.x }}").expand(huge)
