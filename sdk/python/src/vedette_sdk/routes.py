"""The route template of a request: a label must never hold a raw path (COR-02)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNMATCHED = "unmatched"
OVERRIDE = "vedette.route"
"""Key of the ASGI scope by which an application without a known router names its route."""


def route_template(scope: Mapping[str, Any]) -> str:
    """Return the template that the router matched, with the prefixes of mounts and inclusions.

    Routers of Starlette and FastAPI leave ``route``, ``path_params`` and ``root_path`` in the
    scope that they were called with. A request that no route took is ``unmatched``.
    """
    override = scope.get(OVERRIDE)
    if isinstance(override, str):
        return override
    route = scope.get("route") or _by_endpoint(scope)
    template = getattr(route, "path_format", None) or getattr(route, "path", None)
    if not isinstance(template, str):
        return UNMATCHED
    params = scope.get("path_params") or {}
    path = scope.get("path", "")
    if _is_mount(route):
        # Routers under a mount replace the route; where it still stands, they found nothing.
        if getattr(route, "routes", None):
            return UNMATCHED
        return _mask(scope.get("root_path", ""), params) + "/{path}"
    try:
        tail = template.format_map(params)
    except (KeyError, ValueError, IndexError):
        return template
    if not path.endswith(tail):
        return template
    return _mask(path[: len(path) - len(tail)], params) + template


def _is_mount(route: object) -> bool:
    return hasattr(route, "routes") and not hasattr(route, "methods")


def _mask(prefix: str, params: Mapping[str, Any]) -> str:
    """Return ``prefix`` with every segment that is a path parameter's value as ``{name}``."""
    if not prefix or not params:
        return prefix
    names = {str(value): name for name, value in params.items()}
    return "/".join(f"{{{names[part]}}}" if part in names else part for part in prefix.split("/"))


def _by_endpoint(scope: Mapping[str, Any]) -> object:
    """Find the route of ``scope["endpoint"]``; routers of old leave only that."""
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return None
    for route in getattr(scope.get("app"), "routes", ()):
        if getattr(route, "endpoint", None) is endpoint:
            return route
    return None
