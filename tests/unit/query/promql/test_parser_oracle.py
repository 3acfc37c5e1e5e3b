"""The parser against an independent one, and against the queries of Prometheus' own tests.

The oracle is the package ``promql-parser`` (Prometheus 2.45). It tells whether a text is PromQL.
"""

from __future__ import annotations

import re
from pathlib import Path

import promql_parser
import pytest

from tests.needs import peer_data
from vedette.query.promql.parser import PromQLSyntaxError, parse
from vedette.query.promql.printer import format_expr

ACCEPTED = r"""
1
+1
-.5
1_0
1 + -1
1e3
0x1f
0X1F
Inf
-inf
NaN
nAn
"text"
'text'
`raw\text`
"\"\\\n\x41"
5m
1 > bool 1
1 != bool 2 == bool 3
2 ^ 3 ^ 2
-2 ^ 2
(1)
((1 + 2)) * 3
1 atan2 2
1 % 2 / 3 * 4
time() - 5 * 60
pi()
foo
foo:bar:sum5m
:x
_a1
sum
by
without
offset
count_values
{__name__="foo"}
{__name__=~"foo.*", job="x"}
{"quoted"}
{"quoted.name", a="b"}
{a="b"}
{a!=""}
{a!~""}
{a=~".+"}
foo{}
foo{a="b"}
foo{a="b",}
foo{a='b', c!="d", e=~"f|g", h!~"i.*"}
foo{sum="a", by="b", on="c", bool="d", offset="e", inf="f"}
foo{a="}"}
foo { a = "b" }
foo{a=""}
foo{a="é"}
foo{a=`x\y`}
foo[5m]
foo[1h30m]
foo[1d2h3m4s5ms]
foo[1y2w]
foo[ 5m ]
foo{a="b"}[5m]
foo[5m] offset 1m
foo offset 5m
foo offset -5m
foo OFFSET 1w
foo @ 123
foo @ -123.456
foo @ start()
foo @ end()
foo @ 1 offset 5m
foo offset 5m @ 1
foo[5m] @ end() offset -1h
foo[5m:]
foo[5m:1m]
foo[5m:1m] offset 1h
foo[5m:] @ 5
(foo + bar)[5m:]
rate(foo[5m])[1h:30s]
sum(foo)[1h:]
max_over_time(rate(foo[1m])[10m:1m])
foo offset 1m [5m:]
-foo
+foo
--foo
-(foo)
-sum(foo)
foo + 1
1 - foo
foo * bar
foo ^ 2
foo > 1
foo == bool 1
foo != bar
foo >= bool bar
foo and bar
foo or bar unless baz
foo AND bar
foo and on() bar
foo and on(a, b) bar
foo or ignoring(a) bar
foo unless on(a) bar
foo + on(a) bar
foo + on(a,) bar
foo + ignoring() bar
foo / on(a) group_left bar
foo / on(a) group_left() bar
foo / on(a) group_left(b, c) bar
foo / ignoring(a) group_right(b) bar
foo > bool on(a) group_left(b) bar
foo / on(sum, by, bool, on) group_left(offset) bar
foo + bar * baz ^ 2
foo and bar + baz
1 + 2 / (3 * foo)
1 + foo > bar or baz
foo atan2 bar
sum(foo)
sum (foo)
SUM(foo)
sum by (a) (foo)
sum by (a, b,) (foo)
sum by () (foo)
sum(foo) by (a)
sum(foo) without (a, b)
sum without () (foo)
avg without (sum, by, on) (foo)
min(foo)
max(foo)
count(foo)
group(foo)
stddev(foo)
stdvar(foo)
topk(3, foo)
topk by (a) (3, foo)
bottomk(scalar(foo), bar)
quantile(0.9, foo)
count_values("value", foo)
count_values('v', foo) by (job)
sum(rate(foo[5m])) by (job) / sum(rate(bar[5m])) by (job)
sum(sum(sum(foo)))
rate(foo[5m])
irate(foo{a="b"}[1m] offset 5m)
increase(foo[1h])
delta(foo[5m])
idelta(foo[5m])
deriv(foo[5m])
changes(foo[5m])
resets(foo[5m])
predict_linear(foo[5m], 3600)
holt_winters(foo[5m], 0.5, 0.5)
histogram_quantile(0.9, sum by (le) (rate(foo_bucket[5m])))
histogram_quantile(scalar(q), foo)
histogram_count(foo)
histogram_sum(foo)
histogram_fraction(0, 1, foo)
quantile_over_time(0.5, foo[5m])
avg_over_time(foo[5m])
last_over_time(foo[5m])
present_over_time(foo[5m])
absent(foo)
absent_over_time(foo[5m])
abs(foo)
ceil(foo)
clamp(foo, 0, 1)
clamp_max(foo, 1)
clamp_min(foo, -1)
round(foo)
round(foo, 0.5)
exp(foo)
ln(foo)
sgn(foo)
sqrt(foo)
deg(foo)
sort(foo)
sort_desc(foo)
scalar(foo)
vector(1)
vector(scalar(foo))
timestamp(foo)
day_of_week()
day_of_week(foo)
day_of_year(foo)
hour(vector(1))
days_in_month()
label_replace(foo, "a", "$1", "b", "(.*)")
label_join(foo, "a", "-")
label_join(foo, "a", "-", "b", "c", "d")
foo # comment
foo{a="#"}
up == 0 or absent(up{job="x"})
(foo)
((foo))[5m:]
sum(foo) > 1 and sum(bar) < 2
100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m])))
""".strip().splitlines()

