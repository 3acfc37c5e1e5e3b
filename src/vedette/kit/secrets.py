"""Secrets of the configuration: read from the file, the environment or a file of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vedette.kit.yamlpos import Section


class Secret:
    """A text that shows itself only when asked by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def read_secret(
    section: Section, key: str, environment: Mapping[str, str], base: Path
) -> Secret | None:
    """Return the secret at ``key``, or in what ``<key>_env`` or ``<key>_file`` names.

    ``base`` is the folder that relative files are looked up in. Faults are noted in the section.
    """
    given = [name for name in (key, f"{key}_env", f"{key}_file") if section.has(name)]
    if len(given) != 1:
        message = f'give one of "{key}", "{key}_env" and "{key}_file"'
        section.faults.append(section.node.fault(message, f"here: {', '.join(given) or 'none'}"))
        return None
    name, value = given[0], section.text(given[0])
    if name == key:
        return Secret(value)
    if name == f"{key}_env":
        if not environment.get(value):
            section.fault(name, f"the environment has no {value}", f"set {value}")
            return None
        return Secret(environment[value])
    try:
        return Secret((base / value).read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        section.fault(name, f"cannot be read: {error}")
        return None
