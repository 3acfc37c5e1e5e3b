"""What the server tells of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from vedette.app.cardinality import cardinality
from vedette.app.facts import Facts, with_features
from vedette.app.shown import MASK, shown
from vedette.config.settings import QuerySettings, Settings, StorageSettings
from vedette.kit.clock import FakeClock
from vedette.kit.secrets import Secret
from vedette.model.labels import Labels
from vedette.query.promql.functions_table import FUNCTIONS
from vedette.query.promql.options import EngineOptions
from vedette.storage.series_index import MemorySeriesIndex


@dataclass(frozen=True)
class Inner:
    password: str = "hunter2"
    address: str = "http://me:pass@host/path"
    url: Secret = field(default_factory=lambda: Secret("https://hook"))
    hidden: str = field(default="dsn", repr=False)
    empty: str = field(default="", repr=False)
    tags: frozenset[str] = frozenset({"b", "a"})
    params: tuple[tuple[str, tuple[str, ...]], ...] = (("token", ("t0k",)), ("all", ("yes",)))


def test_secrets_are_not_shown() -> None:
    """Secrets, users in addresses and fields that hide themselves are masked, the rest is there."""
    text = shown(Inner())
    for word in ("hunter2", "me:pass", "hook", "dsn", "t0k"):
        assert word not in text
    assert yaml.safe_load(text) == {
        "password": MASK,
        "address": f"http://{MASK}@host/path",
        "url": MASK,
        "hidden": MASK,
        "empty": "",
        "tags": ["a", "b"],
        "params": [["token", MASK], ["all", ["yes"]]],
    }


def test_the_configuration_is_yaml_without_secrets() -> None:
    """The settings of a server read back as YAML; keys and the state's address are masked."""
    settings = Settings(
        storage=StorageSettings(state="postgresql://u:geheim@db/x"), ingest_keys={"k" * 16: "app"}
    )
    text = facts(settings).config()
    assert "geheim" not in text
    assert "k" * 16 not in text
    assert yaml.safe_load(text)["query"]["timeout_seconds"] == 120


class Reloaded:
    """A reload that failed after one that gave ``settings``."""

    successful = False
    read_at = 1_000

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings


def test_reloads_show() -> None:
    """After a reload its settings are shown, and whether the latest one succeeded."""
    told = Facts(
        Settings(),
        EngineOptions(),
        MemorySeriesIndex(),
        lambda: (0, 0),
        FakeClock(),
        Reloaded(Settings(query=QuerySettings(concurrency=7))),
    )
    assert yaml.safe_load(told.config())["query"]["concurrency"] == 7
    runtime = told.runtime()
    assert runtime["reloadConfigSuccess"] is False
    assert runtime["lastConfigTime"] == "1970-01-01T00:00:01.000Z"


def facts(settings: Settings, options: EngineOptions | None = None) -> Facts:
    """Return the facts of a server that holds nothing."""
    index = MemorySeriesIndex()
    return Facts(
        settings, options or EngineOptions(), index, lambda: (0, 0), FakeClock(), Reloaded()
    )


def test_features_follow_the_settings() -> None:
    """A feature that is switched on shows in the flags and among the functions."""
    names = frozenset({"promql-experimental-functions"})
    settings = Settings(query=QuerySettings(features=names))
    on = facts(settings, with_features(EngineOptions(), names))
    off = facts(Settings())
    experimental = next(name for name, one in FUNCTIONS.items() if one.experimental)
    assert on.features()["promql_functions"][experimental]
    assert not off.features()["promql_functions"][experimental]
    assert on.flags()["enable-feature"] == "promql-experimental-functions"


def test_cardinality_counts_series_values_and_pairs() -> None:
    """Totals and the worst of each list, counted by hand for four series."""
    index = MemorySeriesIndex()
    index.refs(
        [
            Labels.of({"__name__": "up", "job": "a", "pod": "x"}),
            Labels.of({"__name__": "up", "job": "a", "pod": "y"}),
            Labels.of({"__name__": "up", "job": "b"}),
            Labels.of({"__name__": "down", "job": "a"}),
        ]
    )
    view = cardinality(index, 2, 5, 9)
    assert (view.series, view.label_pairs, view.first_ts, view.last_ts) == (4, 6, 5, 9)
    assert [(n.name, n.value) for n in view.series_by_metric] == [("up", 3), ("down", 1)]
    assert [(n.name, n.value) for n in view.values_by_label] == [("__name__", 2), ("job", 2)]
    assert [(n.name, n.value) for n in view.series_by_pair] == [("__name__=up", 3), ("job=a", 3)]
    sizes = {"__name__": 3 * 10 + 12, "job": 4 * 4}
    assert {n.name: n.value for n in view.bytes_by_label} == sizes
