"""The operational page of a chat application: what must be known at a glance.

Serves DSH-02, DSH-12, DSH-13 and DSH-20 for the metrics that the SDK writes.
"""

from __future__ import annotations

from vedette.dashboards.panels import Better, Dashboard, Panel, PanelQuery, Threshold
from vedette.model.labels import quote


def operational(
    namespace: str = "chatbot", app: str = "", window: str = "1m", refresh_seconds: float = 1.0
) -> Dashboard:
    """Return the page for the metrics of ``namespace``, computed over ``window``.

    Thresholds are those of the streaming profile: AVL-01 to AVL-03, LAT-01, CCH-01 and CCH-02.
    """
    build = _Builder(namespace, window, app)
    return Dashboard(
        title="Operations",
        app=app,
        refresh_seconds=refresh_seconds,
        panels=(
            build.request_rate(),
            build.error_rate(),
            build.latency(),
            build.first_token(),
            build.active_streams(),
            build.stream_states(),
            build.cache_hit_rate("kb", "Knowledge cache", Threshold(0.6, 0.4, 0.2, Better.HIGHER)),
            build.cache_hit_rate("tts", "Speech cache", Threshold(0.5, 0.3, 0.1, Better.HIGHER)),
            build.tokens(),
            build.targets(),
        ),
    )


class _Builder:
    """Writes the expressions of one namespace and window."""

    def __init__(self, namespace: str, window: str, app: str) -> None:
        self.ns = namespace
        self.window = window
        self.app = (f"app={quote(app)}",) if app else ()

    def select(self, metric: str, *matchers: str) -> str:
        both = ",".join((*self.app, *matchers))
        return f"{metric}{{{both}}}" if both else metric

    def rate(self, metric: str, *matchers: str, by: str = "") -> str:
        grouping = f" by ({by})" if by else ""
        selector = self.select(f"{self.ns}_{metric}", *matchers)
        return f"sum{grouping}(rate({selector}[{self.window}]))"

    def quantile(self, phi: float, metric: str) -> str:
        buckets = self.rate(f"{metric}_seconds_bucket", by="le")
        return f"histogram_quantile({phi}, {buckets})"

    def request_rate(self) -> Panel:
        return Panel(
            "request_rate",
            "Requests",
            f"Requests per second over {self.window}, by status class.",
            "req/s",
            (
                PanelQuery("all", self.rate("http_requests_total"), "all"),
                PanelQuery("4xx", self.rate("http_requests_total", 'status_code=~"4.."'), "4xx"),
                PanelQuery("5xx", self.rate("http_requests_total", 'status_code=~"5.."'), "5xx"),
            ),
        )

    def error_rate(self) -> Panel:
        # The client's leaving is no fault of the service: it counts neither way (AVL-01, AVL-02).
        failed = self.rate("streams_total", 'state!~"completed|client_left"')
        ended = self.rate("streams_total", 'state!="client_left"')
        return Panel(
            "error_rate",
            "Failed streams",
            "Share of streams that ended in provider cut, stall, time-out or error, "
            f"over {self.window}; streams that the client left are not counted.",
            "ratio",
            (PanelQuery("ratio", f"{failed} / {ended}", "failed"),),
            threshold=Threshold(0.01, 0.02, 0.05),
            state_of="ratio",
        )

    def latency(self) -> Panel:
        return Panel(
            "latency",
            "Response time",
            f"Duration of HTTP responses over {self.window}.",
            "s",
            tuple(
                PanelQuery(name, self.quantile(phi, "http_request_duration"), name)
                for name, phi in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            ),
        )

    def first_token(self) -> Panel:
        return Panel(
            "first_token",
            "First token",
            "From receipt of the request to the first text token, 95th percentile "
            f"over {self.window}.",
            "s",
            (
                PanelQuery("p95", self.quantile(0.95, "stream_first_token"), "p95"),
                PanelQuery("p50", self.quantile(0.5, "stream_first_token"), "p50"),
            ),
            threshold=Threshold(0.5, 1.0, 2.0),
            state_of="p95",
        )

    def active_streams(self) -> Panel:
        return Panel(
            "active_streams",
            "Active streams",
            "Answers being streamed at this moment.",
            "count",
            (PanelQuery("active", f"sum({self.select(f'{self.ns}_active_streams')})", "active"),),
            threshold=Threshold(100, 200, 500),
            state_of="active",
        )

    def stream_states(self) -> Panel:
        return Panel(
            "stream_states",
            "How streams end",
            f"Streams per second by end state, over {self.window}.",
            "streams/s",
            (PanelQuery("state", self.rate("streams_total", by="state"), "{{state}}"),),
        )

    def cache_hit_rate(self, cache: str, title: str, threshold: Threshold) -> Panel:
        hits = self.rate("cache_requests_total", f'cache="{cache}"', 'outcome="hit"')
        every = self.rate("cache_requests_total", f'cache="{cache}"')
        return Panel(
            f"cache_{cache}",
            title,
            f"Share of look-ups answered from the {cache} cache, over {self.window}.",
            "ratio",
            (PanelQuery("hit_rate", f"{hits} / {every}", "hit rate"),),
            threshold=threshold,
            state_of="hit_rate",
        )

    def tokens(self) -> Panel:
        return Panel(
            "tokens",
            "Tokens",
            f"Tokens per second over {self.window}, by kind.",
            "tokens/s",
            (PanelQuery("kind", self.rate("ai_tokens_total", by="kind"), "{{kind}}"),),
        )

    def targets(self) -> Panel:
        return Panel(
            "targets",
            "Targets up",
            "Share of scrape targets that answered their latest scrape.",
            "ratio",
            (PanelQuery("up", f"avg({self.select('up')})", "up"),),
            threshold=Threshold(1.0, 0.999, 0.5, Better.HIGHER),
            state_of="up",
        )
