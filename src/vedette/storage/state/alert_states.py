"""Alert instances of rule groups, kept over restarts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Row, delete, insert, select

from vedette.model.alerts import AlertInstance, AlertState
from vedette.model.labels import Labels, series_id
from vedette.storage.state.database import StateDatabase
from vedette.storage.state.tables import alert_instances as table


class SqlAlertStates:
    """Implements the rule loop's ``AlertStates``."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def load(self, group: str) -> list[AlertInstance]:
        """Return the instances of ``group`` as they were replaced last, by rule and labels.

        Raises:
            StorageError: the database refused.
        """
        query = select(table).where(table.c.rule_group == group).order_by(table.c.rule)
        with self._database.transaction() as connection:
            found = [_instance(row) for row in connection.execute(query)]
        return sorted(found, key=lambda instance: (instance.rule, instance.labels.pairs))

    def replace(self, group: str, instances: Sequence[AlertInstance], now_ms: int) -> None:
        """Replace the instances of ``group`` in one transaction.

        Raises:
            StorageError: the database refused; the old instances stay.
        """
        rows = [_row(group, instance) for instance in instances]
        with self._database.transaction() as connection:
            connection.execute(delete(table).where(table.c.rule_group == group))
            if rows:
                connection.execute(insert(table), rows)

    def groups(self) -> list[str]:
        """Return the groups that have instances, sorted."""
        with self._database.transaction() as connection:
            query = select(table.c.rule_group).distinct()
            return sorted(str(group) for group in connection.execute(query).scalars())


def _row(group: str, instance: AlertInstance) -> dict[str, Any]:
    return {
        "rule_group": group,
        "rule": instance.rule,
        "labels_id": series_id(instance.labels),
        "labels": _dump(instance.labels),
        "annotations": _dump(instance.annotations),
        "state": instance.state.value,
        "value": repr(float(instance.value)),
        "active_at": instance.active_at,
        "fired_at": instance.fired_at,
        "resolved_at": instance.resolved_at,
        "evaluated_at": instance.evaluated_at,
        "sequence": instance.sequence,
    }


def _instance(row: Row[Any]) -> AlertInstance:
    return AlertInstance(
        rule=row.rule,
        labels=_load(row.labels),
        annotations=_load(row.annotations),
        state=AlertState(row.state),
        value=float(row.value),
        active_at=row.active_at,
        fired_at=row.fired_at,
        resolved_at=row.resolved_at,
        evaluated_at=row.evaluated_at,
        sequence=row.sequence,
    )


def _dump(labels: Labels) -> str:
    return orjson.dumps(labels.pairs).decode()


def _load(text: str) -> Labels:
    return Labels(tuple((name, value) for name, value in orjson.loads(text)))
