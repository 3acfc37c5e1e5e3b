"""The parser of PromQL: the nodes it gives, and the errors it raises."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.query.promql.ast import (
    Aggregation,
    AtPreprocessor,
    Binary,
    Call,
    Cardinality,
    Expr,
    Matcher,
    MatchOp,
    MatrixSelector,
    NumberLiteral,
    Paren,
    Span,
    StringLiteral,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
)
from vedette.query.promql.functions_table import AGGREGATIONS, FUNCTIONS
from vedette.query.promql.lexer import MAX_NESTING
from vedette.query.promql.parser import (
    MAX_HEIGHT,
    PromQLSyntaxError,
    parse,
)
from vedette.query.promql.syntax_error import position

NOWHERE = Span(0, 0)
MINUTE = 60_000
ONE_TO_ONE = VectorMatching(Cardinality.ONE_TO_ONE, (), False, ())


def number(value: float) -> NumberLiteral:
    """Return a literal without position."""
    return NumberLiteral(value, NOWHERE)


def metric(
    name: str, *matchers: Matcher, offset: int = 0, at: int | AtPreprocessor | None = None
) -> VectorSelector:
    """Return a selector by metric name."""
    by_name = Matcher("__name__", MatchOp.EQUAL, name)
    return VectorSelector(name, (by_name, *matchers), offset, at, NOWHERE)


def error_of(text: str) -> PromQLSyntaxError:
    """Return the error that parsing ``text`` raises."""
    with pytest.raises(PromQLSyntaxError) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.", 1),
        (".5", 0.5),
        ("1.5e-3", 0.0015),
        ("2E+2", 200),
        ("0x1F", 31),
        ("0xF_F", 255),
        ("010", 8),
        ("08", 8),
        ("1_000.5", 1000.5),
        ("Inf", math.inf),
        ("-inf", -math.inf),
        ("+ - 2", -2),
        ("5m", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1 # one\n", 1),
    ],
)
def test_numbers(text: str, value: float) -> None:
    """Numbers are read as Go reads them, durations count in seconds, signs are folded in."""
    assert parse(text) == number(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"a"', "a"),
        ("'a\"b'", 'a"b'),
        (r"`a\n'\"`", "a\\n'\\\""),
        ("`a\nb`", "a\nb"),
        (r'"\n\t\\\""', '\n\t\\"'),
        (r'"\101\x42\u00e9\U0001F600"', "ABé😀"),
        (r'"\xc3\xa9"', "é"),
        ('"é # no comment"', "é # no comment"),
    ],
)
def test_strings(text: str, value: str) -> None:
    """Strings know three kinds of quotes and the escapes of Go."""
    assert parse(text) == StringLiteral(value, NOWHERE)


def test_matchers_of_a_selector() -> None:
    """A selector holds its matchers in order, the metric name first."""
    text = """foo{a="1", b!="2",c=~'x|y', by!~"z", }"""
    assert parse(text) == metric(
        "foo",
        Matcher("a", MatchOp.EQUAL, "1"),
        Matcher("b", MatchOp.NOT_EQUAL, "2"),
        Matcher("c", MatchOp.REGEX, "x|y"),
        Matcher("by", MatchOp.NOT_REGEX, "z"),
    )


def test_quoted_names() -> None:
    """Names outside the classic alphabet are quoted, the metric's inside the braces."""
    text = '{"label.name"="x", "my.metric"}'
    assert parse(text) == metric("my.metric", Matcher("label.name", MatchOp.EQUAL, "x"))


