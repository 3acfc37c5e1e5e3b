"""Which addresses a webhook may call: a configured URL must not become a way into the network.

The name is looked up once and the connection goes to the address that was checked, so that a name
whose address changes between check and use gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Protocol
from urllib.parse import urlsplit

_NAT64 = IPv6Network("64:ff9b::/96")


class AddressError(Exception):
    """No address of the host may be called; the message holds the host and no path."""


class Resolver(Protocol):
    """Looks up names."""

    async def __call__(self, host: str, port: int, /) -> list[str]:
        """Return the addresses of ``host`` as text; raises ``OSError`` when there is none."""
        ...


async def resolve(host: str, port: int, /) -> list[str]:
    """Look up ``host`` as the system does."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def refusal(address: str, allow_private: bool) -> str:
    """Return why ``address`` must not be called, or ""."""
    try:
        found = _embedded(ip_address(address.partition("%")[0]))
    except ValueError:
        return "not an address"
    if found.is_multicast or found.is_unspecified:
        return "not the address of a host"
    if found.is_link_local:
        # Cloud machines serve their credentials there; no receiver of alerts does.
        return "a link-local address"
    if allow_private:
        return ""
    if found.is_loopback:
        return "a loopback address"
    return "" if found.is_global else "a private or reserved address"


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def choose(host: str, addresses: Iterable[str], allow_private: bool) -> str:
    """Return the first address that may be called.

    Raises:
        AddressError: none may.
    """
    reasons = []
    for address in addresses:
        reason = refusal(address, allow_private)
        if not reason:
            return address
        reasons.append(reason)
    why = reasons[0] if reasons else "no address"
    fix = "" if allow_private else "; set allow_private: true if this is meant"
    raise AddressError(f"{host} has {why}{fix}")


def url_problem(url: str) -> str:
    """Return why nothing can be posted to ``url``, in words that do not quote it, or ""."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "cannot be read"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not parts.hostname:
        return "names no host"
    if port == 0:
        return "names port 0"
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        return "holds spaces or control characters"
    return ""
