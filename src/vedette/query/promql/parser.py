"""The parser of PromQL: from a text to the nodes of :mod:`vedette.query.promql.ast`.

The language is that of Prometheus 3.14, experimental parts included: ``features`` says which of
them a query needs.

A precedence-climbing parser over a stream of tokens. Types are checked while nodes are built, so
that every node that leaves this module is sound.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from vedette.query.promql import check
from vedette.query.promql.ast import (
    Aggregation,
    Binary,
    Call,
    Cardinality,
    Expr,
    NumberLiteral,
    Paren,
    RangeModifier,
    Span,
    StringLiteral,
    Subquery,
    Unary,
    ValueType,
    VectorMatching,
    VectorSelector,
)
from vedette.query.promql.functions_table import AGGREGATIONS, FUNCTIONS
from vedette.query.promql.lexer import Token, TokenKind, TokenStream, unquote
from vedette.query.promql.literals import NAN, is_number, number
from vedette.query.promql.selectors import (
    at_modifier,
    brackets,
    matches_empty,
    offset_modifier,
    range_modifier,
    vector_selector,
)
from vedette.query.promql.syntax_error import PromQLSyntaxError as PromQLSyntaxError

MAX_LENGTH = 1 << 20
"""Longest text that :func:`parse` takes unless told otherwise, in bytes of UTF-8."""

MAX_HEIGHT = 150
"""Most levels of a tree, so that recursive evaluators stay within Python's stack.