def test_a_name_matcher_is_no_name() -> None:
    """A matcher on ``__name__`` leaves the selector without a name of its own."""
    matcher = Matcher("__name__", MatchOp.EQUAL, "foo")
    assert parse('{__name__="foo"}') == VectorSelector(None, (matcher,), 0, None, NOWHERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x offset 5m", metric("x", offset=5 * MINUTE)),
        ("x OFFSET -1h", metric("x", offset=-60 * MINUTE)),
        ("x offset 90", metric("x", offset=90_000)),
        ("x offset -(1m + 30s)", metric("x", offset=-90_000)),
        ("x @ 1.0005", metric("x", at=1001)),
        ("x @ -1.5", metric("x", at=-1500)),
        ("x @ end() offset 1m", metric("x", offset=MINUTE, at=AtPreprocessor.END)),
        ("x offset 1m @ START()", metric("x", offset=MINUTE, at=AtPreprocessor.START)),
        ("x[5m]", MatrixSelector(metric("x"), 5 * MINUTE, NOWHERE)),
        ("x[ 300 ]", MatrixSelector(metric("x"), 5 * MINUTE, NOWHERE)),
        ("x[2m * (1 + 2) - 2^3 % 5]", MatrixSelector(metric("x"), 357_000, NOWHERE)),
        ("x[min_of(1h, 2m)]", MatrixSelector(metric("x"), 2 * MINUTE, NOWHERE)),
        (
            "x[5m] offset 1m @ 2",
            MatrixSelector(metric("x", offset=MINUTE, at=2000), 5 * MINUTE, NOWHERE),
        ),
        (
            "x offset 1m[1h:] @ 3 offset 2m",
            Subquery(metric("x", offset=MINUTE), 60 * MINUTE, None, 2 * MINUTE, 3000, NOWHERE),
        ),
        ("x[1h:5m]", Subquery(metric("x"), 60 * MINUTE, 5 * MINUTE, 0, None, NOWHERE)),
    ],
)
def test_ranges_and_modifiers(text: str, expected: Expr) -> None:
    """Ranges, subqueries, offsets and timestamps land in milliseconds on what they follow."""
    assert parse(text) == expected


def binary(op: str, left: Expr, right: Expr, matching: VectorMatching | None = None) -> Binary:
    """Return an operation without ``bool``."""
    return Binary(op, left, right, False, matching, NOWHERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", binary("+", number(1), binary("*", number(2), number(3)))),
        ("1 - 2 - 3", binary("-", binary("-", number(1), number(2)), number(3))),
        ("2 ^ 3 ^ 4", binary("^", number(2), binary("^", number(3), number(4)))),
        ("2 ^ -1 * 3", binary("*", binary("^", number(2), number(-1)), number(3))),
        ("-2 ^ 2", Unary("-", binary("^", number(2), number(2)), NOWHERE)),
        ("-2 * 3", binary("*", number(-2), number(3))),
        ("(1 + 2)", Paren(binary("+", number(1), number(2)), NOWHERE)),
        ("1 ATAN2 2 + 3", binary("+", binary("atan2", number(1), number(2)), number(3))),
    ],
)
def test_precedence(text: str, expected: Expr) -> None:
    """Operators bind as in Prometheus: a sign less than ^, which alone groups from the right."""
    assert parse(text) == expected


def test_vector_matching() -> None:
    """Matching is there between vectors alone, and set operators match many to many."""
    many = VectorMatching(Cardinality.MANY_TO_MANY, ("l",), True, ())
    one = VectorMatching(Cardinality.ONE_TO_MANY, ("l",), False, ("m", "n"))
    left = VectorMatching(Cardinality.MANY_TO_ONE, (), True, ())
    a, b = metric("a"), metric("b")
    assert parse("a + b") == binary("+", a, b, ONE_TO_ONE)
    assert parse("a + 1") == binary("+", a, number(1))
    assert parse("a or on(l) b") == binary("or", a, b, many)
    assert parse("a * ignoring(l,) group_right(m, n) b") == binary("*", a, b, one)
    assert parse("a * on() group_left b") == binary("*", a, b, left)
    assert parse("a > bool b") == Binary(">", a, b, True, ONE_TO_ONE, NOWHERE)


def test_aggregations_and_calls() -> None:
    """Grouping may stand before or after the operand; keywords ignore case, functions do not."""
    x = metric("x")
    grouped = Aggregation("sum", x, None, ("a", "on"), False, NOWHERE)
    assert parse("sum by (a, on) (x)") == parse("SUM(x) BY (a, on,)") == grouped
    topk = Aggregation("topk", x, number(3), (), True, NOWHERE)
    assert parse("topk without () (3, x)") == topk
    window = MatrixSelector(x, 5 * MINUTE, NOWHERE)
    assert parse("rate(x[5m])") == Call("rate", (window,), NOWHERE)
    assert parse("time()") == Call("time", (), NOWHERE)