ACCEPTED += ["# before\nfoo + # inside\n bar", "\n\tfoo {\n a = 'b' , # inside\n}\r\n[5m]\n"]

REJECTED = r"""
1 2
1x
0x
1__0
1e
..5
1.5m
'a
"a
`a
"\z"
"\8"
foo{
foo}
foo{a}
foo{a=}
foo{a="b"
foo{a="b" c="d"}
foo{,}
foo{a=="b"}
foo{a=b}
foo{a="b",,}
foo{1="b"}
foo{a=~"*"}
foo{a=~"(?!x)"}
foo{a!~"["}
{}
{a=""}
{a=~""}
{a=~".*"}
{a!="b"}
{a!~"b"}
foo{__name__="bar"}
foo bar
foo{a="b"} bar
foo[]
foo[5]m
foo[5m
foo[m5]
foo[5m]]
foo[-5m]
foo[0s]
foo[5m5m]
foo[1m1h]
foo[5m:1x]
foo[:1m]
foo[5m][5m]
foo[5m:0s]
(foo)[5m]
sum(foo)[5m]
1[5m]
1[5m:]
foo[5m][5m:]
foo offset
foo offset bar
foo offset 5m offset 5m
foo offset 5m [5m]
foo @ 5 [5m]
foo @
foo @ bar
foo @ start
foo @ 1 @ 2
foo @ end() @ start()
foo @ Inf
foo @ NaN
1 offset 5m
1 @ 5
(foo) offset 5m
sum(foo) offset 5m
-foo[5m]
-"a"
foo +
+
* foo
foo == == bar
foo = 1
foo =~ "x"
foo ! bar
foo & bar
foo && bar
foo | bar
foo ; bar
foo $ bar
1 == 1
1 and 2
foo and 1
1 or foo
1 + "a"
foo + bar[5m]
foo + bool bar
foo and bool bar
1 + bool 1
foo + on bar
foo + on(a b) bar
foo + on(a) 1
1 + ignoring(a) foo
foo + on(,) bar
foo + group_left bar
foo and on(a) group_left bar
foo or ignoring(a) group_right(b) bar
foo / on(a) group_left(a) bar
foo + on(a) ignoring(b) bar
foo + on(a:b) bar
sum(foo
sum()
sum(foo, bar)
sum(foo[5m])
sum(1)
sum("a")
sum by foo
sum by a (foo)
sum by (a b) (foo)
sum by (1) (foo)
sum by (a) (foo) by (b)
sum(foo) by a
topk(foo)
topk(3)
topk("a", foo)
topk(foo, foo)
quantile(foo)
count_values(1, foo)
count_values(foo)
nosuch(foo)
RATE(foo[5m])
rate(foo)
rate()
rate(foo[5m], 1)
rate(1)
abs(1)
abs(foo,)
abs(foo bar)
abs(,foo)
abs("a")
time(1)
vector(foo)
scalar(1)
round(foo, 1, 2)
day_of_week(foo, bar)
histogram_quantile(foo)
histogram_quantile("a", foo)
label_replace(foo, "a", "b", "c")
label_join(foo, "a")
label_join(foo, "a", "b", 1)
clamp(foo, 1)
(
)
()
(foo
foo)
foo[5m]{a="b"}
{a="b"}{c="d"}
on
ignoring
bool
group_left
foo:bar(x)
""".strip().splitlines()
REJECTED += ["", "# only a comment", 'foo\n"\n"', "foo{a='b\n'}"]

