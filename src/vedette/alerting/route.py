"""Which routes take an alert, and which group of each it belongs to; pure.

The tree is Alertmanager's: an alert enters at the top, goes to the first child that matches (and
to later ones while ``continue`` is set), and is taken by the deepest node that it reaches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vedette.alerting.matchers import Test, compile_matchers
from vedette.alerting.settings import Route
from vedette.model.labels import Labels

# Part of every entry of the notification log: a change of the key's form needs a new version.
GROUP_KEY_VERSION = 1
_CACHE_LIMIT = 50_000


@dataclass(frozen=True, slots=True)
class Destination:
    """A group that an alert belongs to.

    ``index`` numbers the route in the tree, so that two routes with the same text stay apart.
    """

    index: int
    route: Route
    group_labels: Labels

    @property
    def key(self) -> str:
        """The group's key, as Alertmanager writes it: ``{}/{team="a"}:{alertname="X"}``."""
        return f"{self.route.key}:{format_group(self.group_labels)}"

    @property
    def log_key(self) -> str:
        """The group's key in the notification log, with the version of its form."""
        return f"v{GROUP_KEY_VERSION}|{self.key}"


def format_group(labels: Labels) -> str:
    """Return labels as Alertmanager writes them in a group key: ``{a="b", c="d"}``."""
    return str(labels) if labels else "{}"


@dataclass(frozen=True, slots=True)
class _Node:
    index: int
    route: Route
    test: Test
    children: tuple[_Node, ...]


class Router:
    """Finds the destinations of label sets; remembers them, since the same alerts come again."""

    def __init__(self, top: Route) -> None:
        self._count = 0
        self._top = self._build(top)
        self._cache: dict[Labels, tuple[Destination, ...]] = {}

    def _build(self, route: Route) -> _Node:
        index = self._count
        self._count += 1
        children = tuple(self._build(child) for child in route.routes)
        return _Node(index, route, compile_matchers(route.matchers), children)

    def destinations(self, labels: Labels) -> tuple[Destination, ...]:
        """Return the groups that an alert with ``labels`` belongs to; never none."""
        found = self._cache.get(labels)
        if found is None:
            if len(self._cache) >= _CACHE_LIMIT:
                self._cache.clear()
            found = tuple(
                Destination(node.index, node.route, group_labels(node.route, labels))
                for node in _walk(self._top, labels)
            )
            self._cache[labels] = found
        return found


def _walk(node: _Node, labels: Labels) -> Iterator[_Node]:
    deeper = False
    for child in node.children:
        if child.test(labels):
            deeper = True
            yield from _walk(child, labels)
            if not child.route.onward:
                break
    if not deeper:
        yield node


def group_labels(route: Route, labels: Labels) -> Labels:
    """Return the labels by which ``route`` groups an alert with ``labels``."""
    if route.group_by_all:
        return labels
    return Labels(tuple(pair for pair in labels if pair[0] in route.group_by))
