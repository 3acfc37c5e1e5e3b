"""Targets from a Kubernetes API server: its objects are listed once, then watched.

Protocol: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

import httpx
import orjson

from vedette.kit.http_client import CredentialsError
from vedette.scrape.discovery.groups import (
    Around,
    DiscoveryError,
    Publish,
    TargetGroup,
    changed,
)
from vedette.scrape.discovery.kubernetes_access import Access, access_of
from vedette.scrape.discovery.kubernetes_objects import Cluster, Json, inner, key_of, text
from vedette.scrape.discovery.kubernetes_roles import ROLES, SELECTED_BY, Role
from vedette.scrape.discovery.settings import KubernetesDiscovery

_PAGE = 500
_MAX_LINE = 16 << 20
_MAX_LIST = 256 << 20
_WATCH_SECONDS = 300
_PATIENCE_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_SETTLE_SECONDS = 0.5
_PATHS = {role.resource: role.path for role in ROLES.values()} | {"namespaces": "api/v1"}


class GoneError(Exception):
    """The server has forgotten the version from which changes were asked for."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Objects of one kind in one namespace ("": in all, or without any), as they are asked for."""

    name: str
    namespace: str = ""
    label: str = ""
    field: str = ""

    @property
    def path(self) -> str:
        """The path of the list."""
        space = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"/{_PATHS[self.name]}{space}/{self.name}"

    def query(self, **further: str) -> str:
        """Return the query string with the selectors and ``further`` parameters."""
        chosen = {"labelSelector": self.label, "fieldSelector": self.field} | further
        return urlencode({name: value for name, value in chosen.items() if value})


class Watcher:
    """Keeps the objects of one resource; calls ``touched`` with the key of each that changes."""

    def __init__(
        self, resource: Resource, access: Access, around: Around, touched: Callable[[str], None]
    ) -> None:
        self._resource = resource
        self._access = access
        self._around = around
        self._touched = touched
        self._version = ""
        self.objects: dict[str, Json] = {}
        self.listed = asyncio.Event()

    async def run(self) -> None:
        """List and watch until cancelled; a failure is counted, and tried again after a pause."""
        pause = _FIRST_PAUSE
        while True:
            try:
                if not self._version:
                    self._version = await self._list()
                    self.listed.set()
                await self._watch()
                pause = _FIRST_PAUSE
            except GoneError:
                self._version = ""
                pause = _FIRST_PAUSE
            except (DiscoveryError, CredentialsError, httpx.HTTPError, TimeoutError) as error:
                reason = error.reason if isinstance(error, DiscoveryError) else "transport"
                advice = "its former targets stay meanwhile"
                self._around.failed("kubernetes_sd", reason, error, advice)
                pause = min(pause * 2, _LONGEST_PAUSE)
            await self._around.clock.sleep(pause)

    async def _list(self) -> str:
        """Take all objects, page by page; return the version from which to watch."""
        found: dict[str, Json] = {}
        token = ""
        while True:
            query = self._resource.query(limit=str(_PAGE), **{"continue": token})
            async with asyncio.timeout(_PATIENCE_SECONDS):
                page = await self._page(query)
            raw = page.get("items")
            for each in raw if isinstance(raw, list) else ():
                if isinstance(each, Mapping):
                    found[key_of(each)] = each
            metadata = inner(page, "metadata")
            token = text(metadata, "continue")
            if not token:
                break
        old, self.objects = self.objects, found
        for key in old.keys() | found.keys():
            if old.get(key) != found.get(key):
                self._touched(key)
        return text(metadata, "resourceVersion")

    async def _page(self, query: str) -> Json:
        content = bytearray()
        async with self._ask(query) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _MAX_LIST:
                    raise DiscoveryError("content", "a list of objects is too large")
        return _json(bytes(content))

    async def _watch(self) -> None:
        """Follow changes until the server ends the answer."""
        query = self._resource.query(
            watch="1",
            resourceVersion=self._version,
            allowWatchBookmarks="true",
            timeoutSeconds=str(_WATCH_SECONDS),
        )
        async with asyncio.timeout(_WATCH_SECONDS + _PATIENCE_SECONDS):
            async with self._ask(query) as response:
                async for line in _lines(response):
                    self._version = self._take(_json(line)) or self._version

    def _take(self, event: Json) -> str:
        """Take one change; return the version that it reaches."""
        kind, value = text(event, "type"), inner(event, "object")
        if kind == "ERROR":
            if text(value, "code") == "410":
                raise GoneError
            raise DiscoveryError("watch", f"the server says: {text(value, 'message')[:200]}")
        if kind in ("ADDED", "MODIFIED"):
            self.objects[key_of(value)] = value
            self._touched(key_of(value))
        elif kind == "DELETED":
            self.objects.pop(key_of(value), None)
            self._touched(key_of(value))
        return text(value, "metadata", "resourceVersion")

    def _ask(self, query: str) -> _Asked:
        url = f"{self._access.url}{self._resource.path}?{query}"
        return _Asked(self._around, self._access, url)


