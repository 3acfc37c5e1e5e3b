"""YAML that remembers where every value stands, so that a fault can name file, line and column.

:func:`compose` turns text into :class:`Node`; :class:`Section` reads a mapping key by key, collects
a :class:`Fault` for everything that does not fit, and in the end names the keys nobody asked for.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml

from vedette.kit.duration import parse_duration

MAX_TEXT = 4 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 64

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SIZE = re.compile(r"([0-9]{1,12})\s*(B|[KMGTP]i?B?)?", re.IGNORECASE)
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something in a file that a person must mend; line and column count from 1."""

    file: str
    line: int
    column: int
    message: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{text}; {self.fix}" if self.fix else text


class Kind(StrEnum):
    """The three shapes of a YAML node."""

    SCALAR = "a single value"
    SEQUENCE = "a list"
    MAPPING = "a mapping"


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place; line and column count from 1.

    Attributes:
        text: a scalar's text as written, without quotes.
        tag: a scalar's YAML 1.1 type: str, int, float, bool, null, ….
        items: elements of a sequence.
        members: keys (scalars) and values of a mapping, in the order of the file.
        content: line and column of a scalar's first character, behind quotes and block signs;
            ``None`` where the text's lines are not the file's lines (folded).
    """

    file: str
    line: int
    column: int
    kind: Kind
    text: str = ""
    tag: str = "str"
    items: tuple[Node, ...] = ()
    members: tuple[tuple[Node, Node], ...] = ()
    content: tuple[int, int] | None = None

    @property
    def is_null(self) -> bool:
        """Whether the value is empty (nothing, ``~`` or ``null``)."""
        return self.kind is Kind.SCALAR and self.tag == "null"

    def fault(self, message: str, fix: str = "") -> Fault:
        """Return a fault at this node."""
        return Fault(self.file, self.line, self.column, message, fix)

    def fault_inside(self, line: int, column: int, message: str, fix: str = "") -> Fault:
        """Return a fault at ``line`` and ``column`` (from 1) of the scalar's own text."""
        if self.content is None:
            return self.fault(message, fix)
        # Blocks keep their indentation on every line; a quoted or plain text has one line only.
        first, indent = self.content
        return Fault(self.file, first + line - 1, indent + column - 1, message, fix)


def compose(text: str, file: str, faults: list[Fault]) -> Node | None:
    """Return the document in ``text``, or ``None`` when it is empty or cannot be read at all.

    Faults of syntax, of size and double keys are appended to ``faults``.
    """
    if len(text) > MAX_TEXT:
        faults.append(Fault(file, 1, 1, f"the file is larger than {MAX_TEXT} characters"))
        return None
    try:
        return _Composer(text, file, faults).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        faults.append(Fault(file, line, column, f"not YAML: {error.problem or error.context}"))
    except (yaml.YAMLError, UnicodeEncodeError) as error:  # forbidden characters; has no mark
        faults.append(Fault(file, 1, 1, f"not YAML: {str(error).splitlines()[0]}"))
    except _TooMuchError as error:
        faults.append(error.fault)
    return None


