"""Targets from files of JSON or YAML, read again when they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vedette.scrape.discovery.groups import (
    Around,
    Publish,
    TargetGroup,
    changed,
    read_groups,
)
from vedette.scrape.discovery.settings import FileDiscovery

MAX_BYTES = 64 << 20
_LOOK_EVERY_MS = 1_000

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    """A file as it was: its stamp, its groups, and what was wrong with it."""

    stamp: Stamp
    groups: tuple[TargetGroup, ...]
    fault: str = ""


class FileTargets:
    """Implements ``Discovery``.

    The files' times and sizes are looked at every second, which needs no service of the system and
    works on network drives. A file that cannot be read keeps the targets that it had.
    """

    def __init__(self, settings: FileDiscovery, around: Around) -> None:
        self._settings = settings
        self._around = around

    async def run(self, publish: Publish) -> None:
        """Publish the groups of all files, and what changes of them."""
        around, every = self._around, self._settings.refresh_ms
        known: Mapping[str, _Read] = {}
        published: dict[str, TargetGroup] = {}
        read_at = around.clock.now_ms()
        while True:
            anew = around.clock.now_ms() - read_at >= every
            if anew:
                read_at = around.clock.now_ms()
            before = known
            known = await around.offload(partial(self._look, before, anew))
            for name, read in known.items():
                if read.fault and read != before.get(name):
                    error = ValueError(f"{name}: {read.fault}")
                    advice = "mend the file; its former targets stay meanwhile"
                    around.failed("file_sd", "file", error, advice)
            found = [group for read in known.values() for group in read.groups]
            news = changed(published, found)
            published = {group.source: group for group in found}
            if news:
                publish(news)
            await around.clock.sleep(min(_LOOK_EVERY_MS, every) / 1000)

    def _look(self, known: Mapping[str, _Read], anew: bool) -> dict[str, _Read]:
        """Return what the files hold; those that did not change are not read, except ``anew``."""
        result: dict[str, _Read] = {}
        for pattern in self._settings.files:
            path = Path(pattern)
            for name in sorted(map(str, path.parent.glob(path.name))):
                before = known.get(name)
                try:
                    status = Path(name).stat()
                    stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                    if before is not None and before.stamp == stamp and not anew:
                        result[name] = before
                    else:
                        result[name] = _Read(stamp, tuple(_groups(name, status.st_size)))
                except (OSError, ValueError) as error:
                    groups = before.groups if before else ()
                    result[name] = _Read(before.stamp if before else (0, 0, 0), groups, str(error))
        return result


def _groups(name: str, size: int) -> list[TargetGroup]:
    if size > MAX_BYTES:
        raise ValueError(f"the file is larger than {MAX_BYTES} bytes")
    with Path(name).open("rb") as file:
        content = file.read(MAX_BYTES)
    form = "json" if name.lower().endswith(".json") else "yaml"
    return read_groups(content, name, {"__meta_filepath": name}, form)