class _Asked:
    """A request whose answer is checked before it is read."""

    def __init__(self, around: Around, access: Access, url: str) -> None:
        headers = {"Accept": "application/json"}
        self._request = around.clients.stream(access.http, url, headers=headers)

    async def __aenter__(self) -> httpx.Response:
        response = await self._request.__aenter__()
        if response.status_code == httpx.codes.OK:
            return response
        code = response.status_code
        await self._request.__aexit__(None, None, None)
        if code == httpx.codes.GONE:
            raise GoneError
        raise DiscoveryError("status", f"the API server answered HTTP {code}")

    async def __aexit__(self, *error: object) -> None:
        await self._request.__aexit__(None, None, None)


def _json(content: bytes) -> Json:
    try:
        found: object = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DiscoveryError("content", f"the API server's answer is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise DiscoveryError("content", "the API server's answer is no object")
    return found


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for chunk in response.aiter_bytes():
        rest += chunk
        *lines, last = rest.split(b"\n")
        rest = bytearray(last)
        if len(rest) > _MAX_LINE:
            raise DiscoveryError("content", "an event is too large")
        for line in lines:
            if line.strip():
                yield bytes(line)


class KubernetesTargets:
    """Implements ``Discovery``: one watcher a resource and namespace, one group an object."""

    def __init__(
        self,
        settings: KubernetesDiscovery,
        around: Around,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings
        self._around = around
        self._environment = os.environ if environment is None else environment
        self._role = ROLES[settings.role]
        self._touched: set[str] = set()
        self._all_touched = False
        self._changed = asyncio.Event()
        self._watchers: list[tuple[str, Watcher]] = []

    async def run(self, publish: Publish) -> None:
        """Publish the group of each object, and again when what it is made of changes."""
        access = await self._access()
        self._watchers = [
            (resource.name, Watcher(resource, access, self._around, self._touching(resource.name)))
            for resource in resources(self._settings, access.namespace)
        ]
        tasks = [asyncio.create_task(each.run(), name="kubernetes") for _, each in self._watchers]
        try:
            for _, watcher in self._watchers:
                await watcher.listed.wait()
            await self._publish(publish)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _access(self) -> Access:
        pause = _FIRST_PAUSE
        while True:
            try:
                reach = partial(access_of, self._settings, self._environment)
                return await self._around.offload(reach)
            except DiscoveryError as error:
                advice = "mend the configuration; it is tried again"
                self._around.failed("kubernetes_sd", error.reason, error, advice)
            await self._around.clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _touching(self, resource: str) -> Callable[[str], None]:
        own = resource == self._role.resource

        def touched(key: str) -> None:
            if own:
                self._touched.add(key)
            else:
                # A pod or service says not which endpoints it belongs to.
                self._all_touched = True
            self._changed.set()

        return touched

    async def _publish(self, publish: Publish) -> None:
        published: dict[str, TargetGroup] = {}
        sources: dict[str, str] = {}
        while True:
            self._changed.clear()
            cluster = self._cluster()
            objects = cluster.objects[self._role.resource]
            keys = sources.keys() | objects.keys() if self._all_touched else set(self._touched)
            self._touched, self._all_touched = set(), False
            found: dict[str, TargetGroup] = {}
            for key in keys:
                value = objects.get(key)
                group = self._role.group(value, cluster) if value is not None else None
                source = group.source if group else sources.pop(key, "")
                found[source] = group or TargetGroup(source)
                if group:
                    sources[key] = source
            before = {source: published[source] for source in found if source in published}
            news = changed(before, list(found.values()))
            for group in news:
                published[group.source] = group
                if not group.targets:
                    published.pop(group.source)
            if news:
                publish(news)
            await self._changed.wait()
            # Many objects change together, for example when a deployment rolls.
            await self._around.clock.sleep(_SETTLE_SECONDS)

    def _cluster(self) -> Cluster:
        together: dict[str, dict[str, Json]] = {}
        for name, watcher in self._watchers:
            together.setdefault(name, {}).update(watcher.objects)
        return Cluster(together, self._settings.attach_node, self._settings.attach_namespace)


def resources(settings: KubernetesDiscovery, own_namespace: str) -> list[Resource]:
    """Return what is to be watched for ``settings``."""
    role: Role = ROLES[settings.role]
    spaces = list(dict.fromkeys(settings.namespaces))
    if settings.own_namespace and own_namespace and own_namespace not in spaces:
        spaces.append(own_namespace)
    selectors = {each.role: each for each in settings.selectors}
    found: list[Resource] = []
    for name in (role.resource, *role.further):
        chosen = selectors.get(SELECTED_BY[name])
        label, field = (chosen.label, chosen.field) if chosen else ("", "")
        within = (spaces or [""]) if role.namespaced else [""]
        found += [Resource(name, space, label, field) for space in within]
    if settings.attach_node and role.resource != "nodes":
        found.append(Resource("nodes"))
    if settings.attach_namespace and role.namespaced:
        found.append(Resource("namespaces"))
    return found