class _TooMuchError(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class _Composer:
    """Builds nodes from the parser's flat events, so that the depth is ours to limit."""

    def __init__(self, text: str, file: str, faults: list[Fault]) -> None:
        self._file = file
        self._faults = faults
        self._lines = text.splitlines()
        self._events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
        self._resolver: Any = yaml.resolver.Resolver()
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0

    def document(self) -> Node | None:
        next(self._events)  # start of the stream
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return None
        root = self._node(next(self._events), 0)
        next(self._events)  # end of the document
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._faults.append(
                self._at(event, "a second document begins here", "keep one document in a file")
            )
        return None if root.is_null else root

    def _at(self, event: Any, message: str, fix: str = "") -> Fault:
        mark = event.start_mark
        return Fault(self._file, mark.line + 1, mark.column + 1, message, fix)

    def _node(self, event: Any, depth: int) -> Node:
        before = self._count
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_NODES:
            raise _TooMuchError(self._at(event, "too many values, or nested too deeply"))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._count - before)
        return node

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            raise _TooMuchError(self._at(event, f'no anchor "{event.anchor}" stands before this'))
        node, size = self._anchors[event.anchor]
        # An alias counts as what it stands for: nine lines of aliases can mean a billion values.
        self._count += size
        return node

    def _scalar(self, event: Any) -> Node:
        mark = event.start_mark
        if event.tag is None:
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        else:
            tag = event.tag
        return Node(
            self._file,
            mark.line + 1,
            mark.column + 1,
            Kind.SCALAR,
            text=event.value,
            tag=tag.rpartition(":")[2],
            content=self._content(event),
        )

    def _content(self, event: Any) -> tuple[int, int] | None:
        mark = event.start_mark
        if event.style == "|":
            for at in range(mark.line + 1, len(self._lines)):
                line = self._lines[at]
                if line.strip():
                    # Leading empty lines belong to the text, so that its first line is the next.
                    return mark.line + 2, len(line) - len(line.lstrip(" ")) + 1
            return None
        if event.style == ">" or event.end_mark.line != mark.line:
            return None
        return mark.line + 1, mark.column + (2 if event.style in ("'", '"') else 1)

    def _sequence(self, event: Any, depth: int) -> Node:
        items = []
        while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(inner, depth + 1))
        mark = event.start_mark
        return Node(self._file, mark.line + 1, mark.column + 1, Kind.SEQUENCE, items=tuple(items))

    def _mapping(self, event: Any, depth: int) -> Node:
        members: dict[str, tuple[Node, Node]] = {}
        merged: list[Node] = []
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            key = self._node(inner, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if key.kind is not Kind.SCALAR:
                self._faults.append(key.fault("a key must be a single value"))
            elif key.tag == "merge":
                merged += value.items if value.kind is Kind.SEQUENCE else (value,)
            elif key.text in members:
                first = members[key.text][0].line
                self._faults.append(
                    key.fault(f'"{key.text}" stands here a second time', f"see line {first}")
                )
            else:
                members[key.text] = (key, value)
        for source in merged:
            for key, value in source.members:
                members.setdefault(key.text, (key, value))
        mark = event.start_mark
        return Node(
            self._file,
            mark.line + 1,
            mark.column + 1,
            Kind.MAPPING,
            members=tuple(members.values()),
        )


class Section:
    """Reads one mapping: each method takes a key, returns its value or ``default``.

    Whatever does not fit is appended to ``faults`` and the default is returned, so that one pass
    finds every fault. An empty value counts as absent. :meth:`done` reports unknown keys.
    """

    def __init__(self, node: Node, faults: list[Fault], what: str = "") -> None:
        self.node = node
        self.faults = faults
        self._what = what
        self._asked: set[str] = set()
        self._values: dict[str, Node] = {}
        if node.kind is Kind.MAPPING:
            self._values = {key.text: value for key, value in node.members}
        elif not node.is_null:
            faults.append(node.fault(f"{what or 'this'} must be a mapping, not {node.kind}"))

    def fault(self, key: str, message: str, fix: str = "") -> None:
        """Note a fault at ``key``'s value, or at the mapping when it has no such key."""
        self.faults.append(self._values.get(key, self.node).fault(message, fix))

    def has(self, key: str) -> bool:
        """Whether ``key`` is there and not empty."""
        self._asked.add(key)
        return key in self._values and not self._values[key].is_null

    def value(self, key: str) -> Node | None:
        """Return the node of ``key`` as it is."""
        return self._values[key] if self.has(key) else None

    def require(self, key: str, fix: str = "") -> None:
        """Note a fault unless ``key`` is there."""
        if not self.has(key):
            name = self._what or "this"
            self.faults.append(self.node.fault(f'{name} lacks "{key}"', fix or f'add "{key}: …"'))

    def scalar(self, key: str) -> Node | None:
        """Return the node of ``key`` when it is a single value."""
        node = self.value(key)
        if node is not None and node.kind is not Kind.SCALAR:
            self.faults.append(node.fault(f'"{key}" must be a single value, not {node.kind}'))
            return None
        return node

    def text(self, key: str, default: str = "") -> str:
        """Return the text of ``key``."""
        node = self.scalar(key)
        return default if node is None else node.text

    def integer(self, key: str, default: int, minimum: int = 0, maximum: int = 2**53) -> int:
        """Return a whole number of ``minimum`` to ``maximum``."""
        node = self.scalar(key)
        if node is None:
            return default
        if not re.fullmatch(r"[-+]?[0-9]{1,16}", node.text):
            self.faults.append(node.fault(f'"{key}" must be a whole number, not "{node.text}"'))
            return default
        value = int(node.text)
        if not minimum <= value <= maximum:
            self.faults.append(node.fault(f'"{key}" must lie between {minimum} and {maximum}'))
            return default
        return value

    def number(self, key: str, default: float) -> float:
        """Return a number."""
        node = self.scalar(key)
        if node is None:
            return default
        try:
            return float(node.text)
        except ValueError:
            self.faults.append(node.fault(f'"{key}" must be a number, not "{node.text}"'))
            return default

    def boolean(self, key: str, default: bool) -> bool:
        """Return true or false."""
        node = self.scalar(key)
        if node is None:
            return default
        word = node.text.lower()
        if word not in _TRUE | _FALSE:
            self.faults.append(
                node.fault(f'"{key}" must be true or false, not "{node.text}"', "write true")
            )
            return default
        return word in _TRUE

    def duration(self, key: str, default: int, minimum: int = 0) -> int:
        """Return milliseconds, written like 30s, 5m or 1h30m."""
        node = self.scalar(key)
        if node is None:
            return default
        try:
            value = parse_duration(node.text)
        except ValueError:
            fix = "write it like 30s, 5m or 1h30m"
            if re.fullmatch(r"[0-9]+", node.text):
                fix = f'give the unit: "{node.text}s" for seconds'
            self.faults.append(node.fault(f'"{key}" is not a duration: "{node.text}"', fix))
            return default
        if value < minimum:
            self.faults.append(node.fault(f'"{key}" must be at least {minimum} ms'))
            return default
        return value

    def size(self, key: str, default: int) -> int:
        """Return bytes, written like 10MB; as in Prometheus all units are powers of 1024."""
        node = self.scalar(key)
        if node is None or not node.text:
            return default
        match = _SIZE.fullmatch(node.text)
        if match is None:
            message = f'"{key}" is not a size: "{node.text}"'
            self.faults.append(node.fault(message, "write it like 10MB"))
            return default
        unit = (match.group(2) or "B")[0].upper()
        return int(match.group(1)) << (10 * "BKMGTP".index(unit))

    def items(self, key: str) -> tuple[Node, ...]:
        """Return the elements of a list."""
        node = self.value(key)
        if node is None:
            return ()
        if node.kind is not Kind.SEQUENCE:
            fix = "write it as [a, b] or with a dash before each"
            self.faults.append(node.fault(f'"{key}" must be a list, not {node.kind}', fix))
            return ()
        return node.items

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(node.text for node in self.scalars(key))

    def scalars(self, key: str) -> tuple[Node, ...]:
        """Return the nodes of a list of single values."""
        found = []
        for node in self.items(key):
            if node.is_null or node.tag == "bool":
                word = f'"{node.text}"' if node.text else "nothing"
                fix = f"write '{node.text}' in quotes" if node.text else "remove the entry"
                self.faults.append(node.fault(f'"{key}" must hold texts, not {word}', fix))
            elif node.kind is Kind.SCALAR:
                found.append(node)
            else:
                self.faults.append(node.fault(f'"{key}" must hold single values, not {node.kind}'))
        return tuple(found)

    def pairs(self, key: str) -> tuple[tuple[Node, Node], ...]:
        """Return keys and values of a mapping whose values are single values."""
        node = self.value(key)
        if node is None:
            return ()
        if node.kind is not Kind.MAPPING:
            self.faults.append(node.fault(f'"{key}" must be a mapping, not {node.kind}'))
            return ()
        found = []
        for name, value in node.members:
            if value.kind is Kind.SCALAR:
                found.append((name, value))
            else:
                self.faults.append(
                    value.fault(f'"{name.text}" must be a single value, not {value.kind}')
                )
        return tuple(found)

    def section(self, key: str, what: str = "") -> Section | None:
        """Return a reader of the mapping at ``key``."""
        node = self.value(key)
        return None if node is None else Section(node, self.faults, what or key)

    def sections(self, key: str, what: str = "") -> tuple[Section, ...]:
        """Return readers of the mappings in the list at ``key``."""
        return tuple(Section(node, self.faults, what or key) for node in self.items(key))

    def done(self) -> None:
        """Note a fault for every key that was not asked for."""
        if self.node.kind is not Kind.MAPPING:
            return
        for key, _ in self.node.members:
            if key.text in self._asked:
                continue
            close = difflib.get_close_matches(key.text, self._asked, n=1)
            known = ", ".join(sorted(self._asked))
            fix = f'did you mean "{close[0]}"?' if close else f"known here: {known}"
            self.faults.append(key.fault(f'unknown key "{key.text}"', fix))
