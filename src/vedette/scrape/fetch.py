"""Gets the text of a target over HTTP."""

from __future__ import annotations

import asyncio
import zlib
from typing import Protocol

import httpx

from vedette.kit.http_client import CredentialsError, HttpClients
from vedette.scrape.formats import Answer, Format, FormatOptions, format_of
from vedette.scrape.offload import Offload
from vedette.scrape.target import ScrapeError
from vedette.scrape.targets import Target

_GZIP = 16 + zlib.MAX_WBITS
_STEP = 256 * 1024


class Fetcher(Protocol):
    """Gets the body of a target's answer."""

    async def fetch(self, target: Target) -> Answer:
        """Return the decompressed body and its format.

        Raises:
            ScrapeError: there is none, or it is none that can be read.
        """
        ...


class HttpFetcher:
    """Implements :class:`Fetcher`; ``offload`` unpacks what takes long."""

    def __init__(self, clients: HttpClients, offload: Offload = asyncio.to_thread) -> None:
        self._clients = clients
        self._offload = offload

    async def fetch(self, target: Target) -> Answer:
        """Return body and format; raises ``ScrapeError`` as the Protocol says."""
        seconds = target.timeout_ms / 1000
        try:
            async with asyncio.timeout(seconds):
                try:
                    return await self._get(target, seconds)
                except httpx.RemoteProtocolError:
                    # A target may close the kept connection just as the request is on its way.
                    return await self._get(target, seconds)
        except TimeoutError:
            raise ScrapeError("timeout", f"no complete answer within {seconds:g} s") from None
        except httpx.ConnectError as error:
            raise ScrapeError("connect", f"cannot connect: {error}") from None
        except CredentialsError as error:
            raise ScrapeError("credentials", str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = str(error) or type(error).__name__
            raise ScrapeError("transport", f"the connection failed: {message}") from None

    async def _get(self, target: Target, seconds: float) -> Answer:
        headers = {
            "Accept": target.formats.accept,
            "Accept-Encoding": "gzip" if target.job.compression else "identity",
            "X-Prometheus-Scrape-Timeout-Seconds": f"{seconds:g}",
        }
        request = self._clients.stream(target.job.http, target.url, headers=headers)
        async with request as response:
            format = check_answer(response, target.formats)
            body = _Body(response.headers, target.job.limits.body_bytes)
            async for chunk in response.aiter_raw():
                if body.add(chunk):
                    await self._offload(body.inflate_rest)
            return Answer(body.finish(), format)


def check_answer(response: httpx.Response, options: FormatOptions) -> Format:
    """Check the status, and return the format that the content type names.

    Raises:
        ScrapeError: it is not an answer in a format that can be read.
    """
    if response.is_redirect:
        place = response.headers.get("location", "")[:200]
        raise ScrapeError(
            "status", f"redirected to {place}; scrape that address, or set follow_redirects: true"
        )
    if response.status_code != httpx.codes.OK:
        raise ScrapeError("status", f"the target answered HTTP {response.status_code}")
    kind = response.headers.get("content-type", "")
    format = format_of(kind, options.fallback)
    if format is None:
        raise ScrapeError(
            "content_type",
            f'the answer is "{kind[:80]}", which is no format of metrics; is path right? If it is '
            "one all the same, set fallback_scrape_protocol",
        )
    return format


class _Body:
    """Collects a body, never holding more than ``limit`` bytes of it."""

    def __init__(self, headers: httpx.Headers, limit: int) -> None:
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise ScrapeError("encoding", f'content encoding "{encoding[:40]}" was not asked for')
        self._inflate = None if encoding == "identity" else zlib.decompressobj(_GZIP)
        self._limit = limit
        # Not a list of parts: a target may send its answer byte by byte.
        self._data = bytearray()

    def add(self, chunk: bytes) -> bool:
        """Take a chunk; return whether it inflates to so much that the rest takes a while."""
        if self._inflate is None:
            self._keep(chunk)
            return False
        self._step(self._inflate, chunk)
        return bool(self._inflate.unconsumed_tail)

    def inflate_rest(self) -> None:
        """Take what :meth:`add` left."""
        while self._inflate is not None and (rest := self._inflate.unconsumed_tail):
            self._step(self._inflate, rest)

    def _step(self, inflate: zlib._Decompress, chunk: bytes) -> None:
        try:
            part = inflate.decompress(chunk, _STEP)
        except zlib.error as error:
            raise ScrapeError("encoding", f"the gzip body is damaged: {error}") from None
        self._keep(part)

    def finish(self) -> bytes:
        if self._inflate is not None and not self._inflate.eof:
            raise ScrapeError("encoding", "the gzip body ends too early")
        return bytes(self._data)

    def _keep(self, part: bytes) -> None:
        if len(self._data) + len(part) > self._limit:
            raise ScrapeError(
                "body_size",
                f"the answer is larger than {self._limit} bytes; expose less, or raise the limit "
                "of the job (limits.body_bytes, or body_size_limit in prometheus.yml)",
            )
        self._data += part
