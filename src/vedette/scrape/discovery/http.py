"""Targets from an address that answers with a list of groups as JSON.

Protocol: https://prometheus.io/docs/prometheus/latest/http_sd/
"""

from __future__ import annotations

import asyncio

import httpx

from vedette.kit.http_client import CredentialsError
from vedette.scrape.discovery.groups import (
    Around,
    DiscoveryError,
    Publish,
    TargetGroup,
    changed,
    read_groups,
)
from vedette.scrape.discovery.settings import HttpDiscovery

MAX_BYTES = 64 << 20


class HttpTargets:
    """Implements ``Discovery``; a failed request keeps the targets of the one before."""

    def __init__(self, settings: HttpDiscovery, around: Around) -> None:
        self._settings = settings
        self._around = around

    async def run(self, publish: Publish) -> None:
        """Ask at once and then every refresh interval."""
        published: dict[str, TargetGroup] = {}
        while True:
            try:
                found = await self.ask()
            except DiscoveryError as error:
                advice = "its former targets stay meanwhile"
                self._around.failed("http_sd", error.reason, error, advice)
            else:
                news = changed(published, found)
                published = {group.source: group for group in found}
                if news:
                    publish(news)
            await self._around.clock.sleep(self._settings.refresh_ms / 1000)

    async def ask(self) -> list[TargetGroup]:
        """Return the groups that the address answers with now.

        Raises:
            DiscoveryError: it does not, or they cannot be read.
        """
        seconds = self._settings.refresh_ms / 1000
        try:
            async with asyncio.timeout(seconds):
                content = await self._fetch(seconds)
        except TimeoutError:
            raise DiscoveryError("timeout", f"no answer within {seconds:g} s") from None
        except CredentialsError as error:
            raise DiscoveryError("credentials", str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = str(error) or type(error).__name__
            raise DiscoveryError("transport", f"the request failed: {message}") from None
        url = self._settings.url
        try:
            return read_groups(content, url, {"__meta_url": url}, "json")
        except ValueError as error:
            raise DiscoveryError("content", str(error)) from None

    async def _fetch(self, seconds: float) -> bytes:
        headers = {
            "Accept": "application/json",
            "X-Prometheus-Refresh-Interval-Seconds": f"{seconds:g}",
        }
        request = self._around.clients.stream(
            self._settings.http, self._settings.url, headers=headers
        )
        async with request as response:
            if response.status_code != httpx.codes.OK:
                raise DiscoveryError("status", f"it answered HTTP {response.status_code}")
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise DiscoveryError("content", f'it answered "{kind[:80]}", not application/json')
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise DiscoveryError("content", f"the answer is larger than {MAX_BYTES} bytes")
            return bytes(content)
