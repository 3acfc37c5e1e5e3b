"""Which formats are asked for, and how an answer names its own."""

from __future__ import annotations

import pytest

from vedette.scrape.formats import Format, FormatOptions, ScrapeProtocol, format_of


def test_the_accept_header_is_that_of_prometheus() -> None:
    """Without options, OpenMetrics before text, each with its escaping and weight."""
    assert FormatOptions().accept == (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    )


def test_native_histograms_need_protobuf() -> None:
    """It is asked for first; protocols that are named stay as they are."""
    native = FormatOptions(native_histograms=True, escaping="underscores")
    assert native.accept.startswith(
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
        "encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=underscores;"
    )
    named = FormatOptions(native_histograms=True, protocols=(ScrapeProtocol.TEXT_0_0_4,))
    assert named.accept == "text/plain;version=0.0.4;q=0.6,*/*;q=0.5"


@pytest.mark.parametrize(
    ("kind", "format"),
    [
        ("text/plain; version=0.0.4; charset=utf-8", Format.TEXT),
        ("Application/OpenMetrics-Text; version=1.0.0", Format.OPENMETRICS),
        (
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
            'encoding="delimited"; escaping=underscores',
            Format.PROTOBUF,
        ),
        ("application/vnd.google.protobuf; encoding=text", None),
        ("application/vnd.google.protobuf; proto=other; encoding=delimited", None),
        ("text/html", None),
        ("", Format.TEXT),
    ],
)
def test_content_types(kind: str, format: Format | None) -> None:
    """Each names its format; an unknown one is none unless the job names one for it."""
    assert format_of(kind) is format
    fallback = ScrapeProtocol.OPENMETRICS_1_0_0
    assert format_of(kind, fallback) is (format if kind and format else Format.OPENMETRICS)