@pytest.mark.parametrize(
    "name",
    [*AGGREGATIONS, "by", "without", "offset", "and", "or", "unless", "start", "end", "fill"],
)
def test_keywords_are_names(name: str) -> None:
    """Nearly every keyword may name a metric and a label."""
    text = f'{name}{{{name}="v"}} offset 1m'
    assert parse(text) == metric(name, Matcher(name, MatchOp.EQUAL, "v"), offset=MINUTE)


def test_positions() -> None:
    """Every node knows the characters it was read from, in texts beyond ASCII too."""
    text = '\n  sum by (a) (rate(x{l="é"}[5m] offset 1m)) > -(1)'
    comparison = parse(text)
    assert isinstance(comparison, Binary)
    aggregation = comparison.left
    assert isinstance(aggregation, Aggregation)
    call = aggregation.expr
    assert isinstance(call, Call)
    window = call.args[0]
    assert isinstance(window, MatrixSelector)
    nodes = (comparison, aggregation, call, window, window.selector, comparison.right)
    assert [text[node.span.start : node.span.end] for node in nodes] == [
        text.strip(),
        'sum by (a) (rate(x{l="é"}[5m] offset 1m))',
        'rate(x{l="é"}[5m] offset 1m)',
        'x{l="é"}[5m] offset 1m',
        'x{l="é"}',
        "-(1)",
    ]
    assert position(text, window.span.start) == (2, 20)