# Where the two differ, this parser agrees with Prometheus (its grammar was read for each).
DIFFERENT = {
    "1_0": "the oracle has no underscores in numbers, which Prometheus has since 2.47",
    "holt_winters(foo[5m], 0.5, 0.5)": "the oracle knows the new name alone",
    "foo{a=`x\\y`}": "the oracle unescapes between backticks",
}


# Syntax of Prometheus 3 that is refused by design, and what its refusal says.
NEWER = re.compile(
    r'the modifier "(anchored|smoothed)" is not supported'
    r"|(step|range)\(\) is not supported in (offset|range)"
    r'|unexpected "/" at the start of an operand'  # the trimming of histograms: "</" and ">/"
    r"|the escaped bytes of this string are not UTF-8"
)
EVALUATION = re.compile(
    r"^\s*eval(?:_\w+)?\s+(?:instant(?:\s+at\s+\S+)?|range\s+from\s+\S+\s+to\s+\S+\s+step\s+\S+)"
    r"\s+(.+)$"
)


def oracle_accepts(text: str) -> bool:
    """Ask the oracle, which panics on some texts instead of refusing them."""
    try:
        promql_parser.parse(text)
    except ValueError:
        return False
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return False
    return True


def accepts(text: str) -> bool:
    """Tell whether the parser takes ``text``, which it must also read back as it prints it."""
    try:
        node = parse(text)
    except PromQLSyntaxError:
        return False
    return format_expr(parse(format_expr(node))) == format_expr(node)


@pytest.mark.parametrize("text", ACCEPTED)
def test_valid_queries(text: str) -> None:
    """Every query of the corpus of valid ones parses, and so the oracle says."""
    assert accepts(text)
    assert oracle_accepts(text) or text in DIFFERENT


@pytest.mark.parametrize("text", REJECTED)
def test_invalid_queries(text: str) -> None:
    """Every query of the corpus of invalid ones is refused, and so the oracle says."""
    assert not accepts(text)
    assert not oracle_accepts(text) or text in DIFFERENT


def test_queries_of_prometheus_tests() -> None:
    """Every query of Prometheus' own test files parses, but for syntax known to be newer."""
    files = sorted(Path(peer_data("promqltest")).glob("*.test"))
    count = 0
    refused: list[str] = []
    for file in files:
        for match in map(EVALUATION.match, file.read_text().splitlines()):
            if match is None:
                continue
            count += 1
            try:
                node = parse(match[1])
            except PromQLSyntaxError as error:
                if not NEWER.search(error.message):
                    refused.append(f"{file.name}: {match[1]}: {error}")
            else:
                assert parse(format_expr(node)) == node or "NaN" in match[1]
    assert refused == []
    assert count > 1000
