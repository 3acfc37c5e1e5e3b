"""Nodes of a template: what the parser makes and the executor walks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from vedette.rules.gotemplate.values import Value


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal, ``nil`` included."""

    value: Value
    at: int


@dataclass(frozen=True, slots=True)
class Dot:
    """The current value, then ``fields`` of it."""

    fields: tuple[str, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable with its ``$``, then ``fields`` of it."""

    name: str
    fields: tuple[str, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function by its name."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Chain:
    """Fields of a pipeline in parentheses."""

    pipe: Pipe
    fields: tuple[str, ...]
    at: int


Operand: TypeAlias = "Constant | Dot | Variable | Function | Chain"


@dataclass(frozen=True, slots=True)
class Command:
    """What is called or read, and the arguments given to it."""

    head: Operand
    args: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands, each given the value of the one before; ``names`` are set to the last value."""

    commands: tuple[Command, ...]
    names: tuple[str, ...]
    declares: bool
    at: int


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Show:
    """An action that prints its value, unless it sets a variable."""

    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Branch:
    """``if``, ``with`` or ``range``, with what stands in it and in its ``else``."""

    word: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """``break`` or ``continue``."""

    word: str


@dataclass(frozen=True, slots=True)
class Invoke:
    """``template "name" pipeline``; without a pipeline the value is nil."""

    name: str
    pipe: Pipe | None
    at: int


Node: TypeAlias = "Text | Show | Branch | Leave | Invoke"


@dataclass(frozen=True, slots=True)
class Tree:
    """A template that was read: its nodes, and those of the templates that it defines."""

    nodes: tuple[Node, ...]
    defined: Mapping[str, tuple[Node, ...]]
