"""The settings as a text that may be shown: YAML of what is in force, without any secret."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import yaml

from vedette.kit.secrets import Secret

MASK = "<secret>"
_USER_INFO = re.compile(r"(?<=//)[^/@\s]*@")
_TOKEN_WORDS = re.compile(r"password|secret|token|credential|(?:^|_)keys?$", re.IGNORECASE)


def shown(settings: object) -> str:
    """Return ``settings``, a tree of dataclasses, as YAML.

    A field that does not show itself (``repr=False``) is masked where it has a value, as is every
    :class:`Secret` and the user in an address.
    """
    return yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True, width=100)


def _plain(value: object) -> object:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, str | Path):
        return _USER_INFO.sub(f"{MASK}@", str(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(key): _member(str(key), one) for key, one in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(map(str, value))
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        # Parameters and headers are pairs of name and value.
        return [value[0], _member(*value)]
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return type(value).__name__


def _fields(value: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in dataclasses.fields(value):  # type: ignore[arg-type]  # the caller made sure
        one = getattr(value, field.name)
        hidden = not field.repr and one
        found[field.name] = MASK if hidden else _member(field.name, one)
    return found


def _member(name: str, value: object) -> object:
    if value and isinstance(value, str | tuple) and _TOKEN_WORDS.search(name):
        return MASK
    return _plain(value)
