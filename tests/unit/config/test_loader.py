"""vedette.yml: what is read, and what is said of each fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.config.loader import (
    ConfigError,
    is_loopback,
    load,
    parse_listen,
    read,
    state_fault,
)
from vedette.config.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "config"
BAD = sorted(path.name for path in FOLDER.glob("*.bad.yml"))


def test_every_key_is_read() -> None:
    """The file that uses everything gives the settings that it says."""
    settings = load(FOLDER / "good.yml")
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 9900)
    assert settings.server.url == "https://monitor.example"
    assert settings.storage.segment_seconds == 30
    assert settings.query.prometheus_2_windows
    assert settings.dashboard.namespace == "shop"
    assert settings.ingest_keys == {"0123456789abcdef0123": "shop-chat"}
    assert dict(settings.scrape.jobs[0].labels) == {"app": "shop-chat", "region": "paris-été"}
    assert settings.alerting.route.receiver == "ops"
    assert [receiver.name for receiver in settings.receivers] == ["ops", "quiet"]


@pytest.mark.parametrize("name", BAD)
def test_a_fault_is_named_with_its_place(name: str) -> None:
    """Each bad file is refused with the message that its first line expects."""
    path = FOLDER / name
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert expected in str(caught.value)


def test_all_faults_are_found_at_once() -> None:
    """One run names every fault, sorted by place."""
    faults: list = []
    read("server: {lisen: 1, listen: x}\nquery: {timeout: never}\n", "f.yml", faults)
    assert len(faults) == 3


def test_an_empty_file_means_the_defaults() -> None:
    """Nothing has to be configured."""
    assert read("", "f.yml", []) == Settings(file="f.yml")


def test_a_missing_file_is_a_fault() -> None:
    """A path that cannot be read is said so, without a traceback."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(FOLDER / "there-is-none.yml")


@given(st.text(max_size=200))
def test_any_text_gives_settings_or_faults(text: str) -> None:
    """No text makes the reader crash."""
    faults: list = []
    read(text, "f.yml", faults)


@pytest.mark.parametrize(
    ("text", "listen"),
    [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:80", ("::1", 80)), (":9", ("127.0.0.1", 9))],
)
def test_addresses(text: str, listen: tuple[str, int]) -> None:
    """Host and port, also of IPv6; without a host it is loopback."""
    assert parse_listen(text) == listen


@pytest.mark.parametrize("text", ["", "80", "x:80", "127.0.0.1:", "127.0.0.1:99999", "::1"])
def test_what_is_no_address(text: str) -> None:
    """Names and ports that cannot be are refused."""
    with pytest.raises(ValueError, match=r"."):
        parse_listen(text)


def test_loopback() -> None:
    """Only loopback counts as reachable by this machine alone."""
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0")] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("name", [name for name in BAD if name.startswith("state_")])
def test_faults_of_the_state_repeat_no_secret(name: str) -> None:
    """What is said of an address does not hold the password in it."""
    with pytest.raises(ConfigError) as caught:
        load(FOLDER / name)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://v:p@db.example:5432/vedette",
        "postgresql+psycopg://v@localhost/vedette",
        "postgresql:///vedette?host=/run/postgresql",
    ],
)
def test_addresses_of_the_state(address: str) -> None:
    """Addresses of PostgreSQL are taken, also one of a socket."""
    assert state_fault(address) == ""
