"""The admin token: made at the first start, kept in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

ENVIRONMENT = "VEDETTE_ADMIN_TOKEN"
FILE = "admin-token"
_SHORTEST = 16


class TokenError(Exception):
    """The admin token cannot be used; the message never holds it."""


@dataclass(frozen=True, slots=True)
class AdminToken:
    """The token, and whether it was made just now (then a login link is shown once)."""

    value: str = field(repr=False)
    fresh: bool


def is_chosen(data_dir: Path) -> bool:
    """Return whether there is a token already, so that somebody may know it."""
    return bool(os.environ.get(ENVIRONMENT)) or (data_dir / FILE).exists()


def admin_token(data_dir: Path) -> AdminToken:
    """Return the token of the environment, else of the data folder, else a new one.

    Raises:
        TokenError: the token is too short, or its file can be read by others.
    """
    given = os.environ.get(ENVIRONMENT, "")
    if given:
        return AdminToken(_checked(given, ENVIRONMENT), fresh=False)
    path = data_dir / FILE
    if path.exists():
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise TokenError(f"{path} can be read by others (mode {mode:o}); run chmod 600 on it")
        return AdminToken(_checked(path.read_text().strip(), str(path)), fresh=False)
    value = secrets.token_urlsafe(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(value + "\n")
        file.flush()
        os.fsync(file.fileno())
    return AdminToken(value, fresh=True)


def _checked(token: str, where: str) -> str:
    if len(token) < _SHORTEST:
        raise TokenError(f"the admin token in {where} is shorter than {_SHORTEST} characters")
    return token