@pytest.mark.parametrize(
    ("text", "at", "part"),
    [
        ("", (1, 1), "no expression found"),
        (" # nothing", (1, 1), "no expression found"),
        ("foo{a=}", (1, 7), 'unexpected "}" in label matching, expected a value in quotes'),
        ("foo{a==1}", (1, 6), "expected label matching operator"),
        ('foo{a="1" b="2"}', (1, 11), 'expected "," or "}"'),
        ('foo{,a="1"}', (1, 5), 'expected label name or "}"'),
        ('foo{a:b="1"}', (1, 5), "expected label name"),
        ('foo{a="1"', (1, 4), '"{" is never closed'),
        ("sum(\n  foo", (1, 4), '"(" is never closed'),
        ("foo)", (1, 4), "nothing is open"),
        ("foo[5m", (1, 7), 'expected ":" or "]"'),
        ("foo[]", (1, 5), "expected a duration such as 5m"),
        ("foo[0s]", (1, 5), "must be greater than 0"),
        ("foo[5m:0s]", (1, 8), "must be greater than 0"),
        ("foo[1.5h]", (1, 5), "write 1h30m for 1.5h"),
        ("foo[1m1h]", (1, 5), "units fall from y"),
        ("foo[300y]", (1, 5), "longer than 292 years"),
        ("foo[1/0]", (1, 5), "no value as a duration"),
        ("foo[step(]", (1, 10), 'expected ")"'),
        ("foo[5m] [5m]", (1, 9), "ranges only allowed for vector selectors"),
        ("foo offset 1m [5m]", (1, 15), "no offset modifiers allowed before range"),
        ("foo @ 1 [5m]", (1, 9), "no @ modifiers allowed before range"),
        ("(foo) offset 1m", (1, 7), "offset modifier must be preceded"),
        ("1 @ 2", (1, 3), "@ modifier must be preceded"),
        ("foo offset 1m offset 2m", (1, 15), "offset may not be set multiple times"),
        ("foo @ 1 @ end()", (1, 9), "may not be set multiple times"),
        ("foo @ Inf", (1, 7), "timestamp out of bounds"),
        ("foo @ 5m", (1, 7), "expected a timestamp in seconds"),
        ("{}", (1, 1), "at least one non-empty matcher"),
        ('rate({a=~".*",b=""}[5m])', (1, 6), "at least one non-empty matcher"),
        ('{a!~".+"}', (1, 1), "at least one non-empty matcher"),
        ('x{__name__="y"}', (1, 1), 'metric name must not be set twice: "x" or "y"'),
        ('x{"y"}', (1, 1), "metric name must not be set twice"),
        ('x{""="y"}', (1, 3), "label name must not be empty"),
        ('x{a=~"("}', (1, 6), "invalid regular expression (RE2 syntax)"),
        ('x{a=~"(?=y)"}', (1, 6), "invalid regular expression"),
        ('"abc', (1, 1), 'string is never closed; add " at its end'),
        (r'"a\q"', (1, 3), r'unknown escape "\q"'),
        (r'"\ud800"', (1, 2), "unknown escape"),
        (r'"\xff"', (1, 1), "not UTF-8"),
        ("1x", (1, 1), 'bad number or duration "1x"'),
        ("0xFFFFFFFFFFFFFFFFF", (1, 1), "too large"),
        ("1e999", (1, 1), "too large"),
        ("a && b", (1, 3), 'write "and"'),
        ("a = 1", (1, 3), '"==" to compare'),
        ("a !~ 1", (1, 3), 'unexpected "!~" after expression'),
        ("a b", (1, 3), 'unexpected identifier "b" after expression'),
        ("a +", (1, 4), "unexpected end of input at the start of an operand"),
        ("on", (1, 1), 'unexpected identifier "on"'),
        ("ratee(x[5m])", (1, 1), 'did you mean "rate"?'),
        ("sum by a (x)", (1, 8), 'expected "("'),
        ("sum by (a:b) (x)", (1, 9), "expected label name"),
        ("sum by (a) (x) by (a)", (1, 16), 'unexpected identifier "by"'),
        ("sum()", (1, 1), "expected 1, got 0"),
        ("topk(x)", (1, 1), "expected 2, got 1"),
        ("abs(x,)", (1, 6), "trailing commas not allowed"),
        ("abs()", (1, 1), 'expected 1 argument(s) in call to "abs", got 0'),
        ("round(x, 1, 2)", (1, 1), "expected at most 2 argument(s)"),
        ("label_join(x, 'a')", (1, 1), "expected at least 3 argument(s)"),
        ("label_join(x, 'a', 'b', 1)", (1, 25), "expected type string"),
        ("sum(x[5m])", (1, 5), "expected type instant vector in aggregation expression"),
        ("rate(x)", (1, 6), "add a range such as [5m]"),
        ("vector(x)", (1, 8), "expected type scalar"),
        ("topk(x, x)", (1, 6), "expected type scalar in aggregation parameter"),
        ("count_values(1, x)", (1, 14), "expected type string in aggregation parameter"),
        ("-x[5m]", (1, 1), "unary expression only allowed"),
        ("1[5m:]", (1, 1), "subquery is only allowed on instant vector"),
        ("x[5m] + 1", (1, 1), "only scalar and instant vector types"),
        ("1 + 'a'", (1, 5), "only scalar and instant vector types"),
        ("1 == 1", (1, 3), "comparisons between scalars must use BOOL modifier"),
        ("x + bool y", (1, 3), "bool modifier can only be used on comparison"),
        ("x and 1", (1, 3), 'set operator "and" not allowed'),
        ("x + on(a) 1", (1, 3), "vector matching only allowed between instant vectors"),
        ("x and on(a) group_left y", (1, 3), 'no grouping allowed for "and"'),
        ("x * on(a) group_left(a) y", (1, 3), "ON and GROUP clause at once"),
        ("x * group_left y", (1, 5), '"on" or "ignoring" before group_left'),
        ("info(x, y)", (1, 9), "expected label selectors only"),
        ("info({}, {})", (1, 6), "at least one non-empty matcher"),
        ("rate(x[5m:] smoothed)", (1, 13), "not supported for subqueries"),
        ("(x) anchored", (1, 5), "it belongs to a selector"),
        ("x[5m] smoothed anchored", (1, 16), "cannot be used together"),
        ("x and fill(0) y", (1, 3), "not allowed for set operators"),
        ("x + fill(0) 1", (1, 3), "only allowed between instant vectors"),
        ("x + fill(0) fill_left(1) y", (1, 13), "filled twice"),
        ("x + fill(y) y", (1, 10), "a number"),
        ("x\ud800", (1, 2), "not valid Unicode"),
    ],
)
def test_errors_say_what_and_where(text: str, at: tuple[int, int], part: str) -> None:
    """An error names the line and column of the first wrong character, and the mistake."""
    error = error_of(text)
    assert (error.line, error.column) == at
    assert part in error.message
    assert str(error) == f"{at[0]}:{at[1]}: parse error: {error.message}"
    assert error.start <= error.end <= len(text)


def test_lines_of_errors() -> None:
    """Columns count from the start of the line of the mistake."""
    assert str(error_of("sum(\n  rate(x)\n)")).startswith("2:8: parse error: expected type range")


