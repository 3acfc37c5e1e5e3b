"""What discovery yields: groups of targets by source, and the Protocol of those who find them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson
import yaml

from vedette.kit.clock import Clock
from vedette.kit.complaints import Complaints
from vedette.kit.http_client import HttpClients
from vedette.scrape.offload import Offload

Pairs = tuple[tuple[str, str], ...]


class DiscoveryError(Exception):
    """Targets could not be looked up; ``reason`` is a metric label, the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Targets with common labels.

    Attributes:
        source: names the group within its discovery; a later group of the same source replaces it.
        targets: labels of each target, ``__address__`` among them; they win over ``labels``.
        labels: of all targets.
    """

    source: str
    targets: tuple[Pairs, ...] = ()
    labels: Pairs = ()


Publish = Callable[[Sequence[TargetGroup]], None]
"""Takes groups that are new or have changed; one without targets removes its source."""


class Discovery(Protocol):
    """Finds targets and goes on watching for changes."""

    async def run(self, publish: Publish) -> None:
        """Publish groups until cancelled; what fails is counted and tried again."""
        ...


def pairs(labels: Mapping[str, str]) -> Pairs:
    """Return ``labels`` as a hashable value."""
    return tuple(sorted(labels.items()))


def group_of(source: str, addresses: Sequence[str], labels: Mapping[str, str]) -> TargetGroup:
    """Return a group of plain addresses."""
    targets = tuple((("__address__", address),) for address in addresses)
    return TargetGroup(source, targets, pairs(labels))


def joined(host: str, port: int | str) -> str:
    """Return ``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_groups(
    content: bytes, source: str, extra: Mapping[str, str], form: str
) -> list[TargetGroup]:
    """Return the groups in a list of ``{targets: […], labels: {…}}``, numbered by ``source``.

    ``form`` is ``json`` or ``yaml``; ``extra`` labels are added to each group.

    Raises:
        ValueError: it is no such list; the message says what is wrong where.
    """
    try:
        data: object = orjson.loads(content) if form == "json" else yaml.load(content, Loader=_Yaml)  # noqa: S506 - a safe loader without types
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None
    if data is None:
        return []
    if not isinstance(data, list):
        raise ValueError("the groups must be a list")
    return [_read_group(item, f"{source}:{i}", i, extra) for i, item in enumerate(data)]


class _Yaml(yaml.SafeLoader):
    """A loader to which every plain value is text, as labels are; aliases are refused."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, object]]] = {}  # noqa: RUF012 - the loader's own way

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Nested aliases can stand for billions of values.
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read here")
        return super().compose_node(parent, index)


def _read_group(item: object, source: str, number: int, extra: Mapping[str, str]) -> TargetGroup:
    where = f"group {number + 1}"
    if not isinstance(item, dict):
        raise ValueError(f"{where} must be a mapping with targets and labels")
    unknown = set(item) - {"targets", "labels"}
    if unknown:
        raise ValueError(f'{where} has the unknown key "{min(map(str, unknown))}"')
    targets, labels = item.get("targets") or [], item.get("labels") or {}
    if not isinstance(targets, list) or not all(isinstance(each, str) for each in targets):
        raise ValueError(f"targets of {where} must be a list of texts")
    if not isinstance(labels, dict):
        raise ValueError(f"labels of {where} must be a mapping")
    for name, value in labels.items():
        if not isinstance(name, str) or not name or not isinstance(value, str):
            raise ValueError(f"labels of {where} must be texts, and their names not empty")
    return group_of(source, targets, {**labels, **extra})


def changed(before: Mapping[str, TargetGroup], found: Sequence[TargetGroup]) -> list[TargetGroup]:
    """Return what to publish so that ``found`` replaces ``before``."""
    new = [group for group in found if before.get(group.source) != group]
    sources = {group.source for group in found}
    return new + [TargetGroup(source) for source in before if source not in sources]


@dataclass(slots=True)
class DiscoveryStats:
    """What the server's own metrics show: failures by mechanism and reason."""

    failures: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Around:
    """What discoveries work with; ``offload`` reads files, ``complaints`` tells of failures."""

    clients: HttpClients
    clock: Clock
    offload: Offload
    stats: DiscoveryStats
    complaints: Complaints

    def failed(self, mechanism: str, reason: str, error: Exception, advice: str) -> None:
        """Count a failure and say it; what was found before stays."""
        self.stats.failures[mechanism, reason] += 1
        self.complaints.warn(f"{mechanism} could not look up targets", error, advice)
