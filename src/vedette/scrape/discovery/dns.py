"""Targets from the domain name system: SRV records, or addresses with a fixed port."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import dns.asyncresolver
import dns.exception
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.NS
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import dns.resolver
from dns.rdata import Rdata

from vedette.scrape.discovery.groups import (
    Around,
    Pairs,
    Publish,
    TargetGroup,
    joined,
    pairs,
)
from vedette.scrape.discovery.settings import DnsDiscovery

_SECONDS = 10.0
_PREFIX = "__meta_dns_"


class DnsTargets:
    """Implements ``Discovery``; each name is a source of its own.

    A name that does not exist has no targets; one whose servers do not answer keeps what it had.
    ``resolver`` replaces the system's.
    """

    def __init__(
        self,
        settings: DnsDiscovery,
        around: Around,
        resolver: dns.asyncresolver.Resolver | None = None,
    ) -> None:
        self._settings = settings
        self._around = around
        self._resolver = resolver
        self._published: dict[str, TargetGroup] = {}

    async def run(self, publish: Publish) -> None:
        """Look all names up at once and then every refresh interval."""
        while True:
            found = await asyncio.gather(*map(self._group, self._settings.names))
            news = [
                group
                for group in found
                if group is not None and self._published.get(group.source) != group
            ]
            self._published |= {group.source: group for group in news}
            if news:
                publish(news)
            await self._around.clock.sleep(self._settings.refresh_ms / 1000)

    async def _group(self, name: str) -> TargetGroup | None:
        """Return what ``name`` stands for now, or ``None`` if that cannot be told."""
        try:
            if self._resolver is None:
                self._resolver = dns.asyncresolver.Resolver()
            answer = await self._resolver.resolve(
                name, self._settings.type, search=True, lifetime=_SECONDS
            )
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return TargetGroup(name)
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            reason = "timeout" if isinstance(error, dns.exception.Timeout) else "lookup"
            advice = "the former targets of the name stay meanwhile"
            self._around.failed("dns_sd", reason, error, advice)
            return None
        return TargetGroup(name, targets_of(name, self._settings.port, answer))


def targets_of(name: str, port: int, records: Iterable[Rdata]) -> tuple[Pairs, ...]:
    """Return the labels of the targets that ``records`` of ``name`` are, sorted."""
    return tuple(
        sorted(labels for record in records if (labels := _target(name, port, record)) is not None)
    )


def _target(name: str, port: int, record: Rdata) -> Pairs | None:
    extra: dict[str, str] = {}
    match record:
        case dns.rdtypes.IN.SRV.SRV():
            host, port = record.target.to_text(), record.port
            extra = {f"{_PREFIX}srv_record_target": host, f"{_PREFIX}srv_record_port": str(port)}
        case dns.rdtypes.IN.A.A() | dns.rdtypes.IN.AAAA.AAAA():
            host = record.address
        case dns.rdtypes.ANY.MX.MX():
            host = record.exchange.to_text()
            extra = {f"{_PREFIX}mx_record_target": host}
        case dns.rdtypes.ANY.NS.NS():
            host = record.target.to_text()
            extra = {f"{_PREFIX}ns_record_target": host}
        case _:
            return None
    return pairs({"__address__": joined(host.rstrip("."), port), f"{_PREFIX}name": name, **extra})
