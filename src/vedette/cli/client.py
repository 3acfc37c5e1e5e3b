"""Asking a running server, for commands."""

from __future__ import annotations

from typing import Annotated

import httpx
import orjson
import typer
from rich.console import Console

TIMEOUT_SECONDS = 30.0
TOKEN_VARIABLE = "VEDETTE_ADMIN_TOKEN"  # noqa: S105 # a name

Url = Annotated[
    str, typer.Option("--url", envvar="VEDETTE_URL", help="Address of the running server.")
]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        envvar=TOKEN_VARIABLE,
        help="Admin token, where reads are not open (better in the environment).",
        show_default=False,
    ),
]
DEFAULT_URL = "http://127.0.0.1:9797"


def ask(url: str, path: str, token: str, console: Console) -> object:
    """Return the JSON that the server answers to ``GET path``; ends the command with 2 if none."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(url.rstrip("/") + path, headers=headers, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        return orjson.loads(answer.content)
    except httpx.HTTPStatusError as error:
        reason = f"it answers {error.response.status_code}"
        if error.response.status_code in (401, 403):
            reason += f"; give the admin token with {TOKEN_VARIABLE}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = f"{error}; is Vedette running there? --url names another address"
    except orjson.JSONDecodeError:
        reason = "its answer is no JSON; is this the address of Vedette?"
    console.print(f"{url}: {reason}", markup=False, style="red")
    raise typer.Exit(2)
