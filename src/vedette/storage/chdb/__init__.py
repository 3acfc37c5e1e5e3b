"""The embedded column store: ClickHouse as a library, in this process or in a child of it."""
