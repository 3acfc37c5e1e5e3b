"""Executes a template: values in, text out, with limits on steps, depth and size.

Different from Go: integers do not overflow, and the limits of :class:`Limits` end an execution
with an error where Go would go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
from vedette.rules.gotemplate.values import (
    Struct,
    TemplateError,
    Texts,
    Value,
    kind_of,
    text_of,
    truth,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Most nodes that may be executed, characters of output, templates in one another."""

    steps: int = 100_000
    output: int = 65_536
    depth: int = 32


@dataclass(frozen=True, slots=True)
class Callee:
    """A function of templates; ``most`` is ``None`` where any number of arguments is fine."""

    run: Callable[..., Value]
    least: int = 1
    most: int | None = 1


class _LeaveError(Exception):
    """A ``break`` or ``continue`` on its way to its ``range``."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class Execution:
    """One execution of a template.

    Args:
        tree: the template; its variables besides ``$`` are those of ``variables``.
        functions: by name; ``and`` and ``or`` are the executor's own.
    """

    def __init__(
        self,
        tree: Tree,
        functions: Mapping[str, Callee],
        variables: Mapping[str, Value],
        limits: Limits,
    ) -> None:
        self._tree = tree
        self._functions = functions
        self._limits = limits
        self._variables = list(variables.items())
        self._parts: list[str] = []
        self._size = 0
        self._steps = 0
        self._depth = 0

    def run(self, data: Value) -> str:
        """Return the text for ``data``.

        Raises:
            TemplateError: a function refused its arguments, a field is missing, or a limit is
                passed.
        """
        self._variables.append(("$", data))
        try:
            self._walk(self._tree.nodes, data)
        except RecursionError:
            raise TemplateError("the template is nested too deeply") from None
        return "".join(self._parts)

    def invoked(self, name: str, data: Value) -> str:
        """Return the text of the defined template ``name`` for ``data``."""
        kept, self._parts = self._parts, []
        try:
            self._invoke(name, data, 0)
            return "".join(self._parts)
        finally:
            self._parts = kept

    def _step(self) -> None:
        self._steps += 1
        if self._steps > self._limits.steps:
            raise TemplateError(f"the template took more than {self._limits.steps} steps")

    def _write(self, text: str) -> None:
        self._size += len(text)
        if self._size > self._limits.output:
            raise TemplateError(f"the text grew beyond {self._limits.output} characters")
        self._parts.append(text)

    def _walk(self, nodes: Sequence[Node], dot: Value) -> None:
        known = len(self._variables)
        for node in nodes:
            self._step()
            match node:
                case Text(text):
                    self._write(text)
                case Show(pipe):
                    value = self._pipe(pipe, dot)
                    if not pipe.names:
                        self._write(text_of(value))
                case Branch():
                    self._branch(node, dot)
                case Invoke(name, pipe, at):
                    self._invoke(name, None if pipe is None else self._pipe(pipe, dot), at)
                case Leave(word):
                    raise _LeaveError(word)
        del self._variables[known:]

    def _branch(self, node: Branch, dot: Value) -> None:
        known = len(self._variables)
        if node.word == "range":
            self._range(node, dot)
        else:
            value = self._pipe(node.pipe, dot)
            if truth(value):
                self._walk(node.body, value if node.word == "with" else dot)
            else:
                self._walk(node.otherwise, dot)
        del self._variables[known:]

    def _range(self, node: Branch, dot: Value) -> None:
        pipe = node.pipe
        pairs = _pairs(self._value(pipe, dot), pipe.at)
        if not pairs:
            self._walk(node.otherwise, dot)
            return
        known = len(self._variables)
        for key, value in pairs:
            self._step()
            given = (value,) if len(pipe.names) == 1 else (key, value)
            for name, one in zip(pipe.names, given, strict=False):
                self._set(name, one, pipe.declares)
            try:
                self._walk(node.body, value)
            except _LeaveError as left:
                if left.word == "break":
                    break
            finally:
                del self._variables[known:]

    def _invoke(self, name: str, data: Value, at: int) -> None:
        nodes = self._tree.defined.get(name)
        if nodes is None:
            raise TemplateError(f'template "{name}" is not defined', at)
        self._depth += 1
        if self._depth > self._limits.depth:
            raise TemplateError("templates call each other too deeply", at)
        kept, self._variables = self._variables, [("$", data)]
        self._walk(nodes, data)
        self._variables = kept
        self._depth -= 1

    def _set(self, name: str, value: Value, declares: bool) -> None:
        if declares:
            self._variables.append((name, value))
            return
        for k in range(len(self._variables) - 1, -1, -1):
            if self._variables[k][0] == name:
                self._variables[k] = (name, value)
                return

    def _pipe(self, pipe: Pipe, dot: Value) -> Value:
        value = self._value(pipe, dot)
        for name in pipe.names:
            self._set(name, value, pipe.declares)
        return value

    def _value(self, pipe: Pipe, dot: Value) -> Value:
        piped: tuple[Value, ...] = ()
        for command in pipe.commands:
            piped = (self._command(command, dot, piped),)
        return piped[0]

    def _command(self, command: Command, dot: Value, piped: tuple[Value, ...]) -> Value:
        self._step()
        head, args = command.head, command.args
        if isinstance(head, Function):
            if head.name in ("and", "or"):
                return self._shortcut(head, args, dot, piped)
            return self._call(head, [*(self._operand(arg, dot) for arg in args), *piped])
        return self._operand(head, dot, tuple(args), piped)

    def _shortcut(
        self, head: Function, args: Sequence[Operand], dot: Value, piped: tuple[Value, ...]
    ) -> Value:
        """``and`` and ``or`` evaluate no more arguments than they need."""
        value: Value = None
        if not args and not piped:
            raise TemplateError(f"wrong number of args for {head.name}", head.at)
        for arg in args:
            value = self._operand(arg, dot)
            if truth(value) == (head.name == "or"):
                return value
        return piped[0] if piped else value

    def _call(self, head: Function, given: Sequence[Value]) -> Value:
        callee = self._functions[head.name]
        count = len(given)
        if count < callee.least or (callee.most is not None and count > callee.most):
            wanted = (
                str(callee.least) if callee.most == callee.least else f"at least {callee.least}"
            )
            raise TemplateError(
                f"wrong number of args for {head.name}: want {wanted} got {count}", head.at
            )
        try:
            return callee.run(*given)
        except TemplateError as error:
            place = error.offset or head.at
            raise TemplateError(
                f"error calling {head.name}: {error.message}", place, error.fix
            ) from None

    def _operand(
        self,
        node: Operand,
        dot: Value,
        args: tuple[Operand, ...] = (),
        piped: tuple[Value, ...] = (),
    ) -> Value:
        self._step()
        fields: tuple[str, ...] = ()
        match node:
            case Constant(value):
                pass
            case Dot(fields):
                value = dot
            case Variable(name, fields):
                value = next(one for known, one in reversed(self._variables) if known == name)
            case Chain(pipe, fields):
                value = self._pipe(pipe, dot)
            case Function():
                return self._call(node, [])
        for name in fields[:-1]:
            value = _field(value, name, (), node.at)
        given = (*(self._operand(arg, dot) for arg in args), *piped)
        if fields:
            return _field(value, fields[-1], given, node.at)
        if given:
            raise TemplateError(f"can't give argument to non-function {kind_of(value)}", node.at)
        return value


def _field(value: Value, name: str, given: tuple[Value, ...], at: int) -> Value:
    if isinstance(value, Struct) and name in value.methods:
        return value.methods[name](*given)
    if given:
        raise TemplateError(f"{name} has arguments but is no method", at)
    if isinstance(value, Texts):
        return value.get(name, "")
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, Struct) and name in value.fields:
        return value.fields[name]
    if value is None:
        raise TemplateError(f"nil data; no entry for key {name}", at)
    raise TemplateError(f"can't evaluate field {name} in type {kind_of(value)}", at)


def _pairs(value: Value, at: int) -> list[tuple[Value, Value]]:
    """Return keys and values that ``range`` goes through."""
    if value is None:
        return []
    if isinstance(value, list):
        return list(enumerate(value))
    if isinstance(value, dict):
        return [(key, value[key]) for key in sorted(value)]
    if isinstance(value, int) and not isinstance(value, bool):
        # The steps are limited: no more of them could be walked through.
        return [(k, k) for k in range(min(value, 1_000_000))]
    raise TemplateError(f"range can't iterate over {text_of(value)}", at)
