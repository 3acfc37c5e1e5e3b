"""docs/http-api.md names every endpoint, every limit, and nothing that is not there."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from vedette.config.settings import QuerySettings, WebSettings
from vedette.query.promql.features import FEATURES
from vedette.web.auth import ENDPOINTS

DOC = (Path(__file__).resolve().parents[2] / "docs/http-api.md").read_text()


def test_every_endpoint_has_a_row_and_every_row_is_an_endpoint() -> None:
    """Each entry of the table of rights stands in a table row with its methods, and back."""
    rows = set(re.findall(r"^\| `([A-Z ]+) (/[^`]*)` \|", DOC, re.MULTILINE))
    documented = {(frozenset(methods.split()), path) for methods, path in rows}
    listed = {(endpoint.methods, endpoint.path) for endpoint in ENDPOINTS}
    assert listed - documented == set(), "add rows to docs/http-api.md"
    assert documented - listed == set(), "docs/http-api.md names what is not there"


def test_every_limit_is_documented() -> None:
    """Each setting of queries and of the web has a row under its name in vedette.yml."""
    names = {field.name for section in (QuerySettings, WebSettings) for field in fields(section)}
    keys = {re.sub(r"_(ms|seconds)$", "", name) for name in names}
    documented = set(re.findall(r"^\| `(\w+)` \|", DOC, re.MULTILINE))
    assert keys - documented == set()


def test_every_feature_is_documented() -> None:
    """The features that can be switched on are named."""
    assert [name for name in FEATURES if f"`{name}`" not in DOC] == []
