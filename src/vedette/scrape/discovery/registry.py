"""Which mechanism stands behind which settings."""

from __future__ import annotations

from vedette.kit.clock import Clock
from vedette.scrape.discovery.dns import DnsTargets
from vedette.scrape.discovery.files import FileTargets
from vedette.scrape.discovery.groups import Around, Discovery, Publish, TargetGroup
from vedette.scrape.discovery.http import HttpTargets
from vedette.scrape.discovery.kubernetes import KubernetesTargets
from vedette.scrape.discovery.settings import (
    Discoverer,
    DiscoverySettings,
    DnsDiscovery,
    FileDiscovery,
    HttpDiscovery,
    StaticDiscovery,
)

_FOREVER = 86_400.0


class StaticTargets:
    """Implements ``Discovery`` for groups that never change."""

    def __init__(self, groups: tuple[TargetGroup, ...], clock: Clock) -> None:
        self._groups = groups
        self._clock = clock

    async def run(self, publish: Publish) -> None:
        """Publish the groups once."""
        publish(self._groups)
        while True:
            await self._clock.sleep(_FOREVER)


def discoverer(around: Around) -> Discoverer:
    """Return what makes discoveries that work with ``around``."""

    def make(settings: DiscoverySettings) -> Discovery:
        match settings:
            case StaticDiscovery():
                return StaticTargets(settings.groups, around.clock)
            case FileDiscovery():
                return FileTargets(settings, around)
            case HttpDiscovery():
                return HttpTargets(settings, around)
            case DnsDiscovery():
                return DnsTargets(settings, around)
            case _:
                return KubernetesTargets(settings, around)

    return make
