"""The transactional state, on every database that it knows."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from vedette.model.alerts import AlertInstance, AlertState
from vedette.model.labels import Labels
from vedette.model.notifications import LogEntry
from vedette.storage.interface import StorageError
from vedette.storage.state.alert_states import SqlAlertStates
from vedette.storage.state.database import StateDatabase
from vedette.storage.state.leases import SqlLeases
from vedette.storage.state.notification_log import SqlNotificationLog
from vedette.storage.state.tables import HEAD, METADATA
from vedette.storage.state.upgrade import newest


def _instance(pod: str, value: float = 1.5, state: AlertState = AlertState.FIRING) -> AlertInstance:
    return AlertInstance(
        rule="f.yml;g;High;abc",
        labels=Labels.of({"alertname": "High", "pod": pod, "text": "'; DROP TABLE leases --"}),
        annotations=Labels.of({"summary": "late\n“ü” \x00"}),
        state=state,
        value=value,
        active_at=1_767_225_600_000,
        fired_at=1_767_225_660_000,
        evaluated_at=1_767_225_720_000,
        sequence=2**60,
    )


def test_instances_survive_a_new_connection(where: Path | str) -> None:
    """What a group's states were replaced with is what the next process loads, per group."""
    first = StateDatabase(where)
    wanted = [_instance("a"), _instance("b", -0.0, AlertState.PENDING)]
    SqlAlertStates(first).replace("one", wanted, 0)
    SqlAlertStates(first).replace("two", [_instance("c", math.inf)], 0)
    first.close()

    second = StateDatabase(where)
    states = SqlAlertStates(second)
    assert states.load("one") == wanted
    assert math.copysign(1, states.load("one")[1].value) == -1
    assert states.load("two") == [_instance("c", math.inf)]
    assert states.load("three") == []
    assert states.groups() == ["one", "two"]
    second.close()


def test_replace_takes_all_or_nothing(database: StateDatabase) -> None:
    """A replacement that the database refuses leaves the old instances."""
    states = SqlAlertStates(database)
    states.replace("g", [_instance("a")], 0)
    with pytest.raises(StorageError, match="refused"):
        states.replace("g", [_instance("b"), _instance("b")], 0)
    assert states.load("g") == [_instance("a")]
    states.replace("g", [], 0)
    assert states.load("g") == []


def test_a_nan_result_is_kept(database: StateDatabase) -> None:
    """An alert whose value is NaN comes back with NaN."""
    states = SqlAlertStates(database)
    states.replace("g", [_instance("a", math.nan)], 0)
    assert math.isnan(states.load("g")[0].value)


def test_the_log_keeps_the_latest_entry_of_receiver_and_group(database: StateDatabase) -> None:
    """An entry replaces that of the same receiver and group alone, and expires at its time."""
    log = SqlNotificationLog(database)
    old = LogEntry("ops/webhook/0", "{}:{a='b'}", frozenset(), frozenset(), 1, 100)
    new = LogEntry(
        "ops/webhook/0", old.group_key, frozenset({b"\x00" * 16}), frozenset({b"x"}), 2, 200
    )
    other = LogEntry("dev/log/0", old.group_key, frozenset(), frozenset(), 3, 150)
    for entry in (old, other, new):
        log.put(entry)
    assert log.get("ops/webhook/0", old.group_key) == new
    assert log.get("dev/log/0", old.group_key) == other
    assert log.get("ops/webhook/0", "{}") is None
    assert log.expire(150) == 1
    assert log.get("dev/log/0", old.group_key) is None
    assert log.get("ops/webhook/0", old.group_key) == new


def test_a_lease_has_one_holder_until_it_expires(database: StateDatabase) -> None:
    """A second holder gets the lease only after its end or its release; the first may renew."""
    leases = SqlLeases(database)
    assert leases.acquire("rules", "a", 1000, 0)
    assert not leases.acquire("rules", "b", 1000, 999)
    assert leases.acquire("rules", "a", 1000, 999)
    assert not leases.acquire("rules", "b", 1000, 1998)
    assert leases.acquire("rules", "b", 1000, 1999)
    assert not leases.acquire("rules", "a", 1000, 1999)
    leases.release("rules", "a")
    assert not leases.acquire("rules", "a", 1000, 2000)
    leases.release("rules", "b")
    assert leases.acquire("rules", "a", 1000, 2000)
    assert leases.acquire("retention", "b", 1000, 2000)


def test_of_many_that_ask_at_once_one_gets_the_lease(database: StateDatabase) -> None:
    """Concurrent requests for a new lease and for an expired one give it to exactly one."""
    leases = SqlLeases(database)
    with ThreadPoolExecutor(4) as pool:
        for now in (0, 10_000):
            got = list(pool.map(lambda h, t=now: leases.acquire("n", h, 5000, t), "abcdefgh"))
            assert sum(got) == 1


def test_migrations_end_in_the_tables_that_the_code_uses(database: StateDatabase) -> None:
    """The newest migration is the one that the code names, and makes its tables exactly."""
    assert newest() == HEAD
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": "state_version", "compare_type": True}
        )
        assert compare_metadata(context, METADATA) == []


def test_a_newer_schema_is_refused(where: Path | str) -> None:
    """A state that a newer Vedette migrated does not open, and the message says why."""
    database = StateDatabase(where)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE state_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StorageError, match="newer Vedette"):
        StateDatabase(where)


@pytest.mark.parametrize("address", ["mysql://u:hidden@h/d", "not an address", "postgresql"])
def test_other_addresses_are_refused(address: str) -> None:
    """An address of another kind is refused with what would do, and without its password."""
    with pytest.raises(StorageError, match="postgresql://") as caught:
        StateDatabase(address)
    assert "hidden" not in str(caught.value)


def test_a_server_that_is_away_is_an_error_without_the_password(tmp_path: Path) -> None:
    """An unreachable server is named in the error, its password is not."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install vedette[postgres]")
    with pytest.raises(StorageError, match="cannot open the state") as caught:
        StateDatabase(f"postgresql://u:hidden@/d?host={tmp_path}")
    assert "hidden" not in str(caught.value)


def test_sqlite_waits_for_others_and_syncs(tmp_path: Path) -> None:
    """A SQLite state runs in WAL, syncs each commit, and waits for a lock."""
    database = StateDatabase(tmp_path / "state.db")
    with database.engine.connect() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    database.close()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 5000,
        "foreign_keys": 1,
    }