Higher than the limit of nesting, for a chain ``a or b or c …`` grows the tree without nesting.
"""

PRECEDENCE = MappingProxyType(
    {
        "or": 1,
        "and": 2,
        "unless": 2,
        **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "</", ">/"), 3),
        "+": 4,
        "-": 4,
        **dict.fromkeys(("*", "/", "%", "atan2"), 5),
        "^": 6,
    }
)
"""How strongly each binary operator binds; ``^`` alone groups from the right."""

UNARY_PRECEDENCE = PRECEDENCE["^"]
"""A sign binds less than ``^`` and more than ``*``: ``-2 ^ 2`` is -4."""

# Words that cannot be the name of a metric, because they would be read as something else.
RESERVED = frozenset(("atan2", "bool", "group_left", "group_right", "ignoring", "on", "inf", "nan"))

_FUNCTIONS_OF_ANY_CASE = frozenset(("start", "end", "step", "range"))
_FILLS = frozenset(("fill", "fill_left", "fill_right"))
_RANGE_MODIFIERS = frozenset(RangeModifier)


def parse(text: str, *, max_length: int = MAX_LENGTH) -> Expr:
    """Return the expression that ``text`` holds.

    Raises:
        PromQLSyntaxError: ``text`` is no PromQL expression, its types do not fit, or it is longer,
            deeper or higher than the limits; nothing else is raised for any text.
    """
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        message = "text is not valid Unicode"
        raise PromQLSyntaxError(message, error.start, error.end, text) from None
    if length > max_length:
        message = f"expression of {length} bytes is longer than {max_length} bytes"
        raise PromQLSyntaxError(message, 0, 0, text[:100])
    return _Parser(text).parse()


class _Parsed(NamedTuple):
    """A sound node, its type, and the number of levels of its tree."""

    node: Expr
    type: ValueType
    height: int = 1


class _Parser:
    """Reads one expression. Methods start at their first token and end past their last."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._stream = TokenStream(text)
        # Selectors of everything, which only the second argument of info() may be.
        self._unconstrained: list[Expr] = []

    def parse(self) -> Expr:
        """Return the expression, which must reach to the end of the text."""
        if self._stream.at_end():
            raise self._stream.error("no expression found in input", 0, len(self._text))
        parsed = self._expression(1)
        if not self._stream.at_end():
            raise self._left_over()
        for node in self._unconstrained:
            message = (
                "vector selector must contain at least one non-empty matcher; "
                'name a metric or add a matcher such as {job=~".+"}'
            )
            raise self._stream.error(message, node.span.start, node.span.end)
        return parsed.node

    def _left_over(self) -> PromQLSyntaxError:
        token = self._stream.current
        if self._stream.at(")", "]", "}"):
            return self._stream.error(f"unexpected {token}, nothing is open", *token[2:])
        if self._stream.at("=", "=~", "!~"):
            expected = '"==" to compare values, or a matcher in braces {label="value"}'
            return self._stream.unexpected("after expression", expected)
        return self._stream.unexpected("after expression", "an operator or end of input")

    def _expression(self, minimum: int) -> _Parsed:
        """Read operands joined by operators that bind at least as strongly as ``minimum``."""
        self._stream.enter()
        left = self._operand()
        while (precedence := self._precedence()) >= minimum:
            operator = self._stream.advance()
            op = operator.text.lower()
            return_bool, matching = self._binary_modifiers()
            right = self._expression(precedence + (op != "^"))
            node = Binary(
                op, left.node, right.node, return_bool, matching, self._span_from(left.node)
            )
            left = self._binary(node, left, right, operator)
        self._stream.leave()
        return left

    def _precedence(self) -> int:
        token = self._stream.current
        if token.kind is TokenKind.SYMBOL:
            return PRECEDENCE.get(token.text, 0)
        return PRECEDENCE.get(token.keyword, 0)

    def _binary(self, node: Binary, left: _Parsed, right: _Parsed, operator: Token) -> _Parsed:
        position = (operator.start, operator.end)
        check.check_binary(node, left.type, right.type, position, self._text)
        if left.type is not ValueType.VECTOR or right.type is not ValueType.VECTOR:
            node = replace(node, matching=None)
        elif node.op in check.SET_OPERATORS and node.matching:
            matching = replace(node.matching, cardinality=Cardinality.MANY_TO_MANY)
            node = replace(node, matching=matching)
        scalar = left.type is right.type is ValueType.SCALAR
        result = ValueType.SCALAR if scalar else ValueType.VECTOR
        return self._above(node, result, left, right)

    def _binary_modifiers(self) -> tuple[bool, VectorMatching]:
        stream = self._stream
        return_bool = stream.current.keyword == "bool"
        if return_bool:
            stream.advance()
        keyword = stream.current.keyword
        if keyword in ("group_left", "group_right"):
            raise stream.unexpected("in binary expression", f'"on" or "ignoring" before {keyword}')
        if keyword not in ("on", "ignoring"):
            return return_bool, self._fills(VectorMatching(Cardinality.ONE_TO_ONE, (), False, ()))
        stream.advance()
        labels = self._labels()
        cardinality = Cardinality.ONE_TO_ONE
        include: tuple[str, ...] = ()
        group = stream.current.keyword
        if group in ("group_left", "group_right"):
            many_to_one = group == "group_left"
            cardinality = Cardinality.MANY_TO_ONE if many_to_one else Cardinality.ONE_TO_MANY
            stream.advance()
            include = self._labels() if stream.at("(") else ()
        matching = VectorMatching(cardinality, labels, keyword == "on", include)
        return return_bool, self._fills(matching)

    def _fills(self, matching: VectorMatching) -> VectorMatching:
        """Read ``fill(0)``, or ``fill_left(0)`` and ``fill_right(0)``, if they are there."""
        stream = self._stream
        values: dict[str, float] = {}
        while stream.current.keyword in _FILLS and stream.followed_by("("):
            token = stream.advance()
            sides = ("fill_left", "fill_right") if token.keyword == "fill" else (token.keyword,)
            value = self._fill_value()
            if not values.keys().isdisjoint(sides):
                raise stream.error("a side is filled twice", token.start, stream.last_end)
            values |= dict.fromkeys(sides, value)
        return replace(
            matching, fill_left=values.get("fill_left"), fill_right=values.get("fill_right")
        )

    def _fill_value(self) -> float:
        stream, where = self._stream, "in fill modifier"
        stream.expect("(", where)
        negative = stream.at("-")
        if stream.at("+", "-"):
            stream.advance()
        if not is_number(stream.current):
            raise stream.unexpected(where, "a number")
        value = number(stream)
        stream.expect(")", where)
        return -value if negative else value

    def _labels(self) -> tuple[str, ...]:
        """Read ``(a, b)``, a list of label names."""
        stream = self._stream
        where = "in grouping"
        stream.expect("(", where)
        labels: list[str] = []
        while not stream.at(")"):
            token = stream.current
            if token.kind is TokenKind.STRING:
                labels.append(unquote(token, self._text))
            elif token.kind is TokenKind.WORD and ":" not in token.text:
                labels.append(token.text)
            else:
                raise stream.unexpected(where, "label name")
            if not labels[-1]:
                raise stream.error("label name must not be empty", token.start, token.end)
            stream.advance()
            if not stream.at(")"):
                stream.expect(",", where, '"," or ")"')
        stream.advance()
        return tuple(labels)

    def _operand(self) -> _Parsed:
        """Read a signed operand, or an atom with the modifiers that follow it."""
        if self._stream.at("+", "-"):
            return self._unary()
        parsed = self._atom()
        while True:
            if self._stream.at("["):
                node: Expr = brackets(self._stream, parsed.node)
                if isinstance(node, Subquery):
                    check.check_subquery(node, parsed.type, self._text)
                parsed = self._above(node, ValueType.MATRIX, parsed)
            elif self._stream.current.keyword in _RANGE_MODIFIERS:
                parsed = parsed._replace(node=range_modifier(self._stream, parsed.node))
            elif self._stream.at("@") or self._stream.current.keyword == "offset":
                read = at_modifier if self._stream.at("@") else offset_modifier
                node = read(self._stream, parsed.node)
                parsed = parsed._replace(node=node)
            else:
                break
        self._note_unconstrained(parsed.node)
        return parsed

    def _note_unconstrained(self, node: Expr) -> None:
        while isinstance(node, Subquery):
            node = node.expr
        selector = getattr(node, "selector", node)
        if isinstance(selector, VectorSelector) and all(map(matches_empty, selector.matchers)):
            self._unconstrained.append(node)

    def _unary(self) -> _Parsed:
        sign = self._stream.advance()
        operand = self._expression(UNARY_PRECEDENCE)
        span = Span(sign.start, self._stream.last_end)
        if isinstance(operand.node, NumberLiteral):
            value = operand.node.value
            # The negative of NaN is another object, and would not compare equal to NaN.
            value = -value if sign.text == "-" and value is not NAN else value
            return operand._replace(node=NumberLiteral(value, span))
        node = Unary(sign.text, operand.node, span)
        check.check_unary(node, operand.type, self._text)
        return self._above(node, operand.type, operand)

    def _atom(self) -> _Parsed:
        stream, token = self._stream, self._stream.current
        if is_number(token):
            value = number(stream)
            return _Parsed(NumberLiteral(value, Span(token.start, token.end)), ValueType.SCALAR)
        if token.kind is TokenKind.STRING:
            stream.advance()
            value_text = unquote(token, self._text)
            span = Span(token.start, token.end)
            return _Parsed(StringLiteral(value_text, span), ValueType.STRING)
        if stream.at("("):
            return self._paren()
        if stream.at("{"):
            return _Parsed(vector_selector(stream, None), ValueType.VECTOR)
        if token.kind is TokenKind.WORD and token.keyword not in RESERVED:
            return self._word()
        raise stream.unexpected("at the start of an operand", "a metric, function, number or (")

    def _paren(self) -> _Parsed:
        opening = self._stream.advance()
        inner = self._expression(1)
        self._close(opening, '")"')
        return self._above(Paren(inner.node, self._span(opening)), inner.type, inner)

    def _close(self, opening: Token, expected: str) -> None:
        if self._stream.at_end():
            raise self._stream.error('"(" is never closed', opening.start, opening.end)
        self._stream.expect(")", "in parentheses", f"an operator or {expected}")

    def _word(self) -> _Parsed:
        """Read what begins with a name: an aggregation, a call or a selector."""
        stream = self._stream
        word = stream.advance()
        followed = stream.at("(") or stream.current.keyword in ("by", "without")
        if word.keyword in AGGREGATIONS and followed:
            return self._aggregation(word)
        if stream.at("(") and ":" not in word.text:
            return self._call(word)
        return _Parsed(vector_selector(stream, word), ValueType.VECTOR)

    def _arguments(self) -> list[_Parsed]:
        """Read ``(expr, expr, …)``."""
        stream = self._stream
        opening = stream.expect("(", "in aggregation")
        arguments: list[_Parsed] = []
        while not stream.at(")"):
            if stream.at_end():
                raise stream.error('"(" is never closed', opening.start, opening.end)
            arguments.append(self._expression(1))
            if stream.at(")"):
                break
            if not stream.at(","):
                self._close(opening, '"," or ")"')
            comma = stream.advance()
            if stream.at(")"):
                message = "trailing commas not allowed in function call args"
                raise stream.error(message, comma.start, comma.end)
        stream.advance()
        return arguments

    def _call(self, word: Token) -> _Parsed:
        lowered = word.text.lower()
        name = lowered if lowered in _FUNCTIONS_OF_ANY_CASE else word.text
        if name not in FUNCTIONS:
            raise check.unknown_function(word.text, word.start, self._text)
        arguments = self._arguments()
        node = Call(name, tuple(argument.node for argument in arguments), self._span(word))
        check.check_call(node, [argument.type for argument in arguments], self._text)
        if name == "info" and len(node.args) == 2 and node.args[1] in self._unconstrained[-1:]:
            self._unconstrained.pop()
        return self._above(node, FUNCTIONS[name].returns, *arguments)

    def _aggregation(self, word: Token) -> _Parsed:
        op = word.keyword
        grouping = self._grouping()
        arguments = self._arguments()
        grouping = grouping or self._grouping()
        without, labels = grouping or (False, ())
        wanted = 1 if AGGREGATIONS[op].parameter is None else 2
        span = self._span(word)
        if len(arguments) != wanted:
            message = (
                f'wrong number of arguments for aggregate expression "{op}" provided, '
                f"expected {wanted}, got {len(arguments)}"
            )
            raise self._stream.error(message, span.start, span.end)
        operand = arguments[-1]
        parameter = arguments[0] if wanted == 2 else None
        node = Aggregation(
            op, operand.node, parameter.node if parameter else None, labels, without, span
        )
        check.check_aggregation(
            node, operand.type, parameter.type if parameter else None, self._text
        )
        return self._above(node, ValueType.VECTOR, *arguments)

    def _grouping(self) -> tuple[bool, tuple[str, ...]] | None:
        """Read ``by (a, b)`` or ``without (a, b)``, if it is there."""
        keyword = self._stream.current.keyword
        if keyword not in ("by", "without"):
            return None
        self._stream.advance()
        return keyword == "without", self._labels()

    def _above(self, node: Expr, kind: ValueType, *operands: _Parsed) -> _Parsed:
        height = 1 + max((operand.height for operand in operands), default=0)
        if height > MAX_HEIGHT:
            message = (
                f"expression has more than {MAX_HEIGHT} levels of operators; "
                "split it, for example with recording rules"
            )
            raise self._stream.error(message, node.span.start, node.span.end)
        return _Parsed(node, kind, height)

    def _span(self, first: Token) -> Span:
        return Span(first.start, self._stream.last_end)

    def _span_from(self, first: Expr) -> Span:
        return Span(first.span.start, self._stream.last_end)
