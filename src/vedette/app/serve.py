"""``vedette serve``: settings, first words, signals, and the event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import uvloop
from rich.console import Console

from vedette.app.address import StartError as StartError
from vedette.app.address import bind
from vedette.app.allocator import share_arenas
from vedette.app.engine import open_columns
from vedette.app.lock import lock
from vedette.app.secrets import ENVIRONMENT, AdminToken, TokenError, admin_token, is_chosen
from vedette.config.loader import is_loopback, load, parse_listen
from vedette.config.prometheus import with_prometheus
from vedette.config.settings import ServerSettings, Settings
from vedette.scrape.settings import ScrapeJob, ScrapeSettings
from vedette.storage.interface import StorageError

_STOP_SECONDS = 4.5
_LOOKUP_THREADS = "32"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the command line says; it wins over the file."""

    config: Path | None = None
    listen: str | None = None
    port: int | None = None
    data_dir: Path | None = None
    prometheus: Path | None = None


def run(options: ServeOptions, console: Console) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code.

    Raises:
        ConfigError: the configuration has faults.
        StartError: the server cannot start.
    """
    share_arenas()
    settings = settings_for(options)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # What libraries say in passing is no news, and addresses that they name may hold secrets.
    for name in ("httpx", "uvicorn", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server = settings.server
    _refuse_open_door(server)
    sock = bind(server.host, server.port)
    try:
        server.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = lock(server.data_dir)
        token = admin_token(server.data_dir)
    except (OSError, TokenError) as error:
        raise StartError(str(error)) from None
    # Names are looked up on libuv's threads, four unless told otherwise; a name whose servers do
    # not answer holds one for many seconds, and must not delay the scrapes of other targets.
    os.environ.setdefault("UV_THREADPOOL_SIZE", _LOOKUP_THREADS)
    configured = options.config is not None or options.prometheus is not None
    greet(settings, token, console, configured=configured)
    for warning in settings.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    read = partial(settings_for, options) if configured else None
    try:
        return uvloop.run(_serve(settings, token, sock, read))
    except StorageError as error:
        raise StartError(f"storage does not open: {error}") from None
    finally:
        folder.close()


def settings_for(options: ServeOptions) -> Settings:
    """Return the file's settings, or the defaults, with the command line's words set over them."""
    settings = load(options.config) if options.config else Settings()
    if options.prometheus:
        settings = with_prometheus(settings, options.prometheus)
    server = settings.server
    if options.listen:
        try:
            host, port = parse_listen(options.listen)
        except ValueError as error:
            raise StartError(f"--listen: {error}") from None
        server = replace(server, host=host, port=port)
    if options.port:
        server = replace(server, port=options.port)
    if options.data_dir:
        server = replace(server, data_dir=options.data_dir)
    settings = replace(settings, server=server)
    return settings if settings.scrape.jobs else replace(settings, scrape=_itself(server))


def _itself(server: ServerSettings) -> ScrapeSettings:
    # Without a job of its own a server at least watches itself, so that the page is not empty.
    host = "127.0.0.1" if server.host in ("0.0.0.0", "::") else server.host  # noqa: S104 - compared, not bound
    address = f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"
    return ScrapeSettings((ScrapeJob("vedette", (address,), app="vedette"),))


def _refuse_open_door(server: ServerSettings) -> None:
    if not is_loopback(server.host) and not is_chosen(server.data_dir):
        raise StartError(
            f"{server.host} can be reached by others, and no admin token was chosen yet; "
            f"set {ENVIRONMENT}, or start once on 127.0.0.1 and keep the login link"
        )


def greet(settings: Settings, token: AdminToken, console: Console, *, configured: bool) -> None:
    """Print the address, the login link of the first start, and what to do next."""
    server = settings.server
    console.print(f"[bold]Vedette[/] listens on {server.url}, stores in {server.data_dir}")
    if token.fresh:
        console.print(f"log in once to change things: {server.url}/login?token={token.value}")
    if configured:
        return
    console.print("no configuration was given; it watches itself and takes what is sent to it:")
    console.print(f"  remote write   {server.url}/api/v1/write", markup=False)
    console.print(f"  events         {server.url}/api/events", markup=False)
    console.print(f"  Grafana        a Prometheus data source at {server.url}", markup=False)
    console.print("  next: write a vedette.yml with the targets to scrape (README), or try")
    console.print("  `vedette demo`, which shows everything with a live chat application")


def _stop(stop: asyncio.Event) -> None:
    """Ask everything to end; what does not in time is left behind, as after a crash.

    What was acknowledged is on disk, so that nothing is lost by it.
    """
    stop.set()
    last = threading.Timer(_STOP_SECONDS, os._exit, [0])
    last.daemon = True
    last.start()


async def _serve(
    settings: Settings, token: AdminToken, sock: socket.socket, read: Callable[[], Settings] | None
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop, stop)
    if read is not None:
        # A request to reload that comes too early must not end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    opening = loop.run_in_executor(None, open_columns, settings.server.data_dir)
    # The rest of the program is loaded while the engine starts in its own process.
    from vedette.app.server import Server

    columns = await opening
    server = Server(settings, token.value, columns, read=read)
    if read is not None:
        loop.add_signal_handler(signal.SIGHUP, server.reload_soon)
    return await server.run(sock, stop)
