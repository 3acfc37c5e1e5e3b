"""Tables of the transactional state, as the newest migration leaves them.

All times are milliseconds since the epoch.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, Table, Text

HEAD = "0002"
"""Revision of these tables; a test holds it against the newest migration."""

METADATA = MetaData()

# value is the shortest text that gives the same float64: SQLite would make NULL of a NaN.
alert_instances = Table(
    "alert_instances",
    METADATA,
    Column("rule_group", Text, primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("labels_id", LargeBinary, primary_key=True),
    Column("labels", Text, nullable=False),
    Column("annotations", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("active_at", BigInteger, nullable=False),
    Column("fired_at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger, nullable=False),
    Column("evaluated_at", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)

# firing and resolved are JSON arrays of identities in hexadecimal, sorted.
notifications = Table(
    "notifications",
    METADATA,
    Column("receiver", Text, primary_key=True),
    Column("group_key", Text, primary_key=True),
    Column("firing", Text, nullable=False),
    Column("resolved", Text, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("notifications_expires_at", "expires_at"),
)

leases = Table(
    "leases",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

# How far the readers of the spool got: ingest sequences.
cursors = Table(
    "cursors",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)