def test_info_takes_selectors_of_everything() -> None:
    """The second argument of info() alone may match every series."""
    assert isinstance(parse('info(x, {a=~".*"})'), Call)


def test_limits() -> None:
    """Length, nesting and height are limited by clear errors; what is within them is read."""
    parse("(" * (MAX_NESTING - 1) + "1" + ")" * (MAX_NESTING - 1))
    parse("sum(" * (MAX_NESTING - 1) + "x" + ")" * (MAX_NESTING - 1))
    parse(" or ".join(["x"] * MAX_HEIGHT))
    for opening in ("(", "-", "sum(", "abs(x + ", "1 ^ ", "x[", "x[1 + (", "topk(1, "):
        error_of(opening * 100_000)
    assert "nested deeper" in error_of("(" * 100_000).message
    assert "levels of operators" in error_of(" or ".join(["x"] * 5000)).message
    with pytest.raises(PromQLSyntaxError, match="longer than 8 bytes"):
        parse("123456789", max_length=8)
    assert "longer than 1048576 bytes" in error_of("é" * 600_000).message
    for long in ('"' + "\\" * 500_000, "1" * 500_000, "#" * 500_000, '"' + r"\n" * 250_000):
        error_of(long)


def test_every_function_and_operator_is_known() -> None:
    """Each function of the table parses with its least and its most arguments."""
    samples = {"scalar": "1", "string": '"s"', "vector": "x", "matrix": "x[5m]"}
    for signature in FUNCTIONS.values():
        most = signature.max_args if signature.max_args is not None else signature.min_args + 3
        for count in (signature.min_args, most):
            args = [samples[signature.arg_type(i)] for i in range(count)]
            if signature.name == "info":
                args[1:] = ['{a="b"}'] * (count - 1)
            assert isinstance(parse(f"{signature.name}({', '.join(args)})"), Call)
    for aggregation in AGGREGATIONS.values():
        parameter = f"{samples[aggregation.parameter]}, " if aggregation.parameter else ""
        assert isinstance(parse(f"{aggregation.name}({parameter}x)"), Aggregation)


PIECES = [
    *"+-*/%^(){}[],=:@#\"'`!<>~ \n\\.;$",
    *("==", "!=", "=~", "!~", "<=", ">=", "[5m]", "[5m:]", "[1h:5m]", "()", "{}", '{a="b"}'),
    *("sum", "topk", "count_values", "rate", "abs", "time", "info", "label_replace", "x", "1"),
    *("by", "without", "on", "ignoring", "group_left", "bool", "and", "or", "unless", "atan2"),
    *("offset", "start", "end", "step", "min_of", "5m", "1.5", "0x1F", "Inf", "NaN", '"s"', "é"),
]


def parses_or_says_why(text: str) -> None:
    """Parse ``text``, and look at the error if there is one."""
    error: PromQLSyntaxError | None = None
    try:
        parse(text)
    except PromQLSyntaxError as raised:
        error = raised
    if error is not None:
        assert error.message
        assert 0 <= error.start <= error.end <= len(error.text)
        assert str(error).startswith(f"{error.line}:{error.column}: parse error: ")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_text_parses_or_says_why(text: str) -> None:
    """No text whatever raises anything but the error of the parser, with a sound position."""
    parses_or_says_why(text)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join)
    | st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
)
def test_any_pieces_parse_or_say_why(text: str) -> None:
    """The same holds for texts made of the language's own pieces."""
    parses_or_says_why(text)


VALID = (
    'sum by (job) (rate(x{a="b", c!~"d.*"}[5m] offset -1m)) / on (job) group_left (y) foo > 1',
    "max_over_time((time() - max(demo) < bool 1000)[5m:10s] @ end() offset 5m) ^ -2 atan2 x",
    'label_replace(a or b and c unless d, "x", "$1\\n", \'y\', `(.*)`) # comment',
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(VALID), st.data())
def test_mutated_queries_parse_or_say_why(text: str, data: st.DataObject) -> None:
    """The same holds for valid queries with a part cut out and something else put in."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 8)))
    inserted = data.draw(st.sampled_from(["", *PIECES]) | st.text(max_size=3))
    parses_or_says_why(text[:start] + inserted + text[end:])
