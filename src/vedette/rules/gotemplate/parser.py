"""Reads a template: faults that Go finds when it parses are found here, with their place."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from vedette.rules.gotemplate.lexer import Piece, Token, number, pieces, unquote
from vedette.rules.gotemplate.nodes import (
    Branch,
    Chain,
    Command,
    Constant,
    Dot,
    Function,
    Invoke,
    Leave,
    Node,
    Operand,
    Pipe,
    Show,
    Text,
    Tree,
    Variable,
)
from vedette.rules.gotemplate.values import TemplateError

MAX_DEPTH = 32
_CONSTANTS = {"true": True, "false": False, "nil": None}
_END = Token("end", "", 0, True)


def parse_template(text: str, functions: Collection[str], variables: Collection[str]) -> Tree:
    """Return the template in ``text``, which may use ``functions`` and the ``variables``.

    Raises:
        TemplateError: it is not a template; says where.
    """
    reader = _Template(text, functions, variables)
    return Tree(reader.whole(), reader.defined)


class _Template:
    """Recursive descent over the actions: lists of nodes up to ``end`` or ``else``."""

    def __init__(self, text: str, functions: Collection[str], variables: Collection[str]) -> None:
        self._pieces = list(pieces(text))
        self._at = 0
        self._length = len(text)
        self._depth = 0
        self._loops = 0
        self.functions = functions
        self.variables = list(variables)
        self.defined: dict[str, tuple[Node, ...]] = {}

    def whole(self) -> tuple[Node, ...]:
        nodes, ended = self._list()
        if ended is not None:
            raise TemplateError(f"unexpected {{{{{ended.word}}}}}", ended.start)
        return nodes

    def _list(self) -> tuple[tuple[Node, ...], _Action | None]:
        """Return nodes, and the ``end`` or ``else`` that stands behind them."""
        nodes: list[Node] = []
        while self._at < len(self._pieces):
            piece = self._pieces[self._at]
            self._at += 1
            if not piece.is_action:
                nodes.append(Text(piece.text))
                continue
            action = _Action(piece, self)
            if action.word in ("end", "else"):
                return tuple(nodes), action
            node = self._node(action)
            if node is not None:
                nodes.append(node)
        return tuple(nodes), None

    def _node(self, action: _Action) -> Node | None:
        word = action.word
        if word in ("if", "with", "range"):
            return self._branch(action)
        if word in ("define", "block"):
            return self._definition(action)
        if word == "template":
            action.skip()
            name = action.string()
            pipe = None if action.peek().kind == "end" else action.pipe()
            action.finish()
            return Invoke(name, pipe, action.start)
        if word in ("break", "continue"):
            if not self._loops:
                raise TemplateError(f"{{{{{word}}}}} outside {{{{range}}}}", action.start)
            action.skip()
            action.finish()
            return Leave(word)
        pipe = action.pipe()
        action.finish()
        return Show(pipe)

    def _branch(self, action: _Action) -> Branch:
        known = len(self.variables)
        word = action.word
        action.skip()
        pipe = action.pipe(most=2 if word == "range" else 1)
        action.finish()
        self._loops += word == "range"
        body, ended = self._nested(action)
        self._loops -= word == "range"
        otherwise: tuple[Node, ...] = ()
        if ended.word == "else":
            ended.skip()
            if ended.peek().kind != "end":
                otherwise = (self._chained(word, ended),)
                del self.variables[known:]
                return Branch(word, pipe, body, otherwise)
            otherwise, last = self._nested(action)
            if last.word != "end":
                raise TemplateError("a second {{else}}", last.start)
            ended = last
        ended.skip()
        ended.finish()
        del self.variables[known:]
        return Branch(word, pipe, body, otherwise)

    def _chained(self, word: str, action: _Action) -> Branch:
        """Read ``else if`` or ``else with``, which shares the end of the one before."""
        if word == "range" or action.word != word:
            raise TemplateError(f'unexpected "{action.peek().text}" behind else', action.peek().at)
        return self._branch(action)

    def _nested(self, action: _Action) -> tuple[tuple[Node, ...], _Action]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TemplateError(f"nested more than {MAX_DEPTH} deep", action.start)
        known = len(self.variables)
        nodes, ended = self._list()
        del self.variables[known:]
        self._depth -= 1
        if ended is None:
            raise TemplateError(
                f"{{{{{action.opening}}}}} is not closed", action.start, "close it with {{end}}"
            )
        return nodes, ended

    def _definition(self, action: _Action) -> Node | None:
        block = action.word == "block"
        if not block and self._depth:
            raise TemplateError("{{define}} inside another action", action.start)
        action.skip()
        name = action.string()
        pipe = action.pipe() if block else None
        action.finish()
        # A definition sees no variable but "$".
        outer, loops = self.variables, self._loops
        self.variables, self._loops = ["$"], 0
        body, ended = self._nested(action)
        self.variables, self._loops = outer, loops
        if ended.word != "end":
            raise TemplateError("unexpected {{else}}", ended.start)
        self.defined[name] = body
        return Invoke(name, pipe, action.start) if block else None


class _Action:
    """Reads the tokens of one action."""

    def __init__(self, piece: Piece, template: _Template) -> None:
        self.start = piece.at
        self._tokens = piece.tokens
        self._template = template
        self._at = 0
        self._parentheses = 0
        self.opening = self.word

    @property
    def word(self) -> str:
        """The word at which the action stands, or ""."""
        token = self.peek()
        return token.text if token.kind == "word" else ""

    def peek(self, ahead: int = 0) -> Token:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else _END

    def skip(self) -> None:
        self._at += 1

    def _place(self) -> int:
        if self._at < len(self._tokens):
            return self._tokens[self._at].at
        return self._tokens[-1].at if self._tokens else self.start

    def finish(self) -> None:
        token = self.peek()
        if token.kind != "end":
            raise TemplateError(f'unexpected "{token.text}" in a template', token.at)

    def string(self) -> str:
        token = self.peek()
        if token.kind != "string":
            raise TemplateError("the name of a template must be a quoted text", self._place())
        self.skip()
        return unquote(token)

    def pipe(self, most: int = 1) -> Pipe:
        """Read a pipeline that may set up to ``most`` variables."""
        start = self._place()
        names, declares = self._names(most)
        commands = [self._command(first=True)]
        while self.peek().text == "|" and self.peek().kind == "sign":
            self.skip()
            commands.append(self._command(first=False))
        if declares:
            self._template.variables.extend(names)
        return Pipe(tuple(commands), names, declares, start)

    def _names(self, most: int) -> tuple[tuple[str, ...], bool]:
        """Return the variables that the pipeline sets, and whether it declares them."""
        sign = self.peek(1)
        names: tuple[str, ...] = (self.peek().text,)
        if self.peek().kind != "variable" or sign.kind != "sign":
            return (), False
        if sign.text == "," and most > 1 and self.peek(2).kind == "variable":
            names, sign = (names[0], self.peek(2).text), self.peek(3)
        if sign.text not in (":=", "="):
            return (), False
        if sign.text == "=":
            for name in names:
                self._known(name)
        self._at += 2 * len(names)
        return names, sign.text == ":="

    def _known(self, name: str) -> None:
        known = self._template.variables
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            fix = f'did you mean "{close[0]}"?' if close else f"known: {', '.join(sorted(known))}"
            raise TemplateError(f'undefined variable "{name}"', self._place(), fix)

    def _command(self, first: bool) -> Command:
        place = self._place()
        head = self._operand()
        if head is None:
            message = "a function must follow" if not first else "empty action"
            raise TemplateError(message, place)
        if not first and isinstance(head, Constant):
            raise TemplateError('a function must follow "|"', place)
        args: list[Operand] = []
        while (operand := self._operand()) is not None:
            args.append(operand)
        if args and isinstance(head, Constant):
            raise TemplateError("a constant takes no arguments", place)
        if isinstance(head, Constant) and head.value is None:
            raise TemplateError("nil is not a command", place)
        return Command(head, tuple(args))

    def _operand(self) -> Operand | None:
        token = self.peek()
        if token.kind == "end" or (token.kind == "sign" and token.text in "|)"):
            return None
        if self._at and not token.spaced and self._glued():
            raise TemplateError(f'unexpected "{token.text}" in a template', token.at)
        self.skip()
        return self._term(token)

    def _glued(self) -> bool:
        # "(" and "|" need no space behind them, two operands do.
        before = self._tokens[self._at - 1]
        return before.kind != "sign" or before.text == ")"

    def _term(self, token: Token) -> Operand:
        match token.kind:
            case "string":
                return Constant(unquote(token), token.at)
            case "char":
                return Constant(ord(unquote(token)[:1] or "\0"), token.at)
            case "number":
                return Constant(number(token), token.at)
            case "dot":
                return Dot((), token.at)
            case "field":
                return Dot((token.text[1:], *self._fields()), token.at)
            case "variable":
                self._at -= 1
                self._known(token.text)
                self._at += 1
                return Variable(token.text, self._fields(), token.at)
            case "word":
                return self._named(token)
        if token.text == "(":
            return self._parenthesis(token)
        raise TemplateError(f'unexpected "{token.text}" in a template', token.at)

    def _named(self, token: Token) -> Operand:
        if token.text in _CONSTANTS:
            return Constant(_CONSTANTS[token.text], token.at)
        if token.text not in self._template.functions:
            known = sorted(self._template.functions)
            close = difflib.get_close_matches(token.text, known, n=1)
            fix = f'did you mean "{close[0]}"?' if close else f"known: {', '.join(known)}"
            raise TemplateError(f'"{token.text}" is no function of templates', token.at, fix)
        return Function(token.text, token.at)

    def _fields(self) -> tuple[str, ...]:
        names = []
        while self.peek().kind == "field" and not self.peek().spaced:
            names.append(self.peek().text[1:])
            self.skip()
        return tuple(names)

    def _parenthesis(self, token: Token) -> Operand:
        self._parentheses += 1
        if self._parentheses > MAX_DEPTH:
            raise TemplateError(f"more than {MAX_DEPTH} parentheses in one another", token.at)
        pipe = self.pipe()
        if self.peek().text != ")":
            raise TemplateError('"(" is not closed', token.at, 'close it with ")"')
        self.skip()
        self._parentheses -= 1
        return Chain(pipe, self._fields(), token.at)
