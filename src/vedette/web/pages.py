"""The built page, and the login link."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from vedette.web.auth import Guard
from vedette.web.errors import ApiError

STATIC = Path(__file__).parent / "static"

_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_FRESH = {"Cache-Control": "no-cache"}


def pages_router(guard: Guard, static: Path = STATIC) -> APIRouter:
    """Return the page at ``/`` and ``/dashboard``, its files, and ``/login``."""
    router = APIRouter(include_in_schema=False)
    files = BuiltFiles(static)

    @router.get("/")
    @router.get("/dashboard")
    async def page() -> Response:
        """Return the page itself."""
        return _file(files.get("index.html"), _FRESH)

    @router.get("/favicon.ico")
    async def icon() -> Response:
        """Return the page's icon."""
        return _file(files.get("favicon.svg"), _FRESH)

    @router.get("/static/{path:path}")
    async def static_file(path: str) -> Response:
        """Return a file of the page; names of built assets carry a hash and never change."""
        return _file(files.get(path), _FOREVER if path.startswith("assets/") else _FRESH)

    @router.get("/login")
    async def login(token: str = "") -> Response:
        """Exchange the token of the login link for a session cookie."""
        cookie = guard.login_cookie(token)
        return RedirectResponse("/", 303, headers={"Set-Cookie": cookie} | HEADERS)

    return router


class BuiltFiles:
    """The files of the built page by name, listed anew when the page was built again.

    Only listed files are served, so that no path of a request reaches the file system.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built = -1
        self._files: dict[str, Path] = {}

    def get(self, name: str) -> Path | None:
        """Return the file ``name``, or ``None``."""
        try:
            built = (self._folder / "index.html").stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if built != self._built:
            found = self._folder.rglob("*")
            self._files = {path.relative_to(self._folder).as_posix(): path for path in found}
            self._built = built
        return self._files.get(name)


def _file(path: Path | None, caching: dict[str, str]) -> Response:
    if path is None or not path.is_file():
        raise ApiError(404, "not_found", "the page has no such file", "build it with `make ui`")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Response(path.read_bytes(), media_type=kind, headers=caching | HEADERS)
