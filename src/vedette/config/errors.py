"""What is raised when a configuration cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

from vedette.kit.yamlpos import Fault


class ConfigError(Exception):
    """A configuration cannot be used; ``faults`` are sorted by place."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(sorted(faults))
