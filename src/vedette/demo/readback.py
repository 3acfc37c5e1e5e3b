"""What Vedette recorded, read back through its public API alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx

from vedette.demo.options import APP
from vedette.demo.truth import STATES

_PAGE = 500


class ReadBackError(Exception):
    """The server did not answer as its API promises."""


class Server:
    """The public API of the server at ``url``."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url = url
        self._http = httpx.AsyncClient(
            base_url=url, trust_env=False, timeout=15.0, transport=transport
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ready(self) -> bool:
        """Return whether the server takes requests."""
        try:
            return (await self._http.get("/-/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def _get(self, path: str, **params: str) -> Any:
        try:
            answer = await self._http.get(path, params=params)
        except httpx.TransportError as error:
            raise ReadBackError(f"{path}: {type(error).__name__}") from error
        if answer.status_code != 200:
            raise ReadBackError(f"{path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()

    async def query(self, expr: str) -> list[tuple[Mapping[str, str], float]]:
        """Return the labels and values of an instant query that yields a vector."""
        found = await self._get("/api/v1/query", query=expr)
        return [(one["metric"], float(one["value"][1])) for one in found["data"]["result"]]

    async def counters(self, instance: str) -> dict[str, int]:
        """Return the raw counters of end states of the application at ``instance``."""
        expr = f'chatbot_streams_total{{job="{APP}", instance="{instance}"}}'
        found = {labels["state"]: round(value) for labels, value in await self.query(expr)}
        return {state: found.get(state, 0) for state in STATES}

    async def events(self, since_ms: int) -> dict[str, int]:
        """Return how many stream events are stored, by their state."""
        found = await self._get(
            "/api/events/count", type="stream_end", app=APP, since=str(since_ms), by="state"
        )
        return {state: int(found["by"].get(state, 0)) for state in STATES}

    async def streams(self, since_ms: int) -> list[tuple[str, str]]:
        """Return id and state of every stored stream event."""
        rows: list[tuple[str, str]] = []
        cursor = ""
        while True:
            found = await self._get(
                "/api/events",
                type="stream_end",
                app=APP,
                since=str(since_ms),
                limit=str(_PAGE),
                cursor=cursor,
            )
            rows += [(row["data"]["stream_id"], row["data"]["state"]) for row in found["events"]]
            cursor = found["next"] or ""
            if not cursor:
                return rows

    async def last_scrape_ms(self) -> int:
        """Return when the application was last scraped, in ms since the epoch; 0 for never."""
        found = await self._get("/api/v1/targets")
        times = [
            target["lastScrape"]
            for target in found["data"]["activeTargets"]
            if target["labels"].get("job") == APP and target["lastScrape"]
        ]
        moments = [datetime.fromisoformat(time).timestamp() for time in times]
        return round(max(moments, default=0.0) * 1000)

    async def samples_stored(self, seconds: float) -> int:
        """Return how many samples of the last ``seconds`` queries find, over all metrics."""
        names = (await self._get("/api/v1/label/__name__/values"))["data"]
        total = 0.0
        for name in names:
            # One by one: of two metrics with the same labels a range function makes a clash.
            found = await self.query(f"sum(count_over_time({name}[{round(seconds)}s]))")
            total += sum(value for _, value in found)
        return round(total)
