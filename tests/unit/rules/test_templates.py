"""Templates: what they insert is what Prometheus would, and faults are found at load."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.model.labels import Labels
from vedette.rules.templates import (
    Surrounding,
    TemplateData,
    TemplateError,
    compile_template,
    go_float,
)

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
        ("{{ range .Alerts }}", 0, "{{range}} is not closed"),
        ("a{{ if .Value }}b{{ else }}c", 1, "{{if}} is not closed"),
        ("{{ end }}", 0, "unexpected {{end}}"),
        ("{{ if .Value }}{{ else }}{{ else }}{{ end }}", 25, "a second {{else}}"),
        ("{{ range .Labels }}{{ else if 1 }}{{ end }}", 27, "behind else"),
        ("{{ break }}", 0, "outside {{range}}"),
        ("{{ $label.x }}", 3, 'undefined variable "$label"'),
        ("{{ if $x := 1 }}{{ end }}{{ $x }}", 28, 'undefined variable "$x"'),
        ('{{ define "a" }}{{ $value }}{{ end }}', 19, "undefined variable"),
        ('{{ if 1 }}{{ define "a" }}{{ end }}{{ end }}', 10, "inside another action"),
        ("{{ }}", 0, "empty action"),
        ("{{ nope 1 }}", 3, '"nope" is no function'),
        ("{{ $value | 3 }}", 12, "a function must follow"),
        ("{{ 3 $value }}", 3, "takes no arguments"),
        ("{{ nil }}", 3, "nil is not a command"),
        ("{{ template x }}", 12, "must be a quoted text"),
        ("{{ $value ; }}", 10, 'unexpected ";"'),
        ("{{ len(`a`) }}", 6, 'unexpected "("'),
        ('{{ "a"`b` }}', 6, "unexpected"),
        ('{{ "\\z" }}', 3, "unknown escape"),
        ("{{ 0x }}", 4, "unexpected"),
        ("{{/* a }}", 0, "a comment is not closed"),
        ("{{ (1 }}", 3, '"(" is not closed'),
        ("{{ " + "(" * 40 + "1" + ")" * 40 + " }}", 35, "parentheses"),
        ("{{ if 1 }}" * 40, 320, "nested more than"),
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


QUERIED = Surrounding(
    external_labels=Labels.of({"site": "paris"}),
    external_url="https://monitor.example/prom",
    query=lambda text: {
        "up": [
            (Labels.of({"__name__": "up", "job": "b", "__value__": "x"}), 1.0),
            (Labels.of({"__name__": "up", "job": "a"}), 2.5),
        ],
        "none": [],
    }[text],
    now_seconds=1_435_065_584.128,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
            "code=500;job=chat;ratio=0.25;",
        ),
        ("{{ range query `up` }}{{ .Labels.job }}:{{ .Value }} {{ end }}", "b:1 a:2.5 "),
        (
            "{{ range $i, $s := query `up` }}{{ if $i }}, {{ end }}{{ label `job` $s }}{{ end }}",
            "b, a",
        ),
        ("{{ range query `none` }}x{{ else }}nothing{{ end }}", "nothing"),
        ("{{ range query `up` | sortByLabel `job` }}{{ . | value }}{{ end }}", "2.51"),
        ("{{ with query `up` }}{{ . | first | value | humanize }}{{ end }}", "1"),
        ("{{ query `up` | first | strvalue }}", "x"),
        ("{{ query `up` | first }}", "{map[__name__:up __value__:x job:b] 1}"),
        ("{{ with query `none` }}x{{ else with $labels.job }}{{ . }}{{ else }}z{{ end }}", "chat"),
        ("{{ if gt $value 0.5 }}a{{ else if gt $value 0.1 }}b{{ else }}c{{ end }}", "b"),
        ("{{ if and $labels.job (not $labels.x) }}yes{{ end }}", "yes"),
        ("{{ or $labels.x $labels.job `z` }}{{ and 1 0 2 }}", "chat0"),
        ("{{ if or true (index query `never`) }}short{{ end }}", "short"),
        (
            "{{ range 5 }}{{ if eq . 1 }}{{ continue }}{{ end }}"
            "{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "02",
        ),
        ("{{ $n := 0 }}{{ range 4 }}{{ $n = . }}{{ end }}{{ $n }}", "3"),
        (
            "{{ $a := 1 }}{{ with 2 }}{{ $a := 3 }}{{ $a }}{{ . }}{{ $.Value }}{{ end }}{{ $a }}",
            "320.251",
        ),
        ("{{ define `t` }}<{{ . }}{{ $ }}>{{ end }}{{ template `t` $labels.job }}", "<chatchat>"),
        ("{{ block `b` 7 }}[{{ . }}]{{ end }}{{ template `b` }}", "[7][<no value>]"),
        (
            "{{ define `t` }}{{ .arg0 }}-{{ .arg1 }}{{ .arg2 }}{{ end }}"
            "{{ template `t` (args 1 `x`) }}",
            "1-x<no value>",
        ),
        ("{{ define `t` }}({{ . }}){{ end }}{{ tmpl `t` 5 }}", "(5)"),
        (
            "{{ $externalLabels.site }} {{ .ExternalLabels.site }} {{ $externalURL }}",
            "paris paris https://monitor.example/prom",
        ),
        ("{{ externalURL }}{{ pathPrefix }}", "https://monitor.example/prom/prom"),
        (
            "{{ $labels }} {{ len $labels }} {{ index $labels `job` }}",
            "map[code:500 job:chat ratio:0.25] 3 chat",
        ),
        ("{{ slice `abcdef` 1 3 }}{{ slice `ab` 1 }}{{ len `été` }}", "bcb5"),
        ("{{ index (query `up`) 1 | value }}", "2.5"),
        ("{{ (index (query `up`) 0).Labels.job }}", "b"),
        (
            "{{ eq 1 2 1 }}{{ ne `a` `b` }}{{ lt 1 2 }}{{ le 2 2 }}{{ gt 1 2 }}{{ ge 2 2 }}",
            "truetruetruetruefalsetrue",
        ),
        ("{{ print 1 2 `a` 3 }}|{{ println 1 `b` }}|", "1 2a3|1 b\n|"),
        (
            '{{ html `<a href="x">` }}{{ js `it\'s` }}{{ urlquery `a b&c` }}',
            "&lt;a href=&#34;x&#34;&gt;it\\'sa+b%26c",
        ),
        (
            '{{ printf "%d %s %5.2f|%-5s|%05d|%x|%t|%T|%+v" 7 `a` 1.5 `b` 42 255 true $value 3 }}',
            "7 a  1.50|b    |00042|ff|true|float64|3",
        ),
        ('{{ printf "%d %z %s" $value 1 }}', "%!d(float64=0.25) %!z(int=1) %!s(MISSING)"),
        ('{{ printf "a" 1 `x` }}', "a%!(EXTRA int=1, string=x)"),
        (r'{{ printf "%q %c %U" "a\n\"b" 65 66 }}', r'"a\n\"b" A U+0042'),
        ('{{ printf "%e %*d %G" 1234.5 4 7 1e-7 }}', "1.234500e+03    7 1E-07"),
        ("{{ humanizeTimestamp 1435065584.128 }}", "2015-06-23 13:19:44.128 +0000 UTC"),
        (
            "{{ (toTime 1435065584).Format `2006-01-02T15:04:05Z07:00 Jan _2 3PM` }}",
            "2015-06-23T13:19:44Z Jun 23 1PM",
        ),
        ("{{ toTime `0` }} {{ (toTime 0).Year }}", "1970-01-01 00:00:00 +0000 UTC 1970"),
        (
            "{{ toDuration 3725.5 }} {{ toDuration 0.0015 }} "
            "{{ toDuration 60 }} {{ toDuration -0 }}",
            "1h2m5.5s 1.5ms 1m0s 0s",
        ),
        ("{{ now | humanizeTimestamp }}", "2015-06-23 13:19:44.128 +0000 UTC"),
        ("{{ parseDuration `1h30m` }}{{ toUpper `é` }}{{ toLower `É` }}", "5400Éé"),
        ("{{ title `aa bb CC it's` }}", "Aa Bb CC It's"),
        (
            "{{ stripPort `host:80` }} {{ stripPort `[::1]:80` }} {{ stripPort `host` }}",
            "host ::1 host",
        ),
        (
            "{{ stripDomain `a.b.c:80` }} {{ stripDomain `1.2.3.4:80` }} {{ stripDomain `a.b` }}",
            "a:80 1.2.3.4:80 a",
        ),
        ("{{ match `a+` `baab` }}{{ match `^a` `ba` }}", "truefalse"),
        ("{{ reReplaceAll `localhost:(.*)` `my.domain:$1` `localhost:3000` }}", "my.domain:3000"),
        ("{{ reReplaceAll `(?P<x>b)` `<${x}$$$9>` `abc` }}", "a<b$>c"),
        (
            "{{ graphLink `sum(up) > 1` }} {{ tableLink `up` }}",
            "/graph?g0.expr=sum%28up%29+%3E+1&g0.tab=0 /graph?g0.expr=up&g0.tab=1",
        ),
        ("{{ urlQueryEscape `a b/c` }}{{ safeHtml `<b>` }}", "a+b%2Fc<b>"),
        ("a {{- /* x */ -}} b {{- ` c ` -}} d", "ab c d"),
        ("{{ true }}{{ 'a' }}{{ 0x10 }}{{ 1e3 }}{{ -5 }}", "true97161000-5"),
        (
            "{{ 1.5 | printf `%.1f` }}{{ $value | printf `%.2f %s` | toUpper }}",
            "1.50.25 %!S(MISSING)",
        ),
    ],
)
def test_the_language(text: str, expected: str) -> None:
    """Each construct and function gives what Go and Prometheus document."""
    data = TemplateData(LABELS, 0.25, QUERIED)
    assert compile_template(text).expand(data) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{{ query `none` | first }}", "vector with no elements"),
        ("{{ .Nope }}", "can't evaluate field Nope"),
        ("{{ $value.x }}", "can't evaluate field x in type float64"),
        ("{{ humanize }}", "wrong number of args for humanize"),
        ("{{ $value | humanize 2 }}", "wrong number of args"),
        ("{{ toUpper 1 }}", "expected string"),
        ("{{ template `none` }}", "is not defined"),
        ("{{ define `r` }}{{ template `r` }}{{ end }}{{ template `r` }}", "too deeply"),
        ("{{ range 1000000 }}{{ end }}", "steps"),
        ("{{ range 100000 }}xxxxxxxxxxxxxxxx{{ end }}", "grew beyond"),
        ("{{ printf `%9999d` 1 }}", "width"),
        ("{{ range 70 }}{{ query `up` }}{{ end }}", "more than 64 times"),
        ("{{ match `(` `x` }}", "not a regular expression"),
        ("{{ index $labels 1 }}", "expected string"),
        ("{{ index (query `up`) 9 }}", "out of range"),
        ("{{ lt 1 `a` }}", "incompatible types"),
        ("{{ eq $labels $labels }}", "non-comparable"),
        ("{{ toTime `NaN` }}", "cannot be represented"),
        ("{{ toTime 1e300 }}", "cannot be represented"),
        ("{{ $value 1 }}", "can't give argument"),
        ("{{ range $value }}{{ end }}", "can't iterate"),
        ("{{ parseDuration `x` }}", "not a duration"),
    ],
)
def test_faults_of_execution(text: str, part: str) -> None:
    """What only shows when a template is executed is said, and ends it within its limits."""
    with pytest.raises(TemplateError) as caught:
        compile_template(text).expand(TemplateData(LABELS, 0.25, QUERIED))
    assert part in caught.value.message


def test_limits() -> None:
    """A label that is no number fails humanize, and the output is limited."""
    with pytest.raises(TemplateError, match="not a number"):
        expand("{{ $labels.job | humanize }}")
    huge = TemplateData(Labels.of({"x": "y" * 40_000}), 1.0)
    with pytest.raises(TemplateError, match="grew beyond"):
        compile_template("{{ $labels.x }}{{ $labels.x }}").expand(huge)
